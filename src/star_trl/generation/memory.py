# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Memory that is available for keys and values, the reaction when it runs out, and what the heap keeps of it."""

import ctypes
import sys
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from accelerate import PartialState
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size


Result = TypeVar("Result")


# Share of the free memory that an engine takes for keys and values. The rest is for activations and other programs.
MEMORY_SHARE = 0.5


def memory_to_use(device: torch.device) -> int:
    """Returns the bytes that an engine may take on a device, of which this process has its share."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(MEMORY_SHARE * (torch.cuda.mem_get_info(device)[0] + unused))
    return int(MEMORY_SHARE * psutil.virtual_memory().available / PartialState().num_processes)


def unless_out_of_memory(work: Callable[[], Result], smaller: bool) -> Result | None:
    """
    Runs a function that would need less memory with a smaller batch.

    Args:
        work (`Callable`):
            Function to run.
        smaller (`bool`):
            Whether a smaller batch can be tried. If not, an out-of-memory error is raised as it is.

    Returns:
        Result of the function, or `None` if memory ran out.
    """
    try:
        return work()
    except RuntimeError as error:
        if not smaller or not should_reduce_batch_size(error):
            raise
    # Outside of the handler, so that the error no longer references what the failed work allocated
    clear_device_cache()
    return None


def trim_heap() -> None:
    """
    Gives the free memory of the heap back to the system, where the C library can (glibc). The tensors of a CPU lie on
    the heap, up to 32 MB each. Their sizes differ between sampling and training, and from step to step, so that the
    heap would grow by what each phase leaves behind.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
