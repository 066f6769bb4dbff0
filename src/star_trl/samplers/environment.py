# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Conversations in which the model calls tools and acts in an environment, as in TRL's `GRPOTrainer`."""

import copy
import inspect
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from ..distributed import get_logger
from ..ledger.messages import HINTED_PROMPT, as_text
from ..tools.environments import NO_PROMPT, Caller, EnvironmentFactory, Environments, OutOfTime, Seat
from .base import ChatGenerate, Completion, Generate, Pauses, Prompt, Sampler, WrappedSampler
from .hint_infer import HintInferSampler
from .rollout_func import RolloutSampler
from .tool import ToolSampler, WithTool


logger = get_logger(__name__)

NOT_WITH_TOOLS = (
    "An `EnvironmentSampler` cannot be combined with a `ToolSampler` or a `HintInferSampler`, whose tools and hints "
    "stand in the text of a turn. Give the tool in `tools`."
)


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
        self.environments = Environments(environment_factory, tools)
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
        self.hint = hint
        self.max_turns = max_turns
        self.max_environments = max_environments
        self.call = Caller(timeout)
        # Those of completions that have not been scored, since reward functions may ask their environments.
        self.seats: dict[tuple[int, int], Seat] = {}

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
            seat = self.seats.pop(_key(completion.prompt), None)
            if seat is not None and completion.error is None:  # that of a failed one may still be in use
                self.environments.give_back(seat)

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        if isinstance(generate, WithTool):
            raise ValueError(NOT_WITH_TOOLS)
        self.seats.clear()  # left over from a sampling that did not come to its end
        return self.sampler.sample(prompts, WithEnvironments(cast(ChatGenerate, generate), self))


@dataclass
class _Rollout:
    """A completion in progress."""

    prompt: Prompt
    seat: Seat | None
    tools: dict[str, Callable]
    hinted_prompt: list[dict[str, Any]] | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    num_tokens: int = 0  # of the completion, of which turns have been read
    num_turns: int = 0
    num_calls: int = 0
    num_failures: int = 0

    @property
    def environment(self) -> Any:
        return None if self.seat is None else self.seat.environment


@dataclass
class _Call:
    """A call of a tool: as the model wrote it, and its result in a tuple, its exception or, for now, its future."""

    name: str
    given: dict[str, Any]
    outcome: Any = None


