# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Environments as TRL's `GRPOTrainer` takes them: objects with `reset`, whose public methods are tools."""

import asyncio
import inspect
import queue
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


# Takes no argument and returns an environment.
EnvironmentFactory = Callable[[], Any]
# Methods of an environment that are no tools
OTHER_METHODS = ("reset", "get_reward")
# The prompt of problems whose environment gives it
NO_PROMPT = [{"role": "user", "content": ""}]
# Seconds in which an event loop that is not blocked answers
LOOP_ANSWERS_WITHIN = 1.0


class Worker:
    """
    A thread that makes calls one after the other. Objects that may be used in one thread only, such as connections to
    SQLite, work in all its calls. Nothing waits for the thread: a call that hangs does not keep the program. The
    thread ends when the worker is no longer referred to and its last call has returned.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=_make_calls, args=[self._calls], daemon=True).start()
        weakref.finalize(self, self._calls.put, None).atexit = False

    def start(self, func: Callable, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Starts a call behind those that were started before, and returns its future."""
        future: Future[Any] = Future()
        self._calls.put((future, lambda: func(*args, **kwargs)))
        return future


def _make_calls(calls: queue.SimpleQueue) -> None:
    while (call := calls.get()) is not None:
        future, func = call
        if future.set_running_or_notify_cancel():
            try:
                result = func()
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # would end the thread without a result
                future.set_exception(_as_error(error))
            else:
                future.set_result(result)
                del result
        del call, future, func  # an environment that nothing else refers to is not kept


def _as_error(error: BaseException) -> RuntimeError:
    made = RuntimeError(f"The call raised `{type(error).__name__}`, such as `sys.exit` does")
    made.__cause__ = error
    return made


@dataclass
class Seat:
    """An environment and the thread that makes all its calls. With tools alone there is no environment."""

    name: str | None
    worker: Worker = field(default_factory=Worker)
    environment: Any = None
    num_blocked_loops: int = 0  # when the environment was made


class Environments:
    """
    Makes environments and uses them again, as `GRPOTrainer` does. Different environments may run at the same time.

    Args:
        factory (`Callable[[], Any]` or `dict[str, Callable[[], Any]]`, *optional*):
            Makes an environment. With a dictionary, the column `environment` of a problem names its factory.
        tools (`list[Callable]`, *optional*):
            Tools that do not belong to an environment.

    Raises:
        `ValueError`: If an environment has no `reset`.
        `TypeError`: If a factory or a tool cannot be called.
    """

    def __init__(
        self, factory: EnvironmentFactory | Mapping[str, EnvironmentFactory] | None, tools: list[Callable] | None
    ):
        self.standalone = list(tools or [])
        self.is_multiple = isinstance(factory, Mapping)
        factories: Mapping[Any, Any] = factory if isinstance(factory, Mapping) else {None: factory}
        self._factories = {name: made for name, made in factories.items() if made is not None}
        self._free: dict[Any, list[Seat]] = defaultdict(list)
        self._lock = threading.Lock()
        for name, called in [*enumerate(self.standalone), *self._factories.items()]:
            if not callable(called):
                raise TypeError(
                    f"A tool or the factory of an environment must be callable, got {called!r:.80} "
                    f"(`{type(called).__name__}`) for {name!r}."
                )
        self._tools: dict[Any, list[Callable]] = {} if self._factories else {None: self.standalone}
        self.reward_names: tuple[str, ...] = ()
        self.takes_hint = bool(self._factories)
        for name, made in self._factories.items():
            seat = Seat(name)
            seat.environment = environment = seat.worker.start(made).result()
            if not callable(getattr(type(environment), "reset", None)):
                raise ValueError(
                    f"The environment `{type(environment).__name__}` has no method `reset`, which begins an episode "
                    "and returns the observation or None. Define `def reset(self, **kwargs)`."
                )
            self._tools[name] = [*self.standalone, *_methods(environment)]
            own = type(environment).__name__
            if hasattr(environment, "get_reward") and own not in self.reward_names:
                self.reward_names += (own,)
            self.takes_hint &= "hint" in inspect.signature(environment.reset).parameters
            self._free[name].append(seat)

    @property
    def exist(self) -> bool:
        """Whether there are environments, and not only tools."""
        return bool(self._factories)

    @property
    def names(self) -> list[str]:
        """Names of the tools and of the environments, by which runs are compared."""
        tools = {tool.__name__ for tools in self._tools.values() for tool in tools}
        return sorted(tools | {str(name) for name in self._factories if name is not None})

    def name_of(self, row: Mapping[str, Any]) -> str | None:
        """
        Returns the name of a problem's environment.

        Raises:
            `ValueError`: If there is no such environment.
        """
        if not self.is_multiple:
            return None
        name = row.get("environment")
        if name not in self._factories:
            raise ValueError(
                f"A problem has `environment={name!r}`, which is not among the environments of `environment_factory`: "
                f"{list(self._factories)}. Give every row one of these names in the column `environment`."
            )
        return name

    def tools_of(self, row: Mapping[str, Any]) -> list[Callable]:
        """Returns the tools that the chat template shows for a problem."""
        return self._tools[self.name_of(row)]

    def take(self, row: Mapping[str, Any]) -> Seat:
        """
        Returns a seat for a problem that nothing else uses. The environment of a new one is None and has yet to be
        made, with its [`~Environments.factory`] and in its worker.
        """
        name = self.name_of(row)
        with self._lock:
            if self._free[name]:
                return self._free[name].pop()
        return Seat(name)

    def factory(self, seat: Seat) -> EnvironmentFactory | None:
        """Returns what makes the environment of a seat, or None where there are only tools."""
        return self._factories.get(seat.name)

    def give_back(self, seat: Seat) -> None:
        """Takes a seat back that [`~Environments.take`] gave out."""
        with self._lock:
            self._free[seat.name].append(seat)

    def callables(self, environment: Any) -> dict[str, Callable]:
        """Returns the standalone tools and the methods of an environment by their names."""
        own = [] if environment is None else _methods(environment)
        return {tool.__name__: tool for tool in [*self.standalone, *own]}


