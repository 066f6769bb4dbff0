# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Calls of reward functions that may raise, hang or wait for a service that is briefly unavailable."""

import asyncio
import inspect
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch

from ..distributed import get_logger


logger = get_logger(__name__)

# Failures in a row, or for all of several completions, that end the run: the function is broken or its service is
# down. The run can be resumed when it works again. A single failure may be due to the completion.
MOST_FAILURES = 8
# Errors in the code of a function, or in its data. One of them may also come from the answer of a service that is
# overloaded, so there is one retry. The same error again will not go away. Subclasses do not count: a
# `JSONDecodeError`, for one, may be due to a service that is down for longer.
LASTING = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    ModuleNotFoundError,
    NameError,
    NotImplementedError,
    TypeError,
    UnboundLocalError,
    ValueError,
    ZeroDivisionError,
)
# What a call may raise. `sys.exit` and a cancelled task would end the run in the middle.
CAUGHT = (Exception, SystemExit, asyncio.CancelledError)
# Exit codes of `sys.exit` with which the program would seem to have succeeded. Others end it, since a handler of the
# user for SIGTERM may have given them.
SUCCESS = (None, 0)
# Arguments that are not lists with one value per completion, unlike columns and completions.
SHARED = ("trainer_state", "log_extra", "log_metric")