class WithEnvironments:
    """
    A [`Generate`] whose completions are conversations with tools and environments.

    Args:
        generate ([`ChatGenerate`]):
            What generates.
        sampler ([`EnvironmentSampler`]):
            The environments and their limits.
    """

    def __init__(self, generate: ChatGenerate, sampler: EnvironmentSampler):
        self.generate = generate
        self.sampler = sampler
        self.environments = sampler.environments
        self.tokenizer = generate.tokenizer

    @cached_property
    def longest_token(self) -> int:
        """Number of characters of the longest token. A text of more characters than some tokens have is longer."""
        return max(map(len, self.tokenizer.get_vocab()))

    def __call__(
        self, prompts: Sequence[Prompt], pauses: Pauses | None = None, **overrides: Any
    ) -> Iterator[Completion]:
        if pauses is not None or "pause_between" in overrides or any(prompt.begun for prompt in prompts):
            raise ValueError(NOT_WITH_TOOLS)
        limit, start = self.sampler.max_environments, 0
        while start < len(prompts):
            # Some environments may wait for their completions to be scored. All do if another sampler collects the
            # completions, which then needs more environments.
            size = limit - len(self.sampler.seats)
            size = size if size > 0 else limit
            pool = ThreadPoolExecutor(size)
            try:
                yield from self._converse(prompts[start : start + size], pool, overrides)
            finally:
                pool.shutdown(cancel_futures=True)
            start += size

    def _converse(
        self, prompts: Sequence[Prompt], pool: ThreadPoolExecutor, overrides: dict[str, Any]
    ) -> Iterator[Completion]:
        rollouts = self._encoded(list(pool.map(self._begin, prompts)))
        for rollout in rollouts:
            if rollout.error is not None:
                nothing = Completion(prompt=rollout.prompt, token_ids=[], loss_mask=[], finish_reason="pause")
                yield self._as_completion(rollout, nothing)
        begun = {_key(rollout.prompt): rollout for rollout in rollouts if rollout.error is None}
        turns = _Turns(self, begun, pool)
        ending: deque[Future[Completion]] = deque()
        live = [rollout.prompt for rollout in begun.values()]
        for completion in self.generate(live, pauses=turns, pause_at_eos=True, **overrides):
            ending.append(pool.submit(self._end, begun[_key(completion.prompt)], completion))
            while ending and ending[0].done():
                yield ending.popleft().result()
        for future in ending:
            yield future.result()

    def _begin(self, prompt: Prompt) -> _Rollout:
        """Resets an environment and returns the completion to be, with its prompts and without token ids."""
        rollout = _Rollout(prompt, None, self.environments.callables(None))
        row, column, call = prompt.columns, self.sampler.prompt_column, self.sampler.call
        try:
            rollout.seat = seat = self.environments.take(row)
            self.sampler.seats[_key(prompt)] = seat
            if seat.num_blocked_loops < call.num_blocked_loops:
                # What the environment holds, such as a client, may belong to an event loop that no longer runs.
                seat.environment, seat.num_blocked_loops = None, call.num_blocked_loops
            factory = self.environments.factory(seat)
            if seat.environment is None and factory is not None:
                seat.environment = call.result(call.start(seat.worker, factory), "environment_factory")
            rollout.tools = self.environments.callables(seat.environment)
            plain = hinted = None
            if seat.environment is not None:
                given = {
                    name: value
                    for name, value in row.items()
                    if not (self.environments.is_multiple and name == "environment")
                    and not (name == "prompt" and value == NO_PROMPT)
                }
                reset = seat.environment.reset
                # All samples of a problem have one row, which an environment may change.
                plain = hinted = _checked(call(seat.worker, reset, **copy.deepcopy(given)))
                if self.sampler.hint:
                    hinted = _checked(call(seat.worker, reset, **copy.deepcopy(given), hint=True))
                    check_hint(plain, hinted)
            limit = self.generate.max_prompt_length
            for text in filter(None, (plain, hinted)):
                if limit is not None and len(text) > limit * self.longest_token:  # would take long to encode
                    raise ValueError(
                        f"the observation has {len(text):,} characters, which do not fit into the {limit} tokens "
                        "that the model's context and `max_length` leave for the prompt"
                    )
            shown = _appended(row["prompt"], plain)
            if self.sampler.shown_column != "prompt":
                rollout.hinted_prompt = _appended(row[column], hinted)
        except Exception as error:
            rollout.error = f"reset: {_shown(error)}"
            return rollout
        # Reward functions, the ledger and the training see the prompt without the hint.
        rollout.prompt = replace(prompt, columns={**row, "prompt": shown})
        return rollout

    def _encoded(self, rollouts: list[_Rollout]) -> list[_Rollout]:
        begun = [rollout for rollout in rollouts if rollout.error is None]
        column = self.sampler.shown_column  # the few-shot examples have hints where the prompt has one
        rows = [
            {**rollout.prompt.columns, column: rollout.hinted_prompt or rollout.prompt.columns["prompt"]}
            for rollout in begun
        ]
        for rollout, ids in zip(begun, self.generate.encode(rows, column) if begun else [], strict=True):
            rollout.prompt = replace(rollout.prompt, input_ids=ids)
            limit = self.generate.max_prompt_length
            if limit is not None and len(ids) > limit:
                rollout.error = (
                    f"reset: the prompt with its observation has {len(ids)} tokens, and with `max_completion_length` "
                    f"only {limit} fit into the model's context and `max_length`"
                )
        return rollouts

    def answer(self, rollout: _Rollout, calls: list[dict[str, Any]]) -> list[_Call] | None:
        """
        Makes the calls of a turn, in a thread. Returns them with their outcomes, or None if one did not return. Those
        that work in the main thread only, and calls behind them, have none yet.
        """
        made = [_Call(str(call.get("name", "unknown")), call) for call in calls]
        try:
            for call in made:
                if not self._start(rollout, call):
                    break
            for call in made:
                if isinstance(call.outcome, Future):
                    self._finish(call, call.outcome)
        except OutOfTime as error:
            rollout.error = str(error)
            return None
        return made

    def results(self, rollout: _Rollout, calls: list[_Call]) -> list[int] | None:
        """
        Makes the calls that are left, in the main thread. Returns the token ids of all results, or None if a call did
        not return or the results cannot be encoded.
        """
        messages, shown = [], []
        for call in calls:
            try:
                if call.outcome is None:
                    self._start(rollout, call, here=True)
                if isinstance(call.outcome, Future):
                    self._finish(call, call.outcome)
            except OutOfTime as error:
                rollout.error = str(error)
                return None
            content: Any = None
            if not isinstance(call.outcome, Exception):
                try:
                    content = _recordable(*call.outcome)
                except Exception as error:  # in `__str__`
                    call.outcome = error
            if isinstance(call.outcome, Exception):
                rollout.num_failures += 1
                content = str({"error": _message(call.outcome)})
            content = self._shortened(content)
            message = {"role": "tool", "name": call.name, "content": content}
            messages.append(message)
            # A list is content of several parts, or what a reward function reads as it is.
            is_text = isinstance(content, str) or all(isinstance(part, dict) and "type" in part for part in content)
            shown.append(message if is_text else {**message, "content": str(content)})
        rollout.messages += messages
        try:
            return self.generate.encode_results(shown)
        except Exception as error:
            rollout.error = f"the chat template could not write the results of tools: {_shown(error)}"
            return None

    def _shortened(self, content: Any) -> Any:
        """
        Returns the beginning of a result that cannot fit into a completion, which it then fills. Encoding all of an
        enormous text would take time and memory, and the ledger would have it.
        """
        text, limit = str(content), self.generate.max_completion_length * self.longest_token
        return content if len(text) <= limit else text[:limit]

    def _start(self, rollout: _Rollout, call: _Call, here: bool = False) -> bool:
        """
        Makes a call, in a thread or `here`. The outcome of a coroutine function is a future, as they run together.
        Returns False for a call that works in the main thread only.
        """
        call.outcome = None
        assert rollout.seat is not None  # it has begun
        given, caller, worker = call.given, self.sampler.call, rollout.seat.worker
        try:
            if given.get("type", "function") != "function":
                raise ValueError(f"Unsupported tool call type: {given['type']}")
            call.name, arguments = str(given["function"]["name"]), given["function"].get("arguments") or {}
            tool = rollout.tools.get(call.name)
            if tool is None:
                raise ValueError(f"Tool {call.name} not found.")
            if inspect.iscoroutinefunction(tool):
                call.outcome = caller.start(worker, tool, **arguments)
            elif here:
                call.outcome = (tool(**arguments),)
            else:  # one after the other, in the order of the calls
                self._finish(call, caller.start(worker, tool, **arguments))
        except OutOfTime:
            raise
        except Exception as error:
            call.outcome = error
        if isinstance(call.outcome, ValueError) and "main thread" in _message(call.outcome) and not here:
            call.outcome = None  # a tool that limits its time by a signal
            return False
        rollout.num_calls += 1
        return True

    def _finish(self, call: _Call, future: "Future[Any]") -> None:
        try:
            call.outcome = (self.sampler.call.result(future, call.name),)
        except OutOfTime:
            raise
        except Exception as error:
            call.outcome = error

    def _end(self, rollout: _Rollout, completion: Completion) -> Completion:
        """Asks the environment for its reward, and returns the completion with it."""
        self.read_turn(rollout, completion)  # one that was cut
        rewards: dict[str, float | None] = {}
        name = type(rollout.environment).__name__
        if rollout.error is None and rollout.seat is not None and name in self.sampler.reward_names:
            try:
                reward = self.sampler.call(rollout.seat.worker, rollout.environment.get_reward)
                value = None if reward is None else float(reward)
                if value is not None and math.isinf(value):
                    raise ValueError(f"it returned {value}, but rewards are finite")
                rewards[name] = value
            except Exception as error:
                rollout.error = f"get_reward: {_shown(error)}"
        return self._as_completion(rollout, completion, rewards)

    def read_turn(self, rollout: _Rollout, completion: Completion) -> list[dict[str, Any]]:
        """Adds what the model wrote last to the messages. Returns the calls in it."""
        from trl.chat_template_utils import parse_response  # takes seconds

        written = completion.token_ids[rollout.num_tokens :]
        if not written or not completion.loss_mask[-1]:
            return []
        try:
            message = parse_response(
                self.tokenizer,
                written,
                prefix=completion.prompt.input_ids + completion.token_ids[: rollout.num_tokens],
                tools=list(rollout.tools.values()),
            )
        except Exception as error:  # what a model writes may be anything
            logger.warning(f"A turn could not be parsed and counts as text: {_shown(error)}")
            message = {"role": "assistant", "content": self.tokenizer.decode(written, skip_special_tokens=True)}
        rollout.num_tokens = len(completion.token_ids)
        rollout.messages.append(message)
        return message.get("tool_calls") or []

    def _as_completion(
        self, rollout: _Rollout, completion: Completion, rewards: dict[str, float | None] | None = None
    ) -> Completion:
        extra = {**completion.extra, "tool_calls": rollout.num_calls, "tool_failures": rollout.num_failures}
        if rollout.hinted_prompt is not None:
            extra[HINTED_PROMPT] = as_text(rollout.hinted_prompt)
        return replace(
            completion,
            prompt=rollout.prompt,
            messages=rollout.messages,
            environment=rollout.environment,
            rewards=rewards or {},
            error=rollout.error,
            extra=extra,
        )


