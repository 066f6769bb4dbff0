# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""SFTTrainer with a weight for every token, which computes the tokens that sequences begin with once."""

from collections.abc import Callable
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import BatchRebalanceSampler
from trl import SFTTrainer, pack_dataset
from trl.trainer.utils import FusedCausalLMOutput

from ..star_config import STaRConfig
from .collators import LOSS_WEIGHTS, TREE_ENDS, TreeCollator, WeightedCollator
from .inner_trainer import InnerTrainer
from .prefix_tree import TreeModel
from .row_order import StepSortedSampler


class WeightedSFTTrainer(InnerTrainer, SFTTrainer):
    """
    [`~trl.SFTTrainer`] whose datasets may have a column `loss_weights`: a factor for the log-probability of every
    token. With `loss_normalization="problems"`, the weighted terms of a whole epoch add up to the gradient, and the
    loss is not divided by anything else. With `shared_prefix_train`, sequences of a batch that begin with the same
    tokens are computed as a [`~star_trl.fine_tuning.prefix_tree.PrefixTree`].

    Attributes:
        epoch_steps (`float`):
            Number of steps in one epoch of the prepared dataset.
    """

    args: STaRConfig
    model: PreTrainedModel
    data_collator: TreeCollator

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        collator: Any = self.data_collator
        self.data_collator = TreeCollator(
            WeightedCollator(collator),
            pad_token_id=collator.pad_token_id,
            hidden_size=self.model.config.get_text_config().hidden_size,
            pad_to_multiple_of=collator.pad_to_multiple_of,
        )
        self.epoch_steps = 1.0

    def prepare_sequences(self, sequences: Dataset, args: STaRConfig, takes_trees: bool) -> Dataset:
        """
        Prepares training sequences like [`~trl.SFTTrainer`]. It truncates nothing, and packs if `packing` is set.

        Args:
            sequences ([`~datasets.Dataset`]):
                `input_ids`, `labels` and, where the loss is weighted, `loss_weights`.
            args ([`STaRConfig`]):
                Configuration, with the seed for `shuffle_dataset`.
            takes_trees (`bool`):
                Whether the model may be trained on prefix trees.

        Returns:
            [`~datasets.Dataset`]: The prepared sequences.
        """
        self.data_collator.enabled = takes_trees and self._allows_trees()
        weighted = LOSS_WEIGHTS in sequences.column_names
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

    def _allows_trees(self) -> bool:
        """
        Whether the loss is a sum over the labels, and the noise in the embeddings does not depend on the length of a
        row. Label smoothing and a user's loss function read the logits of whole sequences. The load of a router's
        experts is an average over all tokens.
        """
        parallel = self.accelerator.parallelism_config is not None  # splits sequences, and makes the masks itself
        reads_logits = self.compute_loss_func is not None or self.label_smoother is not None
        return not (parallel or reads_logits or self.aux_loss_enabled or self.args.neftune_noise_alpha)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        ends = inputs.pop(TREE_ENDS, None)
        if ends is not None:
            model = TreeModel(model, self.model.config, self.model.dtype, ends)
        weights = inputs.pop(LOSS_WEIGHTS, None)
        if weights is not None:
            if self.args.loss_normalization == "problems":
                # A step sees 1/epoch_steps of the rows, so its loss is scaled up.
                weights, num_items_in_batch = weights * self.epoch_steps, torch.ones((), device=weights.device)
            model = _WeightedModel(model, weights)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _get_train_sampler(self, train_dataset=None):
        sampler = super()._get_train_sampler(train_dataset)
        rows = self._train_batch_size * self.args.gradient_accumulation_steps
        if not self.accelerator.split_batches:
            rows *= self.accelerator.num_processes
        balanced = isinstance(sampler, BatchRebalanceSampler)  # its order fits the batches of the processes
        if sampler is None or balanced or rows == self._train_batch_size or not self._sorts_steps():
            return sampler
        return StepSortedSampler(sampler, cast(Dataset, self.train_dataset), rows)

    def _sorts_steps(self) -> bool:
        """
        Whether the rows of a step may be exchanged between its batches. Its gradient is the same only if the losses of
        all its batches are divided by the same number.
        """
        same_number = self.model_accepts_loss_kwargs and (
            self.args.average_tokens_across_devices or self.accelerator.num_processes == 1
        )
        return self.data_collator.enabled and same_number

    def _set_signature_columns_if_needed(self) -> None:
        # Private in `Trainer`: the columns that `remove_unused_columns` keeps.
        super()._set_signature_columns_if_needed()
        columns = cast(list[str], self._signature_columns)
        if LOSS_WEIGHTS not in columns:
            columns.append(LOSS_WEIGHTS)


class _WeightedModel:
    """A model that multiplies its log-probabilities by the weights of the tokens before the loss sums them up."""

    def __init__(self, model: Callable, weights: torch.Tensor):
        self.model = model
        self.weights = weights

    def __call__(self, **inputs: Any) -> FusedCausalLMOutput:
        outputs = self.model(**inputs)
        # Unless the labels are shifted, there is no log-probability of the first token, which is not predicted.
        outputs.log_probs = outputs.log_probs * self.weights[:, -outputs.log_probs.shape[1] :]
        return outputs