def _methods(environment: Any) -> list[Callable]:
    # Listed on the class: on the instance, properties would be evaluated.
    members = inspect.getmembers(type(environment), predicate=inspect.isfunction)
    return [
        getattr(environment, name) for name, _ in members if name not in OTHER_METHODS and not name.startswith("_")
    ]


class OutOfTime(Exception):
    """Raised where a call took longer than its limit. What it called may still be running."""


class Caller:
    """
    Calls functions of a user with a time limit: coroutine functions in one event loop, as objects with connections
    need, and others in the thread of a [`Worker`]. If a coroutine blocks the loop, later calls run in a new one, and
    those that have not begun are made once more, each in a loop of its own.

    Args:
        timeout (`float`, *optional*):
            Seconds that a call may take. One that is made once more has them again. No limit by default.
    """

    def __init__(self, timeout: float | None = None):
        self.timeout = timeout
        self.num_blocked_loops = 0  # which were left
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def start(self, worker: Worker, func: Callable, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Starts a call and returns its future."""
        if inspect.iscoroutinefunction(func):
            return _CoroutineCall(lambda: func(*args, **kwargs), self._event_loop())
        return worker.start(func, *args, **kwargs)

    def result(self, future: "Future[Any]", what: str) -> Any:
        """
        Returns the result of a call.

        Raises:
            [`OutOfTime`]: If it takes too long. The worker may still be busy with it and cannot be used again.
            `RuntimeError`: If it called `sys.exit`.
            `Exception`: What it raised.
        """
        try:
            return future.result(self.timeout)
        except TimeoutError as error:
            if future.done():  # its own error
                raise
            has_not_begun = future.cancel()
            self._leave_blocked_loop()
            if isinstance(future, _CoroutineCall) and future.task is not None:
                if has_not_begun:  # as another one blocked the loop; this one may do the same, so it gets its own
                    return self.result(_CoroutineCall(future.func), what)
                future.task.cancel()
            raise OutOfTime(f"`{what}` gave no answer within {self.timeout:g} seconds") from error

    def __call__(self, worker: Worker, func: Callable, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function and returns its result. Raises the errors of [`~Caller.result`]."""
        return self.result(self.start(worker, func, *args, **kwargs), func.__name__)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
            return self._loop

    def _leave_blocked_loop(self) -> None:
        """Has later calls run in a new event loop, if a coroutine blocks this one."""
        loop = self._loop
        if loop is None:
            return
        answered = threading.Event()
        loop.call_soon_threadsafe(answered.set)
        if not answered.wait(LOOP_ANSWERS_WITHIN):
            with self._lock:
                if self._loop is loop:
                    self._loop = None
                    self.num_blocked_loops += 1


class _CoroutineCall(Future):
    """
    A call of a coroutine function in an event loop, or in one of its own if none is given. The coroutine sets the
    result itself: the loop would do it later, and another coroutine may block it by then.
    """

    def __init__(self, func: Callable[[], Coroutine[Any, Any, Any]], loop: asyncio.AbstractEventLoop | None = None):
        super().__init__()
        self.func = func
        self.task = None if loop is None else asyncio.run_coroutine_threadsafe(self._run(), loop)
        if loop is None:
            threading.Thread(target=asyncio.run, args=[self._run()], daemon=True).start()

    async def _run(self) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = await self.func()
        except Exception as error:
            self.set_exception(error)
        except BaseException as error:  # would end the event loop
            self.set_exception(_as_error(error))
        else:
            self.set_result(result)
