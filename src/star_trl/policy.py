# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The current model as it is sampled from, whatever it is wrapped in."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, Trainer
from trl.models import unwrap_model_for_generation

from .star_config import as_dict
from .waiting import wait_for_all


# TRL calls transformers' methods by their old names, for which transformers warns the user.
warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)


@contextmanager
def policy(trainer: Trainer) -> Iterator[PreTrainedModel]:
    """
    The model of a trainer, while the context is open: unwrapped, in evaluation mode, under the precision that it is
    trained with. Parameters that are sharded (FSDP 2, DeepSpeed ZeRO-3) are gathered once and held whole, so that no
    process waits for another one while they generate different numbers of tokens. At its end they do.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer.
    """
    place(trainer)
    was_training = cast(PreTrainedModel, trainer.model).training
    with (
        # Gathers under ZeRO-3; turns gradient checkpointing, which has no use for a cache, off.
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gradient_checkpointing_kwargs=as_dict(trainer.args.gradient_checkpointing_kwargs) or None,
        ) as model,
        whole_parameters(model, _reshard_after_forward(trainer)),
        torch.no_grad(),
        trainer.accelerator.autocast(),
    ):
        model.eval()
        try:
            yield model
            wait_for_all()
        finally:
            model.train(was_training)


@contextmanager
def whole_parameters(model: nn.Module, reshard_after_forward: bool = True) -> Iterator[None]:
    """
    Holds the parameters that FSDP 2 shards whole: one all-gather now in place of one in every forward pass.

    Args:
        model (`nn.Module`):
            The model. Where nothing in it is sharded, nothing happens.
        reshard_after_forward (`bool`, *optional*, defaults to `True`):
            What to set afterwards: how it was sharded.
    """
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.set_reshard_after_forward(reshard_after_forward, recurse=False)
            module.reshard()


def place(trainer: Trainer) -> None:
    """
    Shards or moves the model as training will. Before the first training step a trainer leaves it where it was loaded
    under FSDP and DeepSpeed. An evaluation in `Trainer.evaluation_loop` prepares it in the same way.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer.
    """
    model = cast(PreTrainedModel, trainer.model)
    if trainer.model_wrapped is not model:
        return
    if trainer.is_fsdp_enabled and not isinstance(model, FSDPModule):
        trainer.model = trainer.model_wrapped = trainer.accelerator.prepare(model)
    elif trainer.is_deepspeed_enabled and not any(hasattr(tensor, "ds_id") for tensor in model.parameters()):
        model.to(trainer.accelerator.device)


def _reshard_after_forward(trainer: Trainer) -> bool:
    return bool(trainer.accelerator.state.fsdp_plugin.reshard_after_forward) if trainer.is_fsdp_enabled else True
