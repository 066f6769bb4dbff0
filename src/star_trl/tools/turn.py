# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The calls of tools in one turn of a conversation."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from .caller import Caller, OutOfTime, Worker


@dataclass
class _Call:
    """A call of a tool: as the model wrote it, and its result in a tuple, its exception or, for now, its future."""

    name: str
    given: dict[str, Any]
    outcome: Any = None


class Turn:
    """
    Makes the calls of tools that the model wrote in one turn of a conversation.

    Args:
        calls (`list[dict[str, Any]]`):
            The calls, as the tokenizer's response template gives them.
        tools (`dict[str, Callable]`):
            The tools by their names.
        caller ([`~star_trl.tools.caller.Caller`]):
            Makes the calls.
        worker ([`~star_trl.tools.caller.Worker`]):
            The thread of the conversation.

    Attributes:
        num_made (`int`):
            Number of calls that have been made.
        num_failed (`int`):
            Number of results that are errors.
    """

    def __init__(self, calls: Sequence[dict[str, Any]], tools: Mapping[str, Callable], caller: Caller, worker: Worker):
        self.calls = [_Call(str(call.get("name", "unknown")), call) for call in calls]
        self.tools = tools
        self.caller = caller
        self.worker = worker
        self.num_made = self.num_failed = 0

    def make(self) -> None:
        """
        Makes the calls, in a thread. Those that work in the main thread only, and calls behind them, are left to
        [`~Turn.results`].

        Raises:
            [`~star_trl.tools.caller.OutOfTime`]: If a call does not return.
        """
        for call in self.calls:
            if not self._start(call):
                break
        for call in self.calls:
            if isinstance(call.outcome, Future):
                self._finish(call, call.outcome)

    def results(self) -> Iterator[dict[str, Any]]:
        """
        Makes the calls that are left, in the main thread, and forgets them all.

        Returns:
            `Iterator[dict[str, Any]]`: Messages of the role `tool`. Their contents are texts or lists.

        Raises:
            [`~star_trl.tools.caller.OutOfTime`]: If a call does not return.
        """
        calls, self.calls = self.calls, []
        for call in calls:
            if call.outcome is None:
                self._start(call, here=True)
            if isinstance(call.outcome, Future):
                self._finish(call, call.outcome)
            content: Any = None
            if not isinstance(call.outcome, Exception):
                try:
                    content = _recordable(*call.outcome)
                except Exception as error:  # in `__str__`
                    call.outcome = error
            if isinstance(call.outcome, Exception):
                self.num_failed += 1
                content = str({"error": _message(call.outcome)})
            yield {"role": "tool", "name": call.name, "content": content}

    def _start(self, call: _Call, here: bool = False) -> bool:
        """
        Makes a call, in a thread or `here`. The outcome of a coroutine function is a future, as they run together.
        Returns False for a call that works in the main thread only.
        """
        call.outcome = None
        given = call.given
        try:
            if given.get("type", "function") != "function":
                raise ValueError(f"Unsupported tool call type: {given['type']}")
            call.name, arguments = str(given["function"]["name"]), given["function"].get("arguments") or {}
            tool = self.tools.get(call.name)
            if tool is None:
                raise ValueError(f"Tool {call.name} not found.")
            if inspect.iscoroutinefunction(tool):
                call.outcome = self.caller.start(self.worker, tool, **arguments)
            elif here:
                call.outcome = (tool(**arguments),)
            else:  # one after the other, in the order of the calls
                self._finish(call, self.caller.start(self.worker, tool, **arguments))
        except OutOfTime:
            raise
        except Exception as error:
            call.outcome = error
        if isinstance(call.outcome, ValueError) and "main thread" in _message(call.outcome) and not here:
            call.outcome = None  # a tool that limits its time by a signal
            return False
        self.num_made += 1
        return True

    def _finish(self, call: _Call, future: "Future[Any]") -> None:
        try:
            call.outcome = (self.caller.result(future, call.name),)
        except OutOfTime:
            raise
        except Exception as error:
            call.outcome = error


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
