# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The weights that every outer iteration starts from."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from torch import nn
from torch.distributed.tensor import DTensor


class OriginalWeights:
    """
    A copy of what training can change in a model, in host memory: the trainable parameters (with an adapter, only the
    adapter's) and the buffers. Each process keeps its own part of parameters that FSDP 2 shards. Parameters that
    DeepSpeed ZeRO-3 shards are kept whole, by the first process alone.

    Args:
        model (`nn.Module`):
            The model before training, already sharded.

    Attributes:
        num_bytes (`int`):
            Host memory that the copy takes in this process.
        digest (`str`):
            [`weights_digest`] of the model.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module):
        self._tensors = {}
        for name, tensor in _changing(model):
            with _gathered(tensor):
                if _keeps(tensor):
                    self._tensors[name] = _own_part(tensor).to("cpu", copy=True)
        self.num_bytes = sum(tensor.nbytes for tensor in self._tensors.values())
        self.digest = weights_digest(model)

    @contextmanager
    def put_in(self, model: nn.Module) -> Iterator[None]:
        """Puts the weights into the model while the context is open, and then restores the previous ones."""
        current = OriginalWeights(model)
        self.restore(model)
        try:
            yield
        finally:
            current.restore(model)

    def on_device(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Returns copies of the weights on a device, by their names. The weights must not be sharded."""
        return {name: tensor.to(device) for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Copies the weights back in place, bit for bit, so that optimizers and wrappers keep their references."""
        for name, tensor in _changing(model):
            with _gathered(tensor):
                if _keeps(tensor):
                    _own_part(tensor).copy_(self._tensors[name])


def weights_digest(model: nn.Module) -> str:
    """
    Returns a hash of the names, types and values of what training can change. A resumed run recognizes by it the model
    that it started from. It does not depend on how the parameters are sharded.

    Args:
        model (`nn.Module`):
            The model.
    """
    return _digest(_changing(model), hashlib.blake2b(digest_size=16))


def frozen_weights_digest(model: nn.Module) -> str:
    """
    Returns a hash, like [`weights_digest`], of what training cannot change: the weights under an adapter, including
    the scales of quantized weights.

    Args:
        model (`nn.Module`):
            The model.
    """
    changing = {id(tensor) for _, tensor in _changing(model)}
    # Only the state dict has the parts of a quantized weight besides its parameter. Its parameters are the model's
    # own, so sharded ones can be gathered.
    state = model.state_dict(keep_vars=True)
    frozen = ((name, tensor) for name, tensor in state.items() if isinstance(tensor, torch.Tensor))
    # The hash is as fast as memory, since the base model may be a hundred times as large as what is trained.
    return _digest(((name, tensor) for name, tensor in frozen if id(tensor) not in changing), xxhash.xxh3_128())


def keep_stored_layout(model: nn.Module) -> None:
    """
    Keeps the 4-bit weights of bitsandbytes in the layout that they are saved in. On a processor with `avx512_bf16`, it
    lays them out anew at the first forward without gradients. Its way back, which every state dict takes, loses the
    order and the precision of the scales (as of 0.50).

    Raises:
        `ValueError`: If the model has run already, and its weights have another layout.
    """
    for name, module in model.named_modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            if getattr(module.weight.quant_state, "packing_format_for_cpu", False):
                raise ValueError(
                    f"The 4-bit weights of `{name}` were laid out anew for this processor when the model ran, and "
                    "bitsandbytes loses precision when they are saved. Load the model again for the trainer."
                )
            module.support_avx512bf16_for_cpu = False


@torch.no_grad()
def _digest(tensors: Iterable[tuple[str, torch.Tensor]], digest: Any) -> str:
    for name, tensor in tensors:
        with _gathered(tensor):
            whole = (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()
            digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
            digest.update(whole.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Returns this process's part of a parameter."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _keeps(tensor: torch.Tensor) -> bool:
    """Returns whether this process must keep a copy. Under ZeRO-3 the first process distributes what is written."""
    return not hasattr(tensor, "ds_id") or dist.get_rank() == 0


def _changing(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    yield from model.named_buffers()


def _gathered(tensor: torch.Tensor) -> AbstractContextManager:
    """
    Gathers a parameter of DeepSpeed ZeRO-3 while the context is open. What the first process writes into it is then
    distributed to all.
    """
    if not hasattr(tensor, "ds_id"):
        return nullcontext()
    import deepspeed  # imported only where it partitions the model, since the import has side effects

    return deepspeed.zero.GatheredParameters([tensor], modifier_rank=0)
