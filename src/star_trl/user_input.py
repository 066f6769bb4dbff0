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
    "repetition_penalty": "Set `generation_kwargs={'repetition_penalty': ...}`.",
    "beta": "Leave it out: there is no KL penalty. `IterativeRPOConfig` of `star_trl.preference` has one for DPO.",
    "sync_ref_model": "Leave it out: there is no reference model.",
    "epsilon": "Leave it out: there is no clipped ratio. `importance_sampling_cap` limits importance weights.",
    "epsilon_high": "Leave it out: there is no clipped ratio. `importance_sampling_cap` limits importance weights.",
    "scale_rewards": "Leave it out: rewards decide what is kept. `sample_weighting` makes weights of them.",
    "mask_truncated_completions": "Leave it out: a completion that is cut is never trained on.",
    "steps_per_generation": "Set `initial_steps`: the steps between two phases of sampling.",
    "total_episodes": "Set `num_iterations` and `num_problems_per_iteration`.",
    "evaluation_strategy": "Leave it out: the model is evaluated after every outer iteration.",
    "max_tool_calling_iterations": "Give `ToolSampler` its limit of calls.",
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
    "reward_processing_classes": "Use `reward_funcs=RewardModel(model, ...)`, which takes its tokenizer.",
    "ref_model": "Leave it out: there is no reference model. Every outer iteration starts from the original model.",
    "tools": "Use `samplers=[ToolSampler(...)]`.",
    "rollout_func": "Use `samplers`: a `Sampler` makes the completions.",
    "environment_factory": "Use `samplers`: a `Sampler` makes the completions.",
}

Class = TypeVar("Class", bound=type)
# Number of names that a message lists
MOST_SHOWN = 8


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean ...?`, or an empty text if no known name is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def explain_unknown(others: Mapping[str, str], is_setting: Callable[[str], bool] = lambda name: False) -> Any:
    """
    Decorates a class, so that an unknown keyword argument is explained. Python would only say that it is unexpected.

    Args:
        others (`dict[str, str]`):
            Names that the class does not have, by what takes their place.
        is_setting (`Callable[[str], bool]`, *optional*):
            Whether a name is a field of [`STaRConfig`], which belongs into `args`.

    Returns:
        `Callable[[type], type]`: The decorator.
    """

    def decorate(cls: Class) -> Class:
        init = cls.__init__  # type: ignore[misc]
        known = list(inspect.signature(init).parameters)[1:]

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in kwargs:
                if name in known:
                    continue
                instead = f" {others[name]}" if name in others else nearest(name, known)
                if is_setting(name):
                    instead = f" It is a setting: `args=STaRConfig({name}=...)`."
                raise TypeError(
                    f"`{cls.__name__}` has no argument `{name}`."
                    + (instead or f" `help({cls.__name__})` lists its arguments.")
                )
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
