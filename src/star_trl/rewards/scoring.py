# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Calls the reward functions and decides what is kept."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..distributed import get_logger
from ..user_input import nearest
from .calling import SHARED, RewardCaller
from .models.model_reward import ModelReward
from .models.reward_model import RewardModel


logger = get_logger(__name__)

ProcessingClass = PreTrainedTokenizerBase | None
# GRPO's calling convention: `reward_func(prompts, completions, completion_ids=..., **columns)`, where every column of
# the dataset is a list with one value per completion, and `samplers` (the name of each completion's sampler),
# `trainer_state`, `log_extra` and `log_metric` are passed as well. It returns one reward per completion; `None` means
# that it does not apply. It may be a coroutine function.
RewardFunc = Callable[..., Any]
ARGUMENTS = {"prompts", "completions", "completion_ids", "samplers", "trainer_state", "log_extra", "log_metric"}

# What functions get as well where the completions are made in environments
ENVIRONMENT_ARGUMENTS = {"environments", "environment_rewards"}


class EnvironmentReward:
    """
    The reward that an environment gave when its completion ended, since environments do not outlive the sampling.

    Args:
        name (`str`):
            Name of the environment's class.
    """

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(self, environment_rewards: list[dict[str, float | None]], **kwargs: Any) -> list[float | None]:
        return [rewards.get(self.__name__) for rewards in environment_rewards]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """
    The rewards of one completion.

    Args:
        rewards (`dict[str, float | None]`):
            Reward by function.
        reward (`float` or `None`):
            Weighted sum over the functions that apply; `None` if none does.
        passed (`bool`):
            Whether every deciding function that applies reaches its threshold, or the weighted sum reaches that of the
            sum, and at least one function that decides applies.
        verified (`bool`):
            Whether at least one function that decides applies.
        error (`str`, *optional*):
            What went wrong, where a function failed for this completion.
    """

    rewards: dict[str, float | None]
    reward: float | None
    passed: bool
    verified: bool
    error: str | None = None


