# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Conversations in which the model calls tools and acts in an environment, as in TRL's `GRPOTrainer`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from ..ledger.messages import HINTED_PROMPT
from ..tools.environments import EnvironmentFactory, Environments, Seat
from .base import ChatGenerate, Completion, Generate, Prompt, Sampler, WrappedSampler
from .conversation import NOT_WITH_TOOLS, WithEnvironments, key_of
from .hint_infer import HintInferSampler
from .rollout_func import RolloutSampler
from .tool import ToolSampler, WithTool


class EnvironmentSampler(WrappedSampler):
    """
    Lets the model of a sampler call tools and act in an environment, over several turns of a chat. The meaning of the
    arguments is that of [`~trl.GRPOTrainer`]: the chat template shows the tools, calls are parsed by the tokenizer's
    response template, results are appended as turns of the role `tool`, and an exception goes back to the model as
    `{"error": ...}`. What tools and environments say is not trained on.

    An environment that raises in `reset` or `get_reward`, or that takes too long, makes its completion a failed sample
    in the ledger. The others go on.

    Args:
        sampler ([`Sampler`]):
            The sampler, which keeps its name and its settings.
        environment_factory (`Callable[[], Any]` or `dict[str, Callable[[], Any]]`, *optional*):
            Returns an environment. Its `reset(**row)` returns None or a text, which is appended to the last message of
            the prompt. Its other public methods are tools, with type hints and a docstring in Google's form. Its
            `get_reward()`, if it has one, is a reward with the name of the class. With a dictionary, the column
            `environment` of a problem names the factory.
        tools (`list[Callable]`, *optional*):
            Functions that the model may call, with type hints and a docstring in Google's form. They may be coroutine
            functions, as the methods of an environment may be.
        hint (`bool`, *optional*, defaults to `False`):
            Whether the environment shows the way: after `reset(**row)`, `reset(**row, hint=True)` is called, whose
            text must hold that of the first call. The model is conditioned on the second text and trained on the
            first. Only this text may hold the hint, since what tools say stays in the training sequence. Few-shot
            examples are shown with their `hinted_prompt`, if they have one.
        max_turns (`int`, *optional*):
            Maximum number of turns in which tools are called. The calls of the turn after that are not answered, and
            the completion ends. `max_tool_calling_iterations` of the configuration sets it. No limit by default.
        max_environments (`int`, *optional*, defaults to `64`):
            Number of completions in progress at a time, and of environments of each process. A sampler that collects
            completions before it yields them, such as [`MajorityVoteSampler`], needs more environments.
        timeout (`float`, *optional*, defaults to `120.0`):
            Seconds that one call of a tool or of a method may take. None: no limit.

    Raises:
        `ValueError`: If there are neither tools nor an environment, an environment has no `reset`, one is to give
            hints whose `reset` does not take `hint`, a number is too small, or the sampler has tools or makes its
            completions itself.
        `TypeError`: If a tool or a factory cannot be called.

    Example:
    ```python
    >>> from star_trl import EnvironmentSampler, RationaleSampler

    >>> def multiply(a: int, b: int) -> int:
    ...     '''
    ...     Multiplies two integers.
    ...
    ...     Args:
    ...         a: The first integer.
    ...         b: The second integer.
    ...
    ...     Returns:
    ...         The product of the two integers.
    ...     '''
    ...     return a * b

    >>> sampler = EnvironmentSampler(RationaleSampler(), tools=[multiply])
    ```
    """

    max_environments: int

    def __init__(
        self,
        sampler: Sampler,
        environment_factory: EnvironmentFactory | Mapping[str, EnvironmentFactory] | None = None,
        tools: list[Callable] | None = None,
        hint: bool = False,
        max_turns: int | None = None,
        max_environments: int = 64,
        timeout: float | None = 120.0,
    ):
        super().__init__(sampler)
        check_inner(sampler)
        if not environment_factory and not tools:
            raise ValueError("An `EnvironmentSampler` needs `environment_factory`, `tools` or both.")
        for name, value, least in (("max_turns", max_turns, 0), ("max_environments", max_environments, 1)):
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"`timeout` must be positive or None, got {timeout}.")
        self.environments = Environments(environment_factory, tools, hint, timeout)
        if hint and not self.environments.takes_hint:
            raise ValueError(
                "`hint=True` needs environments whose `reset` takes `hint`. Define `def reset(self, hint=False, "
                "**kwargs)`, which returns the same text with the hint in it, or give problems a `hinted_prompt`."
            )
        self.converses = True
        self.makes_prompts = True
        if hint:
            self.prompt_column = "prompt"  # the environment gives the hint
        self.reward_names = self.environments.reward_names
        self.max_turns = max_turns
        self.max_environments = max_environments
        # Those of completions that have not been scored, since reward functions may ask their environments.
        self.seats: dict[tuple[int, int], Seat] = {}

    @property
    def hint(self) -> bool:
        """Whether the environment shows the way."""
        return self.environments.hint

    @property
    def shown_column(self) -> str:
        return HINTED_PROMPT if self.hint else self.prompt_column

    @property
    def on_policy(self) -> bool:
        return self.sampler.on_policy and not self.hint

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "tools": self.environments.names}

    def tools_of(self, row: dict[str, Any]) -> list[Callable] | None:
        return self.environments.tools_of(row)

    def scored(self, completions: Sequence[Completion]) -> None:
        for completion in completions:
            seat = self.seats.pop(key_of(completion.prompt), None)
            if seat is not None and completion.error is None:  # that of a failed one may still be in use
                self.environments.give_back(seat)

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        if isinstance(generate, WithTool):
            raise ValueError(NOT_WITH_TOOLS)
        self.seats.clear()  # left over from a sampling that did not come to its end
        conversations = WithEnvironments(
            cast(ChatGenerate, generate),
            self.environments,
            self.seats,
            self.max_environments,
            self.max_turns,
            self.prompt_column,
            self.shown_column,
        )
        return self.sampler.sample(prompts, conversations)


def check_inner(sampler: Sampler) -> None:
    """Raises `ValueError` if a sampler has tools already, or makes its completions itself."""
    while True:
        if isinstance(sampler, (ToolSampler, HintInferSampler)):
            raise ValueError(NOT_WITH_TOOLS)
        if isinstance(sampler, EnvironmentSampler):
            raise ValueError(
                "An `EnvironmentSampler` cannot be inside another one. Give one of them all `tools` and the "
                "`environment_factory`, and leave these arguments of the trainer out if a sampler has them."
            )
        if isinstance(sampler, RolloutSampler):
            raise ValueError(
                "An `EnvironmentSampler` cannot be combined with a `RolloutSampler`, whose function makes the "
                "completions alone. Call the tools and the environment in that function, and leave `tools` and "
                "`environment_factory` out."
            )
        if not isinstance(sampler, WrappedSampler):
            return
        sampler = sampler.sampler
