# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""How much memory there is for keys and values."""

import psutil
import torch
from accelerate import PartialState


# Share of the free memory that an engine takes for them. The rest is for activations and for what else runs.
MEMORY_SHARE = 0.5


def memory_to_use(device: torch.device) -> int:
    """Bytes that an engine may take on a device, of which this process has its share."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(MEMORY_SHARE * (torch.cuda.mem_get_info(device)[0] + unused))
    return int(MEMORY_SHARE * psutil.virtual_memory().available / PartialState().num_processes)