class Scorer:
    """
    The filter of STaR: the indicator 1[y = y*], generalized to several reward functions.

    Args:
        reward_funcs (`RewardFunc`, `str`, `nn.Module` or a list of them):
            Reward functions, or reward models by their id or loaded, which are wrapped into [`RewardModel`].
        weights (`list[float]`, *optional*):
            Weight of each in the reward. All `1.0` by default.
        thresholds (`float` or `list[float | None]`, *optional*):
            Minimum reward of a kept sample, for each function. `None` for a function that does not decide. A number is
            the threshold of the weighted sum. A single function has `1.0` by default.
        processing_classes (`PreTrainedTokenizerBase` or a list of them, *optional*):
            Tokenizers of the reward models, one for each function. Those of other functions are ignored.
        environment_rewards (`list[str]`, *optional*):
            Names of rewards that completions come with. They follow the reward functions, with the weight 1.
        with_environments (`bool`, *optional*, defaults to `False`):
            Whether the functions get the `environments` that the completions were made in.
        call ([`~star_trl.rewards.calling.RewardCaller`], *optional*):
            Calls the functions. By default each is called once, without a time limit.

    Raises:
        `TypeError`: If a reward function cannot be called.
        `ValueError`: If the weights, the thresholds or the tokenizers do not fit the functions, nothing decides, or a
        single reward model has no threshold.
    """

    def __init__(
        self,
        reward_funcs: RewardFunc | str | list[RewardFunc | str],
        weights: list[float] | None = None,
        thresholds: float | Sequence[float | None] | None = None,
        call: RewardCaller | None = None,
        processing_classes: ProcessingClass | Sequence[ProcessingClass] = None,
        environment_rewards: Sequence[str] = (),
        with_environments: bool = False,
    ):
        self._call = call if call is not None else RewardCaller()
        given = list(reward_funcs) if isinstance(reward_funcs, (list, tuple)) else [reward_funcs]
        tokenizers = [*_one_each(processing_classes, len(given)), *[None] * len(environment_rewards)]
        if weights is not None and len(weights) == len(given):
            weights = [*weights, *[1.0] * len(environment_rewards)]
        given += map(EnvironmentReward, environment_rewards)
        if not given:
            raise ValueError(
                "No reward source provided: `reward_funcs` is empty. Give at least one reward function, such as "
                "exact_match_reward."
            )
        for func in given:
            if not callable(func) and not isinstance(func, str):
                raise TypeError(
                    "A reward function must be a function of (prompts, completions, **columns), or a reward model or "
                    f"its id, got {func!r:.80} (`{type(func).__name__}`)."
                )
        self.reward_funcs: list[RewardFunc] = [
            RewardModel(func, tokenizer) if isinstance(func, (str, nn.Module)) else func
            for func, tokenizer in zip(given, tokenizers, strict=True)
        ]
        self.names = [_name(func) for func in self.reward_funcs]
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"Reward functions need different names, got {self.names}. Set their `__name__`.")
        self.weights = weights if weights is not None else [1.0] * len(self.reward_funcs)
        if isinstance(thresholds, (list, tuple)) and len(thresholds) == 1 and len(given) > 1:
            thresholds = thresholds[0]  # the command line knows lists only
        self.thresholds = self._check_thresholds(thresholds)
        # Of the weighted sum, where no function decides by itself
        self.sum_threshold = thresholds if isinstance(thresholds, (int, float)) and len(given) > 1 else None
        self.warns_of_none = True  # once
        self.with_environments = with_environments
        if len(self.weights) != len(self.reward_funcs):
            raise ValueError(
                f"`reward_weights` has {len(self.weights)} values for {len(self.reward_funcs)} reward functions "
                f"({', '.join(self.names)}). Give one each."
            )

    def _check_thresholds(self, thresholds: float | Sequence[float | None] | None) -> Sequence[float | None]:
        if thresholds is None or isinstance(thresholds, (int, float)):
            if len(self.reward_funcs) == 1:
                if thresholds is None and isinstance(self.reward_funcs[0], ModelReward):
                    raise ValueError(
                        f"`reward_threshold` is not set, and its default of 1.0 means nothing for the scores of the "
                        f"model `{self.names[0]}`. Set the score from which a sample is kept, or let the answer "
                        "decide: `reward_funcs=[exact_match_reward, model]` and `reward_threshold=[1.0, None]`."
                    )
                return [1.0 if thresholds is None else thresholds]
            if thresholds is not None:
                return [None] * len(self.reward_funcs)
            if all(isinstance(func, EnvironmentReward) for func in self.reward_funcs):  # of which one applies
                return [1.0] * len(self.reward_funcs)
            raise ValueError(
                f"With {len(self.reward_funcs)} reward functions ({', '.join(self.names)}), it is unclear which of "
                "them decide. Set `reward_threshold` to a list with one value each, in which `None` marks a function "
                "that only ranks and weights, so that it cannot let a wrong answer in. A number is the threshold of "
                "the weighted sum."
            )
        if len(thresholds) != len(self.reward_funcs):
            raise ValueError(
                f"`reward_threshold` has {len(thresholds)} values for {len(self.reward_funcs)} reward functions "
                f"({', '.join(self.names)}). Give one each, or a number in place of the list as the threshold of the "
                "weighted sum."
            )
        if all(threshold is None for threshold in thresholds):
            raise ValueError("`reward_threshold` is None for every reward function, so nothing decides what is kept.")
        return thresholds

    def to(self, device: torch.device) -> None:
        """
        Moves the reward functions that have a model.

        Args:
            device (`torch.device`):
                Target device.
        """
        for func in self.reward_funcs:
            if hasattr(func, "to"):
                func.to(device)

    def check_columns(self, columns: Sequence[str], has_more: bool = False) -> None:
        """
        Raises `ValueError` if a column that a reward function requires is missing, if a column has the name of another
        argument, or if a function cannot take an argument that it is called with.

        Args:
            columns (`list[str]`):
                Columns of the dataset.
            has_more (`bool`, *optional*, defaults to `False`):
                Whether a sampler adds columns that are not known yet.
        """
        arguments = ARGUMENTS | (ENVIRONMENT_ARGUMENTS if self.with_environments else set())
        if taken := sorted(arguments & set(columns)):
            raise ValueError(
                f"The dataset has the column `{taken[0]}`, but reward functions get another argument of that name. "
                f"Rename the column: `dataset.rename_column({taken[0]!r}, ...)`."
            )
        given = {name for name in columns if name not in ("prompt", "completion")} | arguments
        if "answer" in columns:
            given.add("solution")
        for func, name in zip(self.reward_funcs, self.names, strict=True):
            parameters = inspect.signature(func).parameters.values()
            by_name = [
                parameter
                for parameter in parameters
                if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            ]
            for parameter in by_name:
                if parameter.default is inspect.Parameter.empty and parameter.name not in given and not has_more:
                    raise ValueError(
                        f"The reward function `{name}` needs a column `{parameter.name}`, which the dataset does not "
                        f"have.{nearest(parameter.name, sorted(given))} Its columns are {sorted(columns)}; the other "
                        f"arguments are {', '.join(sorted(arguments))}."
                    )
            # What is called is a decorator's function, and not the one that it wraps.
            called = inspect.signature(func, follow_wrapped=False)
            not_taken = sorted(given - called.parameters.keys())
            if not_taken and not any(
                parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in called.parameters.values()
            ):
                raise ValueError(
                    f"The reward function `{name}` takes {called}, but it is called with the keyword "
                    f"arguments {', '.join(not_taken)} as well. Add `**kwargs` to its parameters, as in GRPOTrainer."
                )

    def check_problems(self, problems: Dataset) -> None:
        """Lets every reward function that has a method `check_problems` look at the problems."""
        for func in self.reward_funcs:
            if (check := getattr(func, "check_problems", None)) is not None:
                check(problems)

    def __call__(
        self, prompts: list, completions: list, completion_ids: list[list[int]], **columns: Any
    ) -> list[Score]:
        """
        Scores some completions.

        Args:
            prompts (`list[str]` or `list[list[dict]]`):
                Prompts of the problems, without few-shot examples and hints.
            completions (`list[str]` or `list[list[dict]]`):
                Their completions.
            completion_ids (`list[list[int]]`):
                Token ids of the completions.
            **columns:
                Further columns, each a list with one value per completion, and other arguments of the functions.

        Returns:
            `list[Score]`: One score per completion.

        Raises:
            `ValueError`: If a function does not return one reward per completion.
            `TypeError`: If a function returns no list of numbers, or fails on text prompts because it reads messages.
            `Exception`: The exception of a function that fails for every completion, or for 8 in a row.
            `SystemExit`: If a function exits with a code other than 0.
        """
        arguments = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **columns}
        rewards_by_func = self._call(self.reward_funcs, self.names, arguments)
        outcomes = list(zip(*rewards_by_func, strict=True))
        unscored = next((row for row, rewards in enumerate(outcomes) if not _any_is_given(rewards)), None)
        if unscored is not None and self.warns_of_none:
            self.warns_of_none = False
            shown = {name: values[unscored] for name, values in arguments.items() if name not in SHARED}
            logger.warning(
                f"All reward functions returned None for the following kwargs: {shown!r:.2000}. Such a completion is "
                "recorded as unverified and not kept. If that is not what you want, let at least one reward function "
                "return a number. This warning is given once."
            )
        return [self._score(rewards) for rewards in outcomes]

    def _score(self, outcomes: Sequence[float | None | Exception]) -> Score:
        errors = [
            f"{name}: {outcome!r}"
            for name, outcome in zip(self.names, outcomes, strict=True)
            if isinstance(outcome, Exception)
        ]
        rewards = [None if isinstance(outcome, Exception) else outcome for outcome in outcomes]
        weighted = [
            weight * reward for weight, reward in zip(self.weights, rewards, strict=True) if reward is not None
        ]
        # Without rounding on the way: 0.7, 0.1 and 0.2 add up to 1.
        total = math.fsum(weighted) if weighted else None
        if self.sum_threshold is None:
            decisions = [
                reward >= threshold
                for reward, threshold in zip(rewards, self.thresholds, strict=True)
                if reward is not None and threshold is not None
            ]
        else:
            decisions = [] if total is None else [total >= self.sum_threshold]
        return Score(
            rewards=dict(zip(self.names, rewards, strict=True)),
            reward=total,
            passed=bool(decisions) and all(decisions) and not errors,
            verified=bool(decisions),
            error="; ".join(errors) or None,
        )


def _any_is_given(outcomes: Sequence[float | None | Exception]) -> bool:
    """Returns whether a function gave a reward, or failed, which is told otherwise."""
    return any(outcome is not None for outcome in outcomes)


def _one_each(
    processing_classes: ProcessingClass | Sequence[ProcessingClass], count: int
) -> Sequence[ProcessingClass]:
    """Returns one tokenizer, or None, for each of `count` reward functions."""
    if processing_classes is None:
        return [None] * count
    given: Any = processing_classes if isinstance(processing_classes, (list, tuple)) else [processing_classes]
    if len(given) != count:
        raise ValueError(
            f"The number of reward processing classes ({len(given)}) must match the number of reward functions "
            f"({count}). Give one each, and None for a function that is not a model."
        )
    return given


def _name(func: RewardFunc) -> str:
    while not hasattr(func, "__name__") and hasattr(func, "func"):  # functools.partial
        func = func.func
    return getattr(func, "__name__", type(func).__name__)
