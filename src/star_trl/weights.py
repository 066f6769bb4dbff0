# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The weights that every outer iteration starts from."""

import hashlib
from collections.abc import Iterator

import torch
from torch import nn


class OriginalWeights:
    """
    A copy of what training can change in a model, in host memory: the trainable parameters (with an adapter, only
    the adapter's) and the buffers.

    Args:
        model (`nn.Module`):
            The model, not yet trained.
    """

    def __init__(self, model: nn.Module):
        self._tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in _changing(model)}

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Copies them back in place, bit for bit, so that optimizers and wrappers keep their references."""
        for name, tensor in _changing(model):
            tensor.copy_(self._tensors[name])

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
