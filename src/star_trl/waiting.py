# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Waiting for the other processes, however long they generate."""

from datetime import timedelta
from functools import cache

import torch.distributed as dist


# Processes end a phase hours apart where completions differ in length. Their collectives give up after `ddp_timeout`,
# half an hour by default, which is right in training: there a process that is late is stuck.
PATIENCE = timedelta(days=30)


def wait_for_all() -> None:
    """Returns when every process has come here. A launcher ends the others where one has died."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier(group=patient_group())


@cache
def patient_group() -> dist.ProcessGroup:
    """All processes, over gloo, which waits on the CPU, whatever the accelerator is."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)
