# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks names that users give, and suggests what they meant."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar


# Settings of other trainers and libraries, by what takes their place here.
OTHER_SETTINGS = {
    "max_new_tokens": "Set `max_completion_length`.",
    "max_tokens": "Set `max_completion_length`.",
    "response_length": "Set `max_completion_length`.",
    "max_prompt_length": "Leave it out: prompts are never cut, and one that does not fit into the model is refused.",
    "max_seq_length": "Set `max_length`.",
    "do_sample": "Set `temperature`: 0.0 is greedy, and anything above it samples.",
    "stop": "Set `stop_strings`.",
    "stop_sequences": "Set `stop_strings`.",
    "stop_token": "Set `stop_strings`, or `eos_token`.",
    "total_episodes": "Set `num_iterations` and `num_problems_per_iteration`.",
    "evaluation_strategy": "Leave it out: the model is evaluated after every outer iteration.",
    # Fields of GRPOConfig
    "beta": "Leave it out: there is no KL penalty. `IterativeRPOConfig` of `star_trl.preference` has one for DPO.",
    "use_bias_correction_kl": "Leave it out: there is no KL penalty.",
    "sync_ref_model": "Leave it out: there is no reference model.",
    "ref_model_mixup_alpha": "Leave it out: there is no reference model.",
    "ref_model_sync_steps": "Leave it out: there is no reference model.",
    "epsilon_high": "Set `epsilon`, which limits the ratio of `sample_weighting='clipped_ratio'`.",
    "delta": "Set `epsilon`, which limits the ratio of `sample_weighting='clipped_ratio'`.",
    "importance_sampling_level": "Leave it out: `sample_weighting='importance'` has one weight per completion.",
    **dict.fromkeys(
        ("sapo_temperature_neg", "sapo_temperature_pos"),
        "Leave it out: it belongs to the loss 'sapo' of GRPO.",
    ),
    **dict.fromkeys(
        ("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
        "Leave it out: it belongs to the loss 'vespo' of GRPO.",
    ),
    "scale_rewards": "Leave it out: rewards decide what is kept. `sample_weighting` makes weights of them.",
    "multi_objective_aggregation": "Leave it out: rewards are added up, weighted by `reward_weights`.",
    "top_entropy_quantile": "Leave it out: every token of a completion that is kept is trained on.",
    **dict.fromkeys(
        (
            *("entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max"),
            *("entropy_coef_delta", "entropy_target"),
        ),
        "Leave it out: there is no entropy bonus. A higher `temperature` explores.",
    ),
    "off_policy_mask_threshold": "Leave it out: the filter decides what is trained on.",
    "steps_per_generation": "Set `initial_steps`: the steps between two phases of sampling.",
    "num_generations_eval": "Leave it out: an evaluation draws one greedy completion per problem.",
    "repetition_penalty": "Set `generation_kwargs={'repetition_penalty': ...}`.",
    "cache_implementation": "Leave it out: the engine has its own cache.",
    "ds3_gather_for_generation": "Leave it out: sharded parameters are gathered once to generate.",
    "disable_dropout": "Leave it out, and set the dropout in `model_init_kwargs` or in the model's configuration.",
    "cast_lm_head_to_fp32": "Leave it out: log-probabilities are computed in fp32.",
    "use_transformers_paged": "Set `use_transformers_continuous_batching`.",
    "transformers_continuous_batching_config": "Leave it out: the engine sets it.",
    **dict.fromkeys(
        (
            *("vllm_importance_sampling_correction", "vllm_importance_sampling_mode", "vllm_importance_sampling_cap"),
            *("vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min"),
        ),
        "Leave it out: the loss has no ratio of the policy to vLLM's probabilities.",
    ),
    "log_multimodal": "Leave it out: prompts are text.",
    "log_completions_hub_repo": "Leave it out, and upload the samples with `load_ledger(...).push_to_hub(...)`.",
}
# Values of other trainers for settings that exist here, by what takes their place
OTHER_VALUES = {
    "loss_type": (
        ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
        "Leave it out: the loss is the negative log-likelihood of what is kept. `sample_weighting` and "
        "`loss_normalization` change it.",
    )
}
# Arguments of other trainers, by what takes their place here.
OTHER_ARGUMENTS = {
    "formatting_func": "Give the dataset a column `prompt`, for example with `dataset.map`.",
    "compute_metrics": "Reward functions are the metrics: each is reported, and `log_metric` reports others.",
    "preprocess_logits_for_metrics": "Reward functions are the metrics, and they read completions.",
    "data_collator": "Leave it out: the training sequences are built from the samples.",
    "compute_loss_func": "Leave it out: `sample_weighting` and `loss_normalization` set the loss.",
    "optimizers": "Use `optimizer_cls_and_kwargs`: the optimizer is created anew in every outer iteration.",
    "model_init": "Give `model`: every outer iteration starts from its weights.",
    "tokenizer": "Use `processing_class`.",
    "config": "Use `args`.",
    "dataset": "Use `train_dataset`.",
    "reward_func": "Use `reward_funcs`.",
    "reward_model": "Use `reward_funcs`, which takes reward models.",
    "ref_model": "Leave it out: there is no reference model. Every outer iteration starts from the original model.",
}

Class = TypeVar("Class", bound=type)
# Number of names that a message lists
MOST_SHOWN = 8


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean ...?`, or an empty text if no known name is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def explain_unknown(
    others: Mapping[str, str],
    other_values: Mapping[str, tuple[tuple[Any, ...], str]] | None = None,
    is_setting: Callable[[str], bool] = lambda name: False,
) -> Any:
    """
    Decorates a class, so that unknown keyword arguments are explained, all of them together. Python would only say
    that the first one is unexpected.

    Args:
        others (`dict[str, str]`):
            Names that the class does not have, by what takes their place.
        other_values (`dict[str, tuple[tuple, str]]`, *optional*):
            Values of other classes for arguments that exist, with what takes their place.
        is_setting (`Callable[[str], bool]`, *optional*):
            Whether a name is a field of [`STaRConfig`], which belongs into `args`.

    Returns:
        `Callable[[type], type]`: The decorator.
    """

    def decorate(cls: Class) -> Class:
        init = cls.__init__  # type: ignore[misc]
        known = list(inspect.signature(init).parameters)[1:]

        def explain(name: str) -> str:
            if is_setting(name):
                return f"It is a setting: `args=STaRConfig({name}=...)`."
            return others.get(name) or nearest(name, known).strip() or f"`help({cls.__name__})` lists its arguments."

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            found = {f"`{name}`": explain(name) for name in kwargs if name not in known}
            values = {
                f"`{name}={kwargs[name]!r}`": instead
                for name, (choices, instead) in (other_values or {}).items()
                if kwargs.get(name) in choices
            }
            if len(found) == 1 and not values:
                ((name, instead),) = found.items()
                raise TypeError(f"`{cls.__name__}` has no argument {name}. {instead}")
            if found or values:
                listed = "".join(f"\n- {name}: {instead}" for name, instead in {**found, **values}.items())
                raise TypeError(f"`{cls.__name__}` does not take these arguments:{listed}")
            init(self, *args, **kwargs)

        cls.__init__ = checked  # type: ignore[misc]
        return cls

    return decorate


def check_model_path(name: str) -> None:
    """
    Raises `FileNotFoundError` if a model's name can only be a path, and nothing is there. As the id of a model on the
    hub, its error would be about the form of the id.

    Args:
        name (`str`):
            Id or path of a model.
    """
    path = Path(name)
    if path.exists() or not (name.startswith((".", "/", "~")) or name.count("/") > 1):
        return
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    found = sorted(each.name for each in parent.iterdir()) if parent.is_dir() else []
    missing = path.absolute().relative_to(parent).parts[0]
    listed = ", ".join(found[:MOST_SHOWN]) + (", ..." if len(found) > MOST_SHOWN else "")
    raise FileNotFoundError(
        f"There is no model in {name!r}: {parent} has no {missing!r}.{nearest(missing, found)} It holds "
        f"{listed or 'nothing'}. Give the folder of a model, or its id on the hub, such as 'Qwen/Qwen3-0.6B-Base'."
    )
