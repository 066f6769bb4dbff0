# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The weights that every outer iteration starts from."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


class OriginalWeights:
    """
    A copy of what training can change in a model, in host memory: the trainable parameters (with an adapter, only
    the adapter's) and the buffers. Parameters that are sharded over processes are kept whole.

    Args:
        model (`nn.Module`):
            The model, not yet trained.
    """

    def __init__(self, model: nn.Module):
        self._tensors = {}
        for name, tensor in _changing(model):
            with _gathered(tensor):
                whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
                self._tensors[name] = whole.detach().to("cpu", copy=True)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Copies them back in place, bit for bit, so that optimizers and wrappers keep their references."""
        for name, tensor in _changing(model):
            original = self._tensors[name]
            with _gathered(tensor):
                if isinstance(tensor, DTensor):
                    # Each process cuts its part out of its own copy.
                    original = distribute_tensor(
                        original.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None
                    )
                tensor.copy_(original)

    def digest(self) -> str:
        """A hash of names, types and values, by which a resumed run recognises the model it started from."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self._tensors.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def _changing(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    yield from model.named_buffers()


def _gathered(tensor: torch.Tensor) -> AbstractContextManager:
    """The whole of a parameter of DeepSpeed ZeRO-3; what the first process writes into it is shared out afterwards."""
    if not hasattr(tensor, "ds_id"):
        return nullcontext()
    import deepspeed  # not where nothing is partitioned by it: importing it has side effects

    return deepspeed.zero.GatheredParameters([tensor], modifier_rank=0)
