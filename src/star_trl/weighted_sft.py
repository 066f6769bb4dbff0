# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""SFTTrainer with a weight for every token: a column of the dataset, a row of the batch, a factor in the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer, pack_dataset
from trl.trainer.utils import FusedCausalLMOutput

from .star_config import STaRConfig


COLUMN = "loss_weights"


class WeightedSFTTrainer(SFTTrainer):
    """
    [`~trl.SFTTrainer`] whose datasets may have a column `loss_weights`: a factor for the log-probability of every
    token. With `loss_normalization="problems"` the weights are taken to add up to the gradient of a whole epoch, and
    the loss is divided by nothing.

    Attributes:
        epoch_steps (`float`):
            Number of steps in which every row of the prepared dataset comes once.
    """

    args: STaRConfig

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.data_collator = WeightedCollator(self.data_collator)
        self.epoch_steps = 1.0

    def prepare_sequences(self, sequences: Dataset, args: STaRConfig) -> Dataset:
        """
        [`~trl.SFTTrainer`]'s own preparation, which truncates nothing here, and packs where `packing` is set.

        Args:
            sequences ([`~datasets.Dataset`]):
                `input_ids`, `labels` and, where the loss is weighted, `loss_weights`.
            args ([`STaRConfig`]):
                Configuration, with the seed for `shuffle_dataset`.
        """
        weighted = COLUMN in sequences.column_names
        # Private, and its packing drops columns that it does not know.
        packing = args.packing and not weighted
        # Not this class's: see STaRTrainer, which has nothing to prepare when it is made.
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
                # Of a step's rows the gradient is this much smaller than that of all.
                weights, num_items_in_batch = weights * self.epoch_steps, torch.ones((), device=weights.device)
            model = _WeightedModel(model, weights)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _set_signature_columns_if_needed(self) -> None:
        # Private in `Trainer`: the columns that `remove_unused_columns` leaves.
        super()._set_signature_columns_if_needed()
        columns = cast(list[str], self._signature_columns)
        if COLUMN not in columns:
            columns.append(COLUMN)


@dataclass
class WeightedCollator:
    """
    Collates the weights of the tokens beside what another collator makes of the rest.

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
            if len(labels) < len(weights):  # padding-free: the examples stand in one row
                weights = [torch.cat(weights)]
            batch[COLUMN] = torch.zeros(labels.shape)
            for row, values in zip(batch[COLUMN], weights, strict=True):
                row[: len(values)] = values
        return batch


class _WeightedModel:
    """A model whose log-probabilities, which the loss sums up, come multiplied by the weights of the tokens."""

    def __init__(self, model: Callable, weights: torch.Tensor):
        self.model = model
        self.weights = weights

    def __call__(self, **inputs: Any) -> FusedCausalLMOutput:
        outputs = self.model(**inputs)
        outputs.log_probs = outputs.log_probs * self.weights[:, 1:]  # a token is predicted by the one before
        return outputs