class RewardCaller:
    """
    Calls reward functions on a group of completions. A function that fails is called again on the whole group, unless
    its error would be the same again, and then on each completion by itself, so that one completion cannot spoil the
    others.

    Args:
        timeout (`float`, *optional*):
            Seconds that a call may take. With a timeout, functions run in a thread of their own, which is abandoned if
            it hangs. No limit by default.
        retries (`int`, *optional*, defaults to `0`):
            Number of times that a failed call is retried, after 1, 2, 4, ... seconds.
    """

    def __init__(self, timeout: float | None = None, retries: int = 0):
        self.timeout = timeout
        self.retries = retries
        self._failures: Counter[str] = Counter()  # in a row, by function

    def __call__(
        self, funcs: Sequence[Callable], names: Sequence[str], arguments: dict[str, Any]
    ) -> list[list[float | None | Exception]]:
        """
        Returns the rewards of a group of completions.

        Args:
            funcs (`list[RewardFunc]`):
                Reward functions. Coroutine functions are awaited together.
            names (`list[str]`):
                Their names.
            arguments (`dict[str, Any]`):
                Keyword arguments of the functions.

        Returns:
            `list[list[float | None | Exception]]`: For each function, one value per completion. An exception stands
            for a failure.

        Raises:
            `Exception`: What a function raises, if it fails for all completions of the group, or for 8 in a row.
            `TypeError`: If a function returns no list of numbers, or fails on text prompts because it reads messages.
            `ValueError`: If a function does not return one reward per completion.
            `SystemExit`: If a function exits with a code other than 0.
        """
        rewards: list[list[float | None | Exception]] = []
        for func, name, outcome in zip(funcs, names, self._call_all(funcs, names, arguments), strict=True):
            if isinstance(outcome, Exception):
                rewards.append(self._try_again(func, name, arguments, outcome))
            else:
                rewards.append(self._checked(outcome, name, len(arguments["completions"])))
        return rewards

    def _checked(self, returned: Any, name: str, count: int) -> list[float | None | Exception]:
        """Returns the rewards that a function returned, with an exception for each that is none."""
        outcomes = as_rewards(returned, name, count)
        for outcome in outcomes:
            self._count(name, outcome)
            if self._failures[name] == MOST_FAILURES:
                raise cast(Exception, outcome)
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if errors and len(errors) == count > 1:
            raise errors[0]
        if errors:
            self._warn(name, len(errors), count, errors[0])
        return outcomes

    def _warn(self, name: str, failed: int, count: int, error: Exception) -> None:
        logger.warning(f"The reward function `{name}` fails for {failed} of {count} completions: {error!r}.")

    def _count(self, name: str, outcome: float | None | Exception) -> None:
        self._failures[name] = self._failures[name] + 1 if isinstance(outcome, Exception) else 0

    def _try_again(
        self, func: Callable, name: str, arguments: dict[str, Any], error: Exception
    ) -> list[float | None | Exception]:
        text_prompts = isinstance(arguments["prompts"][0], str)
        if text_prompts and isinstance(error, TypeError) and "string indices" in str(error):
            raise TypeError(
                f"The reward function `{name}` reads completions as lists of messages, but the prompts are text, "
                "and so are the completions. Make the prompts conversational "
                '(`[{"role": "user", "content": ...}]`), or use a reward function for text.'
            ) from error
        for attempt in range(self.retries):
            logger.warning(f"The reward function `{name}` failed ({error!r}). Trying again in {2**attempt} s.")
            time.sleep(2**attempt)
            (outcome,) = self._call_all([func], [name], arguments)
            if not isinstance(outcome, Exception):
                return self._checked(outcome, name, len(arguments["completions"]))
            before, error = error, outcome
            if type(error) in LASTING and repr(error) == repr(before):
                break
        count = len(arguments["completions"])
        outcomes: list[float | None | Exception] = []
        for row in range(count):
            one = {key: value if key in SHARED else value[row : row + 1] for key, value in arguments.items()}
            if "log_extra" in one:
                one["log_extra"] = lambda column, values: None  # it expects a value for every completion of the group
            (outcome,) = self._call_all([func], [name], one)
            outcomes += [outcome] if isinstance(outcome, Exception) else as_rewards(outcome, name, 1)
            self._count(name, outcomes[-1])
            failed = sum(isinstance(outcome, Exception) for outcome in outcomes)
            if self._failures[name] == MOST_FAILURES or failed == count > 1:
                raise error
        self._warn(name, failed, count, error)
        return outcomes

    def _call_all(self, funcs: Sequence[Callable], names: Sequence[str], arguments: dict[str, Any]) -> list[Any]:
        """Returns the result of each function, or the exception that it raised. Raises `SystemExit`."""
        outcomes = [self._call(func, name, arguments) for func, name in zip(funcs, names, strict=True)]
        if any(inspect.isawaitable(outcome) for outcome in outcomes):
            outcomes = self._await_all(outcomes, names)
        for outcome in outcomes:
            if isinstance(outcome, SystemExit):  # raised here, since threads and event loops would not pass it on
                raise outcome
        return outcomes

    def _await_all(self, outcomes: Sequence[Any], names: Sequence[str]) -> list[Any]:
        async def result_of(outcome: Any, name: str) -> Any:
            try:
                return await outcome if inspect.isawaitable(outcome) else outcome
            except (Exception, SystemExit) as error:
                return as_exception(error, name)

        async def result_in_time(outcome: Any, name: str) -> Any:
            try:
                return await asyncio.wait_for(result_of(outcome, name), self.timeout)
            except TimeoutError:
                return self._timed_out(name)
            except asyncio.CancelledError as error:  # not caught above, since a timeout cancels as well
                return as_exception(error, name)

        async def wait() -> list[Any]:
            results = (result_in_time(outcome, name) for outcome, name in zip(outcomes, names, strict=True))
            return await asyncio.gather(*results)

        # In a separate thread, since a notebook already runs an event loop in this one.
        with ThreadPoolExecutor(max_workers=1) as executor:
            return executor.submit(asyncio.run, wait()).result()

    def _call(self, func: Callable, name: str, arguments: dict[str, Any]) -> Any:
        # Every call has lists of its own. A function that changes them changes neither what is recorded and trained on
        # nor what other functions see.
        arguments = {key: value if key in SHARED else own_copy(value) for key, value in arguments.items()}
        if self.timeout is None or inspect.iscoroutinefunction(func):
            try:
                with torch_defaults():
                    return func(**arguments)
            except CAUGHT as error:
                return as_exception(error, name)
        returned: queue.Queue = queue.Queue()

        def call() -> None:
            try:
                returned.put(func(**arguments))
            except CAUGHT as error:
                returned.put(as_exception(error, name))

        # A daemon, so that a function that never returns does not keep the program from ending.
        threading.Thread(target=call, daemon=True).start()
        try:
            return returned.get(timeout=self.timeout)
        except queue.Empty:
            return self._timed_out(name)

    def _timed_out(self, name: str) -> TimeoutError:
        return TimeoutError(f"`{name}` gave no answer within `reward_timeout={self.timeout}` seconds")


