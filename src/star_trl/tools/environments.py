# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Environments as TRL's `GRPOTrainer` takes them: objects with `reset`, whose public methods are tools."""

import asyncio
import inspect
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any


# Takes no argument and returns an environment.
EnvironmentFactory = Callable[[], Any]
# Methods of an environment that are no tools
OTHER_METHODS = ("reset", "get_reward")


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
        self._free: dict[Any, list[Any]] = defaultdict(list)
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
            environment = made()
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
            self._free[name].append(environment)

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

    def take(self, row: Mapping[str, Any]) -> Any:
        """Returns an environment for a problem that nothing else uses, or None where there are only tools."""
        if not self._factories:
            return None
        name = self.name_of(row)
        with self._lock:
            if self._free[name]:
                return self._free[name].pop()
        return self._factories[name]()

    def give_back(self, row: Mapping[str, Any], environment: Any) -> None:
        """Takes an environment back that [`~Environments.take`] gave out."""
        if environment is not None:
            with self._lock:
                self._free[self.name_of(row)].append(environment)

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
    Calls functions of a user in threads that nothing waits for in the end, so that a call that hangs does not keep the
    program. Coroutine functions run in one event loop, as objects with connections need.

    Args:
        timeout (`float`, *optional*):
            Seconds that a call may take. No limit by default.
    """

    def __init__(self, timeout: float | None = None):
        self.timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def start(self, func: Callable, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Starts a call and returns its future."""
        if inspect.iscoroutinefunction(func):
            return asyncio.run_coroutine_threadsafe(func(*args, **kwargs), self._event_loop())
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(func(*args, **kwargs))
            except BaseException as error:  # `sys.exit` would end the thread without a result
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def result(self, future: "Future[Any]", what: str) -> Any:
        """
        Returns the result of a call.

        Raises:
            [`OutOfTime`]: If it takes too long.
            `RuntimeError`: If it called `sys.exit`.
            `Exception`: What it raised.
        """
        try:
            return future.result(self.timeout)
        except TimeoutError as error:
            if future.done():  # its own error
                raise
            future.cancel()
            raise OutOfTime(f"`{what}` gave no answer within {self.timeout:g} seconds") from error
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"`{what}` called `sys.exit`") from error

    def __call__(self, func: Callable, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function and returns its result. Raises the errors of [`~Caller.result`]."""
        return self.result(self.start(func, *args, **kwargs), func.__name__)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
            return self._loop
