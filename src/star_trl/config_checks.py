# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Checks of the settings that need neither data nor a model: [`STaRConfig`] calls them when it is made. First each value
by itself, then values that do not go together, by subject, in the order of the fields.

A configuration is of type `Any` here, since the module of `STaRConfig` imports this one.
"""

import math
import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from transformers.trainer_utils import HubStrategy


# Fields of `SFTConfig` that the loop does not read, by what it does instead. The trainer warns of a value that is not
# the default.
NOT_READ = {
    "num_train_epochs": (
        "`initial_steps` sets the length of the inner loop. Set `initial_steps=None` to train for `num_train_epochs` "
        "in every outer iteration"
    ),
    "eval_strategy eval_steps eval_delay": (
        "the model is evaluated before the first outer iteration and after each one, whenever there is an "
        "`eval_dataset`. Leave the setting out"
    ),
    "save_strategy": (
        "the model is saved after every outer iteration. `save_steps` sets how often an interrupted inner loop is "
        "saved. Use 'epoch' (the default), 'best' or 'no'"
    ),
    "per_device_eval_batch_size eval_accumulation_steps": (
        "an evaluation generates completions. Set the number that is generated together with `generation_batch_size`"
    ),
    "prediction_loss_only include_for_metrics batch_eval_metrics eval_do_concat_batches eval_use_gather_object "
    "bf16_full_eval fp16_full_eval eval_packing": (
        "an evaluation generates and scores completions and computes no loss. Leave the setting out"
    ),
    "dataset_text_field": "the problems are in the column `prompt`. Rename the column of the dataset to `prompt`",
    "truncation_mode": "nothing is truncated: what does not fit into `max_length` is refused. Leave the setting out",
}
# Values of these fields that say what the loop does anyway
DONE_ANYWAY = {"eval_strategy": ("no", "epoch"), "save_strategy": ("no", "epoch", "best")}


def ignored_settings(args: Any) -> list[str]:
    """Returns a message for each group of `NOT_READ` in which a value is not the default."""
    messages = []
    defaults = {each.name: each.default if each.default is not MISSING else [] for each in fields(args)}
    for names, instead in NOT_READ.items():
        found = [
            f"`{name}={getattr(args, name)!r}`"
            for name in names.split()
            if getattr(args, name) != defaults[name] and getattr(args, name) not in DONE_ANYWAY.get(name, ())
        ]
        if names == "num_train_epochs" and args.initial_steps is None:
            continue
        if found:
            verb = "has" if len(found) == 1 else "have"
            messages.append(f"{' and '.join(found)} {verb} no effect: {instead}.")
    return messages


def check_settings(args: Any, config_class: type) -> None:
    """
    Raises an error if a setting cannot be, or if some do not go together.

    Args:
        args ([`STaRConfig`]):
            Configuration.
        config_class (`type`):
            `STaRConfig`, whose own fields are checked more closely than inherited ones.

    Raises:
        `ValueError`: What was found, what was expected, and what to do.
    """
    _check_types(args, config_class)
    _check_choices(args, config_class)
    _check_limits(args)
    _check_output_dir(args)
    _check_inherited(args)
    _check_problems(args)
    _check_probes(args)
    _check_schedule(args)
    _check_generation(args)
    _check_selection(args)
    _check_loss(args)
    _check_teacher(args)


# Each value by itself

# What a number must be, and the fields that must be so. `None` is no number.
LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    "at least 1": (
        lambda value: value >= 1,
        "num_iterations sample_iterations num_probe_problems num_wanted_per_problem max_completion_length "
        "num_generations",
    ),
    "at least 1 or None": (
        lambda value: value >= 1,
        "num_problems_per_iteration num_kept_per_iteration patience initial_steps max_inner_steps "
        "max_samples_per_problem generation_batch_size",
    ),
    "0 or more": (lambda value: value >= 0, "few_shot_iterations reward_retries gradient_view_samples"),
    "0 or more, or None": (lambda value: value >= 0, "max_tool_calling_iterations"),
    "positive": (lambda value: value > 0, "step_growth epsilon"),
    "positive or None": (lambda value: value > 0, "reward_timeout importance_sampling_cap teacher_clip"),
    "0.0 (greedy) or positive": (lambda value: value >= 0, "temperature"),
    "above 0 and at most 1": (lambda value: 0 < value <= 1, "top_p"),
}


def _check_types(args: Any, config_class: type) -> None:
    own = config_class.__annotations__
    for each in fields(args):  # transformers would compare or add them, long after the start
        value = getattr(args, each.name)
        if each.name not in own and type(each.default) in (int, float) and isinstance(value, str):
            raise ValueError(
                f"`{each.name}` must be a number, got the text {value!r}. In YAML, a number with an exponent needs a "
                "point: `1.0e-5`, as `1e-5` is read as text."
            )
    for name, hint in get_type_hints(config_class).items():
        value = getattr(args, name)
        also = {"reward_threshold": float, "stop_strings": str}.get(name)  # one value in place of a list
        if name not in own or _fits(value, hint) or (also and _fits(value, also)):
            continue
        expected = f"{hint}".replace("typing.", "") if get_args(hint) else hint.__name__
        raise ValueError(
            f"`{name}` must be of type `{expected}`{f' or `{also.__name__}`' if also else ''}, got {value!r} "
            f"(`{type(value).__name__}`)."
        )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of a field. Numbers of NumPy count, and booleans are no numbers."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, member) for member in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, (list, tuple)) and all(
            each is None or _fits(each, get_args(hint)[0]) for each in value
        )
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def _check_choices(args: Any, config_class: type) -> None:
    for each in fields(args):
        choices, value = each.metadata.get("choices"), getattr(args, each.name)
        if value is not None and each.name in config_class.__annotations__ and choices and value not in choices:
            raise ValueError(f"`{each.name}` must be one of {', '.join(choices)}, got {value!r}.")


def _check_limits(args: Any) -> None:
    for expected, (fits, names) in LIMITS.items():
        for name in names.split():
            value = getattr(args, name)
            if value is not None and not fits(value):
                raise ValueError(f"`{name}` must be {expected}, got {value}.")


def _check_output_dir(args: Any) -> None:
    """The libraries that write the models take every path as UTF-8, whatever the locale is."""
    path = str(args.output_dir)
    try:
        is_utf8 = os.fsencode(path) == path.encode("utf-8")
    except UnicodeEncodeError:
        is_utf8 = False
    if not is_utf8:
        raise ValueError(
            f"`output_dir={args.output_dir!r}` is no path in UTF-8 in this locale, and models cannot be saved there. "
            "Choose a name of ASCII characters, or set `PYTHONUTF8=1` and a UTF-8 locale, such as `LC_ALL=C.UTF-8`."
        )


# Values that do not go together, with each other or with the loop


def _check_inherited(args: Any) -> None:
    """Settings of `SFTConfig` that the loop does by itself, or that have no meaning in it."""
    if (args.metric_for_best_model or "").removeprefix("eval_") == "loss":
        raise ValueError(
            f"`metric_for_best_model={args.metric_for_best_model!r}`, but an evaluation generates and scores "
            "completions and computes no loss. Leave it out: the default is 'accuracy'."
        )
    if args.ignore_data_skip:
        raise ValueError(
            "With `ignore_data_skip=True`, a run that is resumed inside the inner loop trains on other rows than "
            "an uninterrupted one. Leave it out."
        )
    if args.enable_jit_checkpoint:
        raise ValueError(
            "`enable_jit_checkpoint=True` saves on SIGTERM, which `train()` does by itself. Leave it out."
        )
    if args.completion_only_loss is False or args.assistant_only_loss:
        raise ValueError(
            "STaR computes the loss on the sampled completion only. Leave `completion_only_loss` and "
            "`assistant_only_loss` at their defaults."
        )
    if args.packing and args.max_length is None:
        raise ValueError(
            "`packing=True` fills rows of `max_length` tokens, but `max_length=None`. Set `max_length`, or "
            "`packing=False`."
        )
    if isinstance(args.dataset_kwargs, dict) and args.dataset_kwargs.get("skip_prepare_dataset"):
        raise ValueError(
            "`dataset_kwargs={'skip_prepare_dataset': True}` has no meaning here: the training sequences are "
            "built from the samples. Leave it out."
        )
    if args.push_to_hub and args.hub_strategy == HubStrategy.CHECKPOINT:
        raise ValueError(
            "`hub_strategy='checkpoint'` pushes what a run is resumed from. Here that includes the samples, which "
            "stay in `output_dir`. Use 'every_save', 'all_checkpoints' or 'end'."
        )


def _check_problems(args: Any) -> None:
    """Which problems an outer iteration samples."""
    if args.problem_order == "adaptive" and not (args.num_problems_per_iteration or args.num_kept_per_iteration):
        raise ValueError(
            "`problem_order='adaptive'` says which problems are left out, but every outer iteration samples all. "
            "Set `num_kept_per_iteration`, as AdaSTaR does, or `num_problems_per_iteration`."
        )


def _check_probes(args: Any) -> None:
    """What is tried on the probe problems."""
    for name in ("adaptive_temperatures", "adaptive_thresholds"):
        values = getattr(args, name)
        if values is not None and (
            not values or len(set(values)) < len(values) or not all(map(math.isfinite, values))
        ):
            raise ValueError(f"`{name}` must be different finite numbers to choose from, or None, got {values}.")
    if min(args.adaptive_temperatures or [1.0]) <= 0:
        raise ValueError(f"`adaptive_temperatures` must be positive, got {args.adaptive_temperatures}.")
    if args.adaptive_thresholds is not None and args.trains_on_failed:
        raise ValueError(
            f"`adaptive_thresholds={args.adaptive_thresholds}` chooses which samples are trained on, but with "
            f"`sample_weighting={args.sample_weighting!r}` and `distillation={args.distillation!r}` all of them "
            "are. Leave `adaptive_thresholds` out, or use another weighting."
        )


def _check_schedule(args: Any) -> None:
    """The number of steps of each inner loop."""
    if args.initial_steps is not None and args.max_steps > 0:
        raise ValueError(
            f"`max_steps={args.max_steps}` and `initial_steps={args.initial_steps}` both set the length of the "
            "inner loop. Set `initial_steps=None` to use `max_steps` in every outer iteration."
        )
    if args.initial_steps is None and (args.step_increment is not None or args.max_inner_steps is not None):
        raise ValueError(
            "`step_increment` and `max_inner_steps` shape the schedule that starts with `initial_steps`, which is "
            "None. Set `initial_steps`, or leave them out."
        )
    if args.step_increment is not None and args.step_growth != 1:
        raise ValueError(
            f"`step_increment={args.step_increment}` and `step_growth={args.step_growth}` both make the number of "
            "steps grow. Set `step_growth=1` to add steps, or leave `step_increment` out to multiply them."
        )
    if args.initial_steps is None and (args.max_steps == 0 or (args.max_steps < 0 and args.num_train_epochs <= 0)):
        raise ValueError(
            f"With `initial_steps=None`, `max_steps` or `num_train_epochs` set the length of the inner loop, but "
            f"`max_steps={args.max_steps}` and `num_train_epochs={args.num_train_epochs}`. Set one above 0."
        )
    last = args.inner_steps(args.num_iterations)
    if last is not None and last < 1:
        raise ValueError(
            f"Iteration {args.num_iterations}, the last one, would have {last} inner steps, with `initial_steps="
            f"{args.initial_steps}`, `step_growth={args.step_growth}` and `step_increment={args.step_increment}`. "
            "Every iteration needs at least one: start with more, let them fall more slowly, or do fewer "
            "iterations."
        )


def _check_generation(args: Any) -> None:
    """The engine, and where completions end."""
    if args.use_vllm and args.use_transformers_continuous_batching:
        raise ValueError("`use_vllm` and `use_transformers_continuous_batching` exclude each other. Set one.")
    if args.stop_strings is not None and not all(args.stop_strings):
        raise ValueError("`stop_strings` holds an empty string, which would end every completion at once.")


def _check_selection(args: Any) -> None:
    """Which samples are trained on."""
    if args.sample_preference != "first" and args.max_samples_per_problem is None:
        raise ValueError(
            f"`sample_preference={args.sample_preference!r}` chooses among the samples of a problem, but "
            "`max_samples_per_problem=None` keeps them all. Set a number."
        )
    if args.counts_draws and args.max_samples_per_problem is not None:
        raise ValueError(
            f"`max_samples_per_problem={args.max_samples_per_problem}` leaves draws of a problem out, but with "
            f"`sample_weighting={args.sample_weighting!r}`, `loss_normalization={args.loss_normalization!r}` and "
            f"`distillation={args.distillation!r}` every draw is a term of the gradient: the weights of a "
            "problem's draws are right for all of them together. Draw fewer with `num_generations`, or leave "
            "`max_samples_per_problem` out."
        )


def _check_loss(args: Any) -> None:
    """What is minimized, and with which weights."""
    if args.weighted and (args.loss_type != "nll" or args.label_smoothing_factor):
        raise ValueError(
            "`sample_weighting` and `loss_normalization` weigh the negative log-likelihood, and `distillation` "
            f"replaces it, but `loss_type={args.loss_type!r}` and `label_smoothing_factor="
            f"{args.label_smoothing_factor}`. Leave those at their defaults, or the others at 'uniform', 'tokens' "
            "and None."
        )
    if args.loss_normalization == "problems" and not args.average_tokens_across_devices:
        raise ValueError(
            "`loss_normalization='problems'` needs `average_tokens_across_devices=True`, the default: its loss is "
            "a sum over all processes."
        )
    if args.sample_weighting in ("importance", "clipped_ratio") and args.sample_iterations > 1:
        raise ValueError(
            f"`sample_weighting={args.sample_weighting!r}` needs the model that sampled, but `sample_iterations="
            f"{args.sample_iterations}` trains on samples of earlier ones, too. Set `sample_iterations=1`."
        )


def _check_teacher(args: Any) -> None:
    """The model with the hint in its prompt."""
    if args.distillation is not None and args.sample_weighting != "uniform":
        raise ValueError(
            f"`distillation={args.distillation!r}` replaces the log-likelihood that `sample_weighting="
            f"{args.sample_weighting!r}` weighs. Leave one of them out."
        )
    if args.distillation is not None and (args.packing or args.padding_free or args.use_liger_kernel):
        raise ValueError(
            f"`distillation={args.distillation!r}` compares the logits of a sample behind two prompts, so a row "
            f"must be one sample, and the model must give its logits, but `packing={args.packing}`, `padding_free="
            f"{args.padding_free}` and `use_liger_kernel={args.use_liger_kernel}`. Leave them out."
        )
    if args.wrong_hint_column is not None and not args.sample_weighting.startswith("teacher"):
        raise ValueError(
            f"`wrong_hint_column={args.wrong_hint_column!r}` is read by `sample_weighting` 'teacher' and "
            f"'teacher_advantage' only, but `sample_weighting={args.sample_weighting!r}`. Leave it out."
        )
    if args.gradient_view_samples and (args.weighs_tokens or args.distillation):
        raise ValueError(
            f"`gradient_view_samples={args.gradient_view_samples}` computes shares of a gradient in which samples "
            f"have weights, but `sample_weighting={args.sample_weighting!r}` and `distillation="
            f"{args.distillation!r}` weigh tokens. Set it to 0."
        )