def as_exception(error: BaseException, name: str) -> Exception | SystemExit:
    """
    Returns what a reward function raised as an error that names it. A `SystemExit` is returned as it is, unless its
    exit code is that of success.
    """
    if isinstance(error, SystemExit) and error.code not in SUCCESS:
        return error
    if isinstance(error, SystemExit):
        return RuntimeError(f"the reward function `{name}` called `sys.exit({error.code!r})`; raise an error instead")
    if isinstance(error, asyncio.CancelledError):
        return RuntimeError(f"the reward function `{name}` was cancelled. Catch `asyncio.CancelledError` in it")
    error.add_note(f"Raised by the reward function `{name}`.")
    return cast(Exception, error)


def as_rewards(returned: Any, name: str, count: int) -> list[float | None | Exception]:
    """
    Returns what a reward function returned as one number or `None` per completion. An exception stands for a value
    that is no finite number, so that one completion cannot end the run.

    Args:
        returned (`Any`):
            What it returned.
        name (`str`):
            Its name.
        count (`int`):
            Number of completions.

    Raises:
        `TypeError`: If it is no list.
        `ValueError`: If there is not one value per completion.
    """
    expected = "It must return a list with one number per completion, `None` where it does not apply."
    try:
        if isinstance(returned, (str, bytes, dict)):
            raise TypeError
        rewards = list(returned)
    except TypeError:  # also that of a tensor without dimensions
        raise TypeError(
            f"The reward function `{name}` returned {returned!r:.80} (`{type(returned).__name__}`). {expected}"
        ) from None
    if len(rewards) != count:
        raise ValueError(
            f"The reward function `{name}` returned {len(rewards)} rewards for {count} completions. {expected}"
        )
    return [_as_reward(reward, name, expected) for reward in rewards]


def _as_reward(reward: Any, name: str, expected: str) -> float | None | Exception:
    if reward is None:
        return None
    try:
        if isinstance(reward, (str, bytes)):  # a text of digits is no number
            raise TypeError
        value = float(reward)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last one
        return TypeError(
            f"The reward function `{name}` returned a list with {reward!r:.80} (`{type(reward).__name__}`) in it. "
            f"{expected}"
        )
    if math.isinf(value):
        return ValueError(f"The reward function `{name}` returned the reward {value}, but rewards are finite.")
    # Reward functions written for GRPO may use NaN where they do not apply. JSON cannot hold NaN.
    return None if math.isnan(value) else value


def own_copy(value: Any) -> Any:
    """Copies the lists and dicts of an argument, as far as they are nested."""
    if isinstance(value, dict):
        return {key: own_copy(item) for key, item in value.items()}
    if isinstance(value, list):
        nested = {list, dict} & set(map(type, value))
        return [own_copy(item) for item in value] if nested else value.copy()
    return value


@contextmanager
def torch_defaults() -> Iterator[None]:
    """
    Restores full precision and gradients, as in a new thread. Completions are scored while the policy generates, which
    is without gradients and, with `bf16` or `fp16`, under autocast. A score must not depend on that.
    """
    accelerator = torch.accelerator.current_accelerator()
    with ExitStack() as contexts:
        for device_type in {"cpu", "cpu" if accelerator is None else accelerator.type}:
            contexts.enter_context(torch.autocast(device_type, enabled=False))
        contexts.enter_context(torch.enable_grad())
        yield
