# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Splits work among the processes, waits for them, however long they generate, and logs from the first one."""

import logging
import pickle
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.logging import MultiProcessAdapter


T = TypeVar("T")


# Processes may finish a phase hours apart, since completions differ in length. Other collectives time out after
# `ddp_timeout`, half an hour by default. That is right in training, where a late process is stuck.
PATIENCE = timedelta(days=30)


def own_part(things: Sequence[T], accelerator: Accelerator) -> Sequence[T]:
    """Returns this process's part of some problems or samples."""
    return things[accelerator.process_index :: accelerator.num_processes]


def connect(accelerator: Accelerator) -> None:
    """
    Connects the processes for [`wait_for_all`]. They notice over these connections when one of them has died. Without
    them, the first wait would look for a dead process as long as it is willing to wait for a slow one.
    """
    if _several_processes():
        accelerator.wait_for_everyone()  # with the usual timeout
        patient_group()


def wait_for_all() -> None:
    """Waits until every process has called it. Raises `RuntimeError` if one has died."""
    if _several_processes():
        dist.barrier(group=patient_group())


@contextmanager
def raise_together() -> Iterator[None]:
    """
    Waits until every process has left the context, and raises in all of them if one raised an error in it. Without it,
    the other processes would wait for a process that has refused to go on. All processes must enter it together.
    """
    if not _several_processes():
        yield
        return
    error: Exception | None = None
    try:
        yield
    except Exception as caught:
        error = caught
    errors: list[Exception | None] = [None] * dist.get_world_size()
    dist.all_gather_object(errors, None if error is None else _sendable(error), group=patient_group())
    if error is not None:
        raise error
    for process, other in enumerate(errors):
        if other is not None:
            other.add_note(f"Raised by process {process}.")
            raise other


@cache
def patient_group() -> dist.ProcessGroup:
    """Returns a group of all processes. It uses gloo, which waits on the CPU, whatever the accelerator is."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


class ProcessLogger(MultiProcessAdapter):
    """A logger of accelerate, for the first process only. It names the process only if there are several."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        if PartialState().num_processes > 1:
            return super().process(msg, kwargs)
        kwargs.setdefault("stacklevel", 2)  # the caller, as in the base class
        return msg, kwargs


def get_logger(name: str) -> ProcessLogger:
    """Returns the logger of a module."""
    return ProcessLogger(logging.getLogger(name), {})


def _several_processes() -> bool:
    return dist.is_initialized() and dist.get_world_size() > 1


def _sendable(error: Exception) -> Exception:
    """Returns an error that another process can load: itself, or one with its text if its class does not allow it."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
