# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Calls of reward functions that may raise, hang or wait for a service that is briefly unavailable."""

import asyncio
import inspect
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from accelerate.logging import get_logger


logger = get_logger(__name__)

# Failures in a row, or for all of several completions, that end the run: the function is broken or its service is
# down. The run can be resumed when it works again. A single failure may be due to the completion.
MOST_FAILURES = 8
# Errors in the code of a function, or in its data: the same call raises them again, so there is no retry of the group.
# Subclasses do not count: a `JSONDecodeError`, for one, may be due to a service that is down.
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
            `TypeError`: If a function fails on text prompts because it reads messages.
        """
        rewards: list[list[float | None | Exception]] = []
        for func, name, outcome in zip(funcs, names, self._call_all(funcs, arguments), strict=True):
            if isinstance(outcome, Exception):
                rewards.append(self._try_again(func, name, arguments, outcome))
            else:
                rewards.append(list(outcome))
                self._failures[name] = 0
        return rewards

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
        for attempt in range(0 if type(error) in LASTING else self.retries):
            logger.warning(f"The reward function `{name}` failed ({error!r}). Trying again in {2**attempt} s.")
            time.sleep(2**attempt)
            (outcome,) = self._call_all([func], arguments)
            if not isinstance(outcome, Exception):
                self._failures[name] = 0
                return list(outcome)
            error = outcome
        count = len(arguments["completions"])
        outcomes: list[float | None | Exception] = []
        for row in range(count):
            one = {key: value if key in SHARED else value[row : row + 1] for key, value in arguments.items()}
            if "log_extra" in one:
                one["log_extra"] = lambda column, values: None  # it expects a value for every completion of the group
            (outcome,) = self._call_all([func], one)
            outcomes.append(outcome if isinstance(outcome, Exception) else next(iter(outcome)))
            self._failures[name] = self._failures[name] + 1 if isinstance(outcome, Exception) else 0
            failed = sum(isinstance(outcome, Exception) for outcome in outcomes)
            if self._failures[name] == MOST_FAILURES or failed == count > 1:
                raise error
        logger.warning(f"The reward function `{name}` fails for {failed} of {count} completions: {error!r}.")
        return outcomes

    def _call_all(self, funcs: Sequence[Callable], arguments: dict[str, Any]) -> list[Any]:
        """Returns the result of each function, or the exception that it raised."""
        outcomes = [self._call(func, arguments) for func in funcs]
        if not any(inspect.isawaitable(outcome) for outcome in outcomes):
            return outcomes

        async def wait() -> list[Any]:
            waiting = (asyncio.wait_for(outcome, self.timeout) for outcome in outcomes if inspect.isawaitable(outcome))
            awaited = iter(await asyncio.gather(*waiting, return_exceptions=True))
            return [next(awaited) if inspect.isawaitable(outcome) else outcome for outcome in outcomes]

        # In a separate thread, since a notebook already runs an event loop in this one.
        with ThreadPoolExecutor(max_workers=1) as executor:
            return executor.submit(asyncio.run, wait()).result()

    def _call(self, func: Callable, arguments: dict[str, Any]) -> Any:
        if self.timeout is None or inspect.iscoroutinefunction(func):
            try:
                with torch_defaults():
                    return func(**arguments)
            except Exception as error:
                return error
        returned: queue.Queue = queue.Queue()

        def call() -> None:
            try:
                returned.put(func(**arguments))
            except Exception as error:
                returned.put(error)

        # A daemon, so that a function that never returns does not keep the program from ending.
        threading.Thread(target=call, daemon=True).start()
        try:
            return returned.get(timeout=self.timeout)
        except queue.Empty:
            return TimeoutError(f"no answer within `reward_timeout={self.timeout}` seconds")


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
