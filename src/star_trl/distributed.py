# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Splits work among the processes, and waits for them, however long they generate."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch.distributed as dist
from accelerate import Accelerator


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
