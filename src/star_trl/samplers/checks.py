# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks of the samplers before a run starts."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..star_config import STaRConfig
from ..tools.environments import EnvironmentFactory
from . import (
    EnvironmentSampler,
    RationaleSampler,
    RationalizationSampler,
    RolloutSampler,
    Sampler,
    WrappedSampler,
)
from .rollout_func import RolloutFunc


def check_kinds(samplers: Any) -> None:
    """Raises `TypeError` if what a user gave is not a list of samplers."""
    if samplers is None:
        return
    if not isinstance(samplers, (list, tuple)):
        raise TypeError(
            f"`samplers` must be a list of samplers, such as `[RationaleSampler()]`, got {samplers!r:.80}."
        )
    for sampler in samplers:
        if not isinstance(sampler, Sampler):
            fix = f"`{sampler.__name__}()`" if isinstance(sampler, type) else "an object, such as `RationaleSampler()`"
            raise TypeError(f"`samplers` must hold samplers, but one is {sampler!r:.80}. Give {fix}.")


def check_samplers(samplers: list[Sampler] | None, args: STaRConfig, has_hints: bool) -> tuple[list[Sampler], bool]:
    """
    Returns the samplers to use.

    Args:
        samplers (`list[Sampler]`, *optional*):
            Samplers given by the user.
        args ([`STaRConfig`]):
            Configuration.
        has_hints (`bool`):
            Whether the problems have a `hinted_prompt`.

    Returns:
        `tuple[list[Sampler], bool]`: The samplers, and whether rationalization was left out because there are no
        hints.

    Raises:
        `ValueError`: If there are none, two have the same name, several completions are to be drawn greedily, or the
        weighting of samples needs another way of drawing them.
    """
    without_hints = samplers is None and not has_hints
    if samplers is None:
        # A teacher scores the model's own samples only.
        samplers = [RationaleSampler(), *([RationalizationSampler()] if has_hints and not args.has_teacher else [])]
    names = [sampler.name for sampler in samplers]
    if not samplers or len(set(names)) < len(names):
        raise ValueError(f"`samplers` must be a list of samplers with different names, got {names}.")
    for number, sampler in enumerate(samplers):
        num_generations = sampler.num_generations or args.num_generations
        if number or args.adaptive_temperatures is None:
            check_draws(sampler, args)
        if args.sample_weighting in ("advantage", "teacher_advantage") and num_generations < 2:
            raise ValueError(
                f"`sample_weighting={args.sample_weighting!r}` compares a problem's samples, but the sampler "
                f"`{sampler.name}` draws one. Set `num_generations` to 2 or more, and a `temperature`."
            )
        if args.sample_weighting == "importance" and not draws_from_model(sampler, args):
            temperature, top_p, top_k = (sampler.setting(name, args) for name in ("temperature", "top_p", "top_k"))
            raise ValueError(
                "`sample_weighting='importance'` divides by the probability with which a completion was drawn, which "
                f"is the model's own only at temperature 1 without truncation. The sampler `{sampler.name}` draws "
                f"with temperature={temperature} (0 is greedy), top_p={top_p}, top_k={top_k}, min_p={args.min_p}, "
                f"generation_kwargs={args.generation_kwargs}, adaptive_temperatures={args.adaptive_temperatures}. Set "
                "`temperature=1.0` and leave the others out."
            )
    _check_token_weighting(samplers, args)
    if args.adaptive_temperatures is not None and isinstance(_innermost(samplers[0]), RolloutSampler):
        raise ValueError(
            f"`adaptive_temperatures={args.adaptive_temperatures}` sets the temperature of the first sampler, but a "
            "`rollout_func` draws as it likes. Leave `adaptive_temperatures` out."
        )
    return samplers, without_hints


def _innermost(sampler: Sampler) -> Sampler:
    while isinstance(sampler, WrappedSampler):
        sampler = sampler.sampler
    return sampler


