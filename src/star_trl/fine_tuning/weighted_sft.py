# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""SFTTrainer with a weight for every token: a dataset column that is collated and multiplied into the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer, pack_dataset
from trl.trainer.utils import FusedCausalLMOutput

from ..star_config import STaRConfig
from .row_order import seeded


COLUMN = "loss_weights"


class WeightedSFTTrainer(SFTTrainer):
    """
    [`~trl.SFTTrainer`] whose datasets may have a column `loss_weights`: a factor for the log-probability of every
    token. With `loss_normalization="problems"`, the weighted terms of a whole epoch add up to the gradient, and the
    loss is not divided by anything else.

    Attributes:
        epoch_steps (`float`):
            Number of steps in one epoch of the prepared dataset.
    """

    args: STaRConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.data_collator = WeightedCollator(self.data_collator)
        self.epoch_steps = 1.0

    def prepare_sequences(self, sequences: Dataset, args: STaRConfig) -> Dataset:
        """
        Prepares training sequences like [`~trl.SFTTrainer`]. It truncates nothing, and packs if `packing` is set.

        Args:
            sequences ([`~datasets.Dataset`]):
                `input_ids`, `labels` and, where the loss is weighted, `loss_weights`.
            args ([`STaRConfig`]):
                Configuration, with the seed for `shuffle_dataset`.
        """
        weighted = COLUMN in sequences.column_names
        # `_prepare_dataset` is private. Its packing drops columns that it does not know, so weighted rows are packed
        # below.
        packing = args.packing and not weighted
        # Called on SFTTrainer, since STaRTrainer overrides it to prepare nothing in `__init__`.
        tokenizer = cast(PreTrainedTokenizerBase, self.processing_class)
        prepared = SFTTrainer._prepare_dataset(self, sequences, tokenizer, args, packing, None, "train")
        if weighted and args.packing:
            prepared = pack_dataset(prepared, cast(int, args.max_length), args.packing_strategy)
        rows_per_step = args.train_batch_size * args.gradient_accumulation_steps
        self.epoch_steps = max(len(prepared) / (rows_per_step * self.accelerator.num_processes), 1.0)
        return prepared

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        weights = inputs.pop(COLUMN, None)
        if weights is not None:
            if self.args.loss_normalization == "problems":
                # A step sees 1/epoch_steps of the rows, so its loss is scaled up.
                weights, num_items_in_batch = weights * self.epoch_steps, torch.ones((), device=weights.device)
            model = _WeightedModel(model, weights)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _get_train_sampler(self, train_dataset=None):
        # Private in `Trainer`, which does not seed its samplers.
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return seeded(super()._get_train_sampler(train_dataset), seed)

    def _set_signature_columns_if_needed(self) -> None:
        # Private in `Trainer`: the columns that `remove_unused_columns` keeps.
        super()._set_signature_columns_if_needed()
        columns = cast(list[str], self._signature_columns)
        if COLUMN not in columns:
            columns.append(COLUMN)


@dataclass
class WeightedCollator:
    """
    Collates the weights of the tokens, and leaves the other columns to another collator.

    Args:
        collate (`Callable[[list[dict[str, Any]]], dict[str, Any]]`):
            [`~trl.SFTTrainer`]'s own data collator.
    """

    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        weights = [torch.tensor(example[COLUMN]) for example in examples if COLUMN in example]
        batch = self.collate([{name: example[name] for name in example if name != COLUMN} for example in examples])
        if weights:
            labels = batch["labels"]
            if len(labels) < len(weights):  # padding-free: all examples are in one row
                weights = [torch.cat(weights)]
            batch[COLUMN] = torch.zeros(labels.shape)
            for row, values in zip(batch[COLUMN], weights, strict=True):
                row[: len(values)] = values
        return batch


class _WeightedModel:
    """A model that multiplies its log-probabilities by the weights of the tokens before the loss sums them up."""

    def __init__(self, model: Callable, weights: torch.Tensor):
        self.model = model
        self.weights = weights

    def __call__(self, **inputs: Any) -> FusedCausalLMOutput:
        outputs = self.model(**inputs)
        outputs.log_probs = outputs.log_probs * self.weights[:, 1:]  # the first token is not predicted
        return outputs
