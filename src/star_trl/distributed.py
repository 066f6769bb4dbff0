# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Splits work among the processes, waits for them, however long they generate, and logs from the first one."""

import logging
from collections.abc import MutableMapping, Sequence
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


def wait_for_all() -> None:
    """Waits until every process has called it. If one has died, the launcher ends the others."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier(group=patient_group())


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
