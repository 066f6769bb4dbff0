# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The current model, unwrapped for sampling."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, parse_flag_from_env
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer
from trl.models import unwrap_model_for_generation

from ..distributed import get_logger, wait_for_all
from ..star_config import STaRConfig, as_dict
from .engine import Engine


logger = get_logger(__name__)

# TRL calls methods of transformers by their old names, for which transformers warns the user.
warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)


class Policy:
    """
    Gives access to the current model of a trainer for sampling, and generates from it with an engine.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer.
        engine ([`~star_trl.generation.Engine`]):
            The engine.
    """

    def __init__(self, trainer: Trainer, engine: Engine):
        self.trainer = trainer
        self.engine = engine
        self.accelerator: Accelerator = trainer.accelerator

    @contextmanager
    def __call__(self, gradients: bool = False) -> Iterator[PreTrainedModel]:
        """
        Yields the model, unwrapped and in evaluation mode, under the precision that it is trained with. Sharded
        parameters (FSDP 2, DeepSpeed ZeRO-3) are gathered once and held whole. Processes can therefore generate
        different numbers of tokens without waiting for each other. They wait at the end of the context.

        Args:
            gradients (`bool`, *optional*, defaults to `False`):
                Whether gradients will be computed. If not, autocast converts frozen weights once.
        """
        trainer = self.trainer
        place(trainer)
        was_training = cast(PreTrainedModel, trainer.model).training
        with (
            # Gathers the parameters under ZeRO-3. Turns gradient checkpointing off, which has no use for a cache.
            unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gradient_checkpointing_kwargs=as_dict(trainer.args.gradient_checkpointing_kwargs) or None,
            ) as model,
            whole_parameters(model, _reshard_after_forward(trainer)),
            torch.no_grad(),
            trainer.accelerator.autocast(),
            nullcontext() if gradients else conversions_kept(model),
        ):
            model.eval()
            try:
                yield model
                wait_for_all()
            finally:
                model.train(was_training)


def eos_token_ids(config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Returns the tokens that end a completion: those of the model's generation configuration, and the tokenizer's."""
    eos = config.eos_token_id
    return frozenset([*([] if eos is None else [eos] if isinstance(eos, int) else eos), tokenizer.eos_token_id])


@contextmanager
def conversions_kept(model: nn.Module) -> Iterator[None]:
    """
    Lets autocast convert each weight once. It keeps what it has converted of weights that need gradients. Frozen ones,
    which are most of a model with an adapter, it would convert in every forward pass.

    Args:
        model (`nn.Module`):
            The model, of which no gradients are computed meanwhile.
    """
    frozen = [each for each in model.parameters() if each.dtype == torch.float32 and not each.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def whole_parameters(model: nn.Module, reshard_after_forward: bool = True) -> Iterator[None]:
    """
    Holds the parameters that FSDP 2 shards whole. One all-gather replaces those of every forward pass.

    Args:
        model (`nn.Module`):
            The model. Nothing happens if it is not sharded.
        reshard_after_forward (`bool`, *optional*, defaults to `True`):
            Setting to restore afterwards, with which the model was sharded.
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
    Shards or moves the model as training does. Under FSDP and DeepSpeed, a trainer leaves the model where it was
    loaded until the first training step. `Trainer.evaluation_loop` prepares it in the same way.

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


def check_sharding(accelerator: Accelerator, args: STaRConfig) -> None:
    """
    Raises `ValueError` under FSDP 1, which cannot hold the parameters whole while a model generates, and where
    gradients of sharded parameters are needed. Warns where FSDP is asked for and `accelerate` does not use it.
    """
    if (args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP")) and (
        accelerator.distributed_type != DistributedType.FSDP
    ):
        logger.warning(
            "FSDP is asked for, but nothing is sharded: `accelerate` uses it only for several processes on GPUs or "
            f"other accelerators, and here it runs {accelerator.distributed_type.value} on "
            f"{accelerator.device.type}. Every process holds the whole model, its gradients and its optimizer. Start "
            "the run on accelerators, or leave FSDP out."
        )
    fsdp = getattr(accelerator.state, "fsdp_plugin", None)
    if fsdp is not None and fsdp.fsdp_version == 1:
        raise ValueError(
            "FSDP 1 gathers parameters in every forward pass, for which processes that generate different numbers of "
            "tokens would wait forever. Set `fsdp_version: 2` in the accelerate config."
        )
    deepspeed = getattr(accelerator.state, "deepspeed_plugin", None)
    sharded = fsdp is not None or (deepspeed is not None and deepspeed.zero_stage == 3)
    if args.distillation is not None and args.teacher_model == "original" and sharded:
        raise ValueError(
            "`teacher_model='original'` with `distillation` holds the teacher's weights whole in every process, but "
            "those of the model are sharded. Set `teacher_model='current'`, or train with DDP or ZeRO 1 or 2."
        )
    if args.gradient_view_samples and sharded:
        raise ValueError(
            f"`gradient_view_samples={args.gradient_view_samples}` takes gradients of the whole model in every "
            "process, but its parameters are sharded. Set it to 0, or train with DDP or ZeRO 1 or 2."
        )