class _Turns:
    """
    Answers the calls of conversations while others are generated.

    Args:
        generate ([`WithEnvironments`]):
            What calls the tools.
        rollouts (`dict`):
            The conversations.
        pool (`ThreadPoolExecutor`):
            Runs the calls of several conversations at the same time.
    """

    def __init__(
        self, generate: WithEnvironments, rollouts: dict[tuple[int, int], _Rollout], pool: ThreadPoolExecutor
    ):
        self.generate = generate
        self.rollouts = rollouts
        self.pool = pool

    def begin(self, completion: Completion) -> "Future[list[_Call] | None] | None":
        rollout = self.rollouts[_key(completion.prompt)]
        calls = self.generate.read_turn(rollout, completion)
        if not calls or rollout.num_turns == self.generate.sampler.max_turns:
            return None
        rollout.num_turns += 1
        return self.pool.submit(self.generate.answer, rollout, calls)

    def end(self, completion: Completion, result: list[_Call] | None) -> Completion | None:
        if result is None:
            return None
        rollout = self.rollouts[_key(completion.prompt)]
        ids = self.generate.results(rollout, result)
        if ids is None:
            return None
        rollout.num_tokens += len(ids)
        return replace(
            completion,
            token_ids=completion.token_ids + ids,
            loss_mask=completion.loss_mask + [False] * len(ids),
            logprobs=None if completion.logprobs is None else completion.logprobs + [0.0] * len(ids),
        )


