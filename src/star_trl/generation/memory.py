# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""How much memory there is for keys and values, and what happens when it does not suffice."""

from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from accelerate import PartialState
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size


Result = TypeVar("Result")


# Share of the free memory that an engine takes for them. The rest is for activations and for what else runs.
MEMORY_SHARE = 0.5


def memory_to_use(device: torch.device) -> int:
    """Bytes that an engine may take on a device, of which this process has its share."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(MEMORY_SHARE * (torch.cuda.mem_get_info(device)[0] + unused))
    return int(MEMORY_SHARE * psutil.virtual_memory().available / PartialState().num_processes)


def unless_out_of_memory(work: Callable[[], Result], smaller: bool) -> Result | None:
    """
    Does something that a smaller batch would need less memory for.

    Args:
        work (`Callable`):
            What to do.
        smaller (`bool`):
            Whether there is a smaller batch to try. Without one, an error is raised as it is.

    Returns:
        What it returned, or `None` where the memory did not suffice.
    """
    try:
        return work()
    except RuntimeError as error:
        if not smaller or not should_reduce_batch_size(error):
            raise
    # Outside of the handler, so that the error no longer holds on to what the failed work allocated
    clear_device_cache()
    return None
