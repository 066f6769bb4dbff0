# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Calls functions of a user in threads and event loops, with a time limit."""

import asyncio
import inspect
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any


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
