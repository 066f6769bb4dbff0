# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Environments as TRL's `GRPOTrainer` takes them: objects with `reset`, whose public methods are tools."""

import copy
import inspect
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .caller import Caller, Worker


# Takes no argument and returns an environment.
EnvironmentFactory = Callable[[], Any]
# Methods of an environment that are no tools
OTHER_METHODS = ("reset", "get_reward")
# The prompt of problems whose environment gives it
NO_PROMPT = [{"role": "user", "content": ""}]


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
        hint (`bool`, *optional*, defaults to `False`):
            Whether environments give a hint besides: `reset` is called with `hint=True` as well.
        timeout (`float`, *optional*):
            Seconds that a call of a tool or of a method may take. No limit by default.

    Raises:
        `ValueError`: If an environment has no `reset`.
        `TypeError`: If a factory or a tool cannot be called.
    """

    def __init__(
        self,
        factory: EnvironmentFactory | Mapping[str, EnvironmentFactory] | None,
        tools: list[Callable] | None,
        hint: bool = False,
        timeout: float | None = None,
    ):
        self.standalone = list(tools or [])
        self.hint = hint
        self.caller = Caller(timeout)
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
        """Returns a seat for a problem that nothing else uses. The environment of a new one is made by `reset`."""
        name = self.name_of(row)
        with self._lock:
            if self._free[name]:
                return self._free[name].pop()
        return Seat(name)

    def reset(self, seat: Seat, row: dict[str, Any]) -> tuple[str | None, str | None]:
        """
        Begins an episode for a problem.

        Args:
            seat ([`Seat`]):
                The environment. A new one is made first.
            row (`dict[str, Any]`):
                The problem.

        Returns:
            `tuple[str | None, str | None]`: The observation, and the one with the hint. They are the same without
            `hint`, and None where there are tools alone.

        Raises:
            `TypeError`: If an observation is neither a text nor None.
            `ValueError`: If UTF-8 cannot hold it, or the one with the hint is not the one without it and more.
            [`~star_trl.tools.caller.OutOfTime`]: If a call takes too long.
            `Exception`: What the environment raises.
        """
        if seat.num_blocked_loops < self.caller.num_blocked_loops:
            # What the environment holds, such as a client, may belong to an event loop that no longer runs.
            seat.environment, seat.num_blocked_loops = None, self.caller.num_blocked_loops
        factory = self._factories.get(seat.name)
        if factory is None:
            return None, None
        if seat.environment is None:
            seat.environment = self.caller.result(self.caller.start(seat.worker, factory), "environment_factory")
        given = {
            name: value
            for name, value in row.items()
            if not (self.is_multiple and name == "environment") and not (name == "prompt" and value == NO_PROMPT)
        }
        reset = seat.environment.reset
        # All samples of a problem have one row, which an environment may change.
        plain = _checked(self.caller(seat.worker, reset, **copy.deepcopy(given)))
        if not self.hint:
            return plain, plain
        hinted = _checked(self.caller(seat.worker, reset, **copy.deepcopy(given), hint=True))
        _check_hint(plain, hinted)
        return plain, hinted

    def reward(self, seat: Seat) -> dict[str, float | None]:
        """
        Returns the reward of an environment by the name of its class. There is none without `get_reward`.

        Raises:
            `ValueError`: If it is infinite.
            `Exception`: What the environment raises.
        """
        name = type(seat.environment).__name__
        if name not in self.reward_names:
            return {}
        reward = self.caller(seat.worker, seat.environment.get_reward)
        value = None if reward is None else float(reward)
        if value is not None and math.isinf(value):
            raise ValueError(f"it returned {value}, but rewards are finite")
        return {name: value}

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


def _check_hint(plain: str | None, hinted: str | None) -> None:
    """Raises `ValueError` if an observation with a hint is not the one without it and something more."""
    if hinted is None or hinted == (plain or "") or (plain or "") not in hinted:
        raise ValueError(
            f"`reset(hint=True)` returned {hinted!r:.200}, which does not hold the observation without the hint, "
            f"{plain!r:.200}, and something more. `reset` must make the same task from the same row: let a column, "
            "such as a seed, decide what is drawn at random"
        )