def _check_token_weighting(samplers: list[Sampler], args: STaRConfig) -> None:
    """Raises `ValueError` where a weighting of tokens needs other samplers."""
    others = [sampler.name for sampler in samplers if not sampler.on_policy]
    if args.has_teacher and others:
        setting = (
            f"distillation={args.distillation!r}"
            if args.distillation
            else f"sample_weighting={args.sample_weighting!r}"
        )
        raise ValueError(
            f"`{setting}` lets the model with the hint teach on samples that the model drew without it, but the "
            f"samplers {others} draw with a hint. Give `samplers=[RationaleSampler()]`."
        )
    own_prompts = [sampler.name for sampler in samplers if sampler.makes_prompts]
    if own_prompts and (args.has_teacher or args.sample_weighting == "clipped_ratio"):
        setting = "distillation" if args.distillation else "sample_weighting"
        raise ValueError(
            f"`{setting}={getattr(args, setting)!r}` computes log-probabilities behind the prompts of the problems, "
            f"but the environments or rollout functions of the samplers {own_prompts} make prompts of their own. "
            f"Leave `{setting}` out."
        )
    if args.sample_weighting == "policy_shaping" and not others:
        raise ValueError(
            "`sample_weighting='policy_shaping'` weighs the tokens of samplers that use a hint, but "
            f"{[sampler.name for sampler in samplers]} use none. Add `RationalizationSampler()`, or use another "
            "weighting."
        )
    unknown = [sampler.name for sampler in samplers if not sampler.on_policy and sampler.prompt_column == "prompt"]
    if args.sample_weighting == "clipped_ratio" and unknown:
        raise ValueError(
            "`sample_weighting='clipped_ratio'` divides by the probability with which a token was drawn, which is "
            f"computed from the sampler's prompt, but {unknown} add a hint after it. Leave them out, or use another "
            "weighting."
        )


def samplers_of_grpo(
    samplers: list[Sampler] | None,
    tools: list[Callable] | None,
    environment_factory: EnvironmentFactory | Mapping[str, EnvironmentFactory] | None,
    rollout_func: RolloutFunc | None,
    args: STaRConfig,
    has_hints: bool,
) -> list[Sampler] | None:
    """
    Returns the samplers for arguments of [`~trl.GRPOTrainer`]: those given, or the default ones, with tools and
    environments, or one that calls `rollout_func`. Without such arguments `samplers` are returned.

    Args:
        samplers (`list[Sampler]`, *optional*):
            Samplers given by the user.
        tools (`list[Callable]`, *optional*):
            Tools.
        environment_factory (`Callable` or `dict[str, Callable]`, *optional*):
            Makes environments.
        rollout_func (`Callable`, *optional*):
            Makes completions.
        args ([`STaRConfig`]):
            Configuration.
        has_hints (`bool`):
            Whether the problems have a `hinted_prompt`.

    Raises:
        `ValueError`: If `rollout_func` is combined with another of them.
    """
    if rollout_func is not None:
        if samplers is not None or tools or environment_factory:
            raise ValueError(
                "`rollout_func` makes the completions alone. Leave `samplers`, `tools` and `environment_factory` out, "
                "or give `samplers=[RolloutSampler(rollout_func), ...]`."
            )
        return [RolloutSampler(rollout_func)]
    if not tools and not environment_factory:
        return samplers

    def wrapped(sampler: Sampler, hint: bool = False) -> EnvironmentSampler:
        return EnvironmentSampler(
            sampler, environment_factory, tools, hint=hint, max_turns=args.max_tool_calling_iterations
        )

    if samplers is not None:
        return list(map(wrapped, samplers))
    first = wrapped(RationaleSampler())
    if has_hints:
        return [first, wrapped(RationalizationSampler())]
    takes_hint = first.environments.takes_hint
    return [first, *([wrapped(RationalizationSampler(), hint=True)] if takes_hint else [])]


def connect_rollout_func(samplers: Iterable[Sampler], trainer: Any) -> None:
    """Gives samplers with a `rollout_func` the trainer, which the function takes."""
    for sampler in map(_innermost, samplers):
        if isinstance(sampler, RolloutSampler):
            sampler.trainer = trainer


def check_columns(samplers: Iterable[Sampler], columns: Iterable[str]) -> None:
    """Raises `ValueError` if a column has the name of an argument that environments get from a sampler."""
    for sampler in samplers:
        while isinstance(sampler, WrappedSampler):
            if isinstance(sampler, EnvironmentSampler) and sampler.hint and "hint" in columns:
                raise ValueError(
                    "The problems have a column `hint`, but `reset(**row, hint=True)` asks the environment for a "
                    "hint. Rename the column, or leave `hint` out of the arguments of `reset` and call the column "
                    "`hinted_prompt` if it holds prompts."
                )
            sampler = sampler.sampler


def draws_from_model(sampler: Sampler, args: STaRConfig) -> bool:
    """Whether a sampler draws with the model's own probabilities: at temperature 1 without truncation."""
    return (
        sampler.setting("temperature", args) == 1
        and sampler.setting("top_p", args) == 1
        and not sampler.setting("top_k", args)
        and args.min_p is None
        and not args.generation_kwargs
        and args.adaptive_temperatures is None
    )


def check_draws(sampler: Sampler, args: STaRConfig) -> None:
    """Raises `ValueError` where a sampler is to draw several completions greedily."""
    num_generations = sampler.num_generations or args.num_generations
    if num_generations > 1 and sampler.setting("temperature", args) == 0:
        raise ValueError(
            f"The sampler `{sampler.name}` draws {num_generations} completions per problem at temperature 0, where "
            "all of them are the same. Set a `temperature`, or `num_generations=1`."
        )