def check_hint(plain: str | None, hinted: str | None) -> None:
    """Raises `ValueError` if an observation with a hint is not the one without it and something more."""
    if hinted is None or hinted == (plain or "") or (plain or "") not in hinted:
        raise ValueError(
            f"`reset(hint=True)` returned {hinted!r:.200}, which does not hold the observation without the hint, "
            f"{plain!r:.200}, and something more. `reset` must make the same task from the same row: let a column, "
            "such as a seed, decide what is drawn at random"
        )


def _key(prompt: Prompt) -> tuple[int, int]:
    return prompt.problem, prompt.sample_index


def _checked(observation: Any) -> str | None:
    if isinstance(observation, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in observation
    ):
        observation = "".join(part["text"] for part in observation)
    if observation is None:
        return None
    if not isinstance(observation, str):
        raise TypeError(
            f"`reset` must return None, a text or a list of parts of the type `text`, got {observation!r:.80} "
            f"(`{type(observation).__name__}`)"
        )
    try:
        observation.encode()
    except UnicodeEncodeError as error:  # which tokenizers refuse
        raise ValueError(
            f"`reset` returned a text that UTF-8 cannot hold: {error.reason} at character {error.start}. "
            'Clean it with `text.encode(errors="replace").decode()`'
        ) from None
    return observation


def _appended(messages: list[dict[str, Any]], observation: str | None) -> list[dict[str, Any]]:
    """Appends an observation to the last message of a prompt, which is left as it is."""
    if observation is None:
        return messages
    last = messages[-1]
    content = last["content"] or ""
    if isinstance(content, list):  # of parts, as `GRPOTrainer` appends to it
        return [*messages[:-1], {**last, "content": [*content, {"type": "text", "text": observation}]}]
    return [*messages[:-1], {**last, "content": content + observation}]


def _recordable(result: Any) -> Any:
    """Returns the result of a tool as text, or a list as JSON would give it back, if JSON can hold it."""
    if isinstance(result, list):
        try:
            return json.loads(json.dumps(result, default=str))
        except Exception:  # such as keys that are no text, and lists that hold themselves
            return str(result)
    return str(result)


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # of a class with a faulty `__str__`
        return type(error).__name__


def _shown(error: Exception) -> str:
    try:
        return f"{error!r:.500}"
    except Exception:  # of a class with a faulty `__repr__`
        return type(error).__name__


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
