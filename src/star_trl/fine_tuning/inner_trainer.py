# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Base class of the trainers of transformers that run as the inner loop."""

from typing import Any, cast

from accelerate.utils.operations import ConvertOutputsToFp32
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer

from ..generation.memory import trim_heap
from .row_order import seeded
from .shared_beginnings import BEGINNINGS


def num_parameters(model: PreTrainedModel) -> int:
    """
    Returns the number of parameters of a model, those of the input embeddings excepted, however they are sharded.
    DeepSpeed ZeRO-3 leaves a parameter empty in which `num_parameters` of the model counts the elements, and keeps its
    size in `ds_numel`. A parameter that FSDP 2 shards has the size of the whole.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    counted: list[Any] = [each for each in model.parameters() if id(each) not in embeddings]
    missing = sum(each.ds_numel - each.numel() for each in counted if hasattr(each, "ds_numel"))
    return model.num_parameters(exclude_embeddings=True) + missing


def forget_training(model: nn.Module) -> None:
    """
    Takes the marks of an earlier trainer off a model. accelerate wraps the forward pass of a model in autocast once
    and marks the model as prepared. TRL's head of a second trainer takes the place of that forward pass and computes
    without it, so that a model marked in this way would be trained in fp32 in spite of `bf16=True`.

    Args:
        model (`nn.Module`):
            The model. One that FSDP has sharded stays as it is.
    """
    if any(isinstance(module, FSDPModule) for module in model.modules()):
        return
    for module in model.modules():  # the marks may be on a model inside an adapter
        state = vars(module)
        original_forward = state.pop("_original_forward", None)
        if original_forward and isinstance(getattr(module.forward, "__wrapped__", None), ConvertOutputsToFp32):
            module.forward = original_forward
        state.pop("_is_accelerate_prepared", None)


class InnerTrainer(Trainer):
    """
    Base class of the trainers that run as the inner loop, to be combined with one of TRL's. Its rows are prepared
    already, and come in an order that a resumed inner loop repeats. Its optimizer takes memory only while it trains.
    """

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns of its rows that the data collator needs besides those that TRL knows."""
        return BEGINNINGS

    def free_optimizer(self) -> None:
        """Frees the optimizer's states, so that they take no memory during generation, and trims the heap."""
        if self.optimizer is not None:
            self.optimizer = self.lr_scheduler = None
            self.callback_handler.optimizer = self.callback_handler.lr_scheduler = None
            if not self.is_deepspeed_enabled:  # its engine is needed for generation as well
                self.accelerator.free_memory()
        trim_heap()

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As that of `Trainer`, with the parameters that ZeRO-3 partitions."""
        if "input_ids" not in inputs:
            return super().floating_point_ops(inputs)
        return 6 * inputs["input_ids"].numel() * num_parameters(cast(PreTrainedModel, self.model))

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        # Private in TRL's trainers, which would tokenize text and refuse a transform.
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        # Private in `Trainer`: the columns that `remove_unused_columns` keeps.
        super()._set_signature_columns_if_needed()
        columns = cast(list[str], self._signature_columns)
        columns += [name for name in self.own_columns if name not in columns]

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        # Private in `Trainer`, which does not seed its samplers.
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return seeded(super()._get_train_sampler(train_dataset), seed)
