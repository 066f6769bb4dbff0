# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
SFTTrainer with a weight for every token, or a teacher's distribution. It computes the tokens that sequences begin with
once.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from datasets import Dataset
from torch.func import functional_call
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import BatchRebalanceSampler
from trl import SFTTrainer, pack_dataset
from trl.trainer.utils import FusedCausalLMOutput

from ..generation.model_state import has_prompt_learning
from ..star_config import STaRConfig
from .collators import (
    HINTED,
    LOSS_WEIGHTS,
    TEACHER_IDS,
    TEACHER_LABELS,
    TOKEN_COLUMNS,
    TOKEN_REFERENCES,
    TREE_ENDS,
    TeacherCollator,
    TreeCollator,
    WeightedCollator,
)
from .inner_trainer import InnerTrainer
from .label_positions import LabelPositions
from .prefix_tree import TreeModel
from .row_order import StepSortedSampler
from .token_terms import divergence, token_terms
from .tree_attention import attention_in_parts


class WeightedSFTTrainer(InnerTrainer, SFTTrainer):
    """
    [`~trl.SFTTrainer`] whose datasets may have a column `loss_weights`: a factor for the log-probability of every
    token, or for what [`~star_trl.fine_tuning.token_terms.token_terms`] makes of it with a column `token_references`.
    With `loss_normalization="problems"`, the weighted terms of a whole epoch add up to the gradient, and the loss is
    not divided by anything else. With `distillation`, the divergence from a teacher takes the place of the
    log-probability. With `shared_prefix_train`, sequences of a batch that begin with the same tokens are computed as a
    [`~star_trl.fine_tuning.prefix_tree.PrefixTree`].

    Attributes:
        epoch_steps (`float`):
            Number of steps in one epoch of the prepared dataset.
        teacher_weights (`dict[str, torch.Tensor]`, *optional*):
            Parameters and buffers of the teacher where they differ from those of the model that is trained.
    """

    args: STaRConfig
    model: PreTrainedModel
    data_collator: TreeCollator

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        collator: Any = self.data_collator
        self.data_collator = TreeCollator(
            TeacherCollator(WeightedCollator(collator)),
            pad_token_id=collator.pad_token_id,
            hidden_size=self.model.config.get_text_config().hidden_size,
            pad_to_multiple_of=collator.pad_to_multiple_of,
        )
        self.epoch_steps = 1.0
        self.teacher_weights: Mapping[str, torch.Tensor] | None = None

    @property
    def own_columns(self) -> tuple[str, ...]:
        return *super().own_columns, *TOKEN_COLUMNS, TEACHER_IDS, TEACHER_LABELS

    def prepare_sequences(self, sequences: Dataset, args: STaRConfig, takes_trees: bool) -> Dataset:
        """
        Prepares training sequences like [`~trl.SFTTrainer`]. It truncates nothing, and packs if `packing` is set.

        Args:
            sequences ([`~datasets.Dataset`]):
                `input_ids`, `labels` and, where the loss is weighted, `loss_weights` and `token_references`. With
                `distillation` also `hinted_input_ids` and `hinted_labels`.
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
        # Called on SFTTrainer, since `InnerTrainer` prepares nothing.
        tokenizer = cast(PreTrainedTokenizerBase, self.processing_class)
        # It refuses a transform, and leaves rows without their beginnings as they are, since none is too long.
        rows = sequences.with_format(None)
        prepared = SFTTrainer._prepare_dataset(self, rows, tokenizer, args, packing, None, "train")
        if weighted and args.packing:
            prepared = pack_dataset(prepared, cast(int, args.max_length), args.packing_strategy)
        rows_per_step = args.train_batch_size * args.gradient_accumulation_steps
        self.epoch_steps = max(len(prepared) / (rows_per_step * self.accelerator.num_processes), 1.0)
        return prepared.with_format(sequences.format["type"], **sequences.format["format_kwargs"])

    def _allows_trees(self) -> bool:
        """
        Whether the loss is a sum over the labels, and the noise in the embeddings does not depend on the length of a
        row. Label smoothing, distillation and a user's loss function read the logits of whole sequences. The load of a
        router's experts is an average over all tokens.
        """
        parallel = self.accelerator.parallelism_config is not None  # splits sequences, and makes the masks itself
        reads_logits = (
            self.compute_loss_func is not None or self.label_smoother is not None or self.args.distillation is not None
        )
        return not (parallel or reads_logits or self.aux_loss_enabled or self.args.neftune_noise_alpha)

    def _selects_positions(self) -> bool:
        """
        Whether positions without a label have to be taken away from the head. TRL's head leaves them out where Triton
        runs.
        """
        changes_labels = has_prompt_learning(self.model) or self.accelerator.parallelism_config is not None
        return self.args.device.type == "cpu" and not (changes_labels or self.args.torch_compile)

    def training_step(self, model, inputs, num_items_in_batch=None):
        with attention_in_parts(inputs.get(TREE_ENDS)):  # also for what gradient checkpointing computes again
            return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self._selects_positions():
            model = LabelPositions(model, self.model)
        ends = inputs.pop(TREE_ENDS, None)
        if ends is not None:
            model = TreeModel(model, self.model.config, self.model.dtype, ends)
        hinted = {name: inputs.pop(name) for name in [*inputs] if name.startswith(HINTED)}
        if hinted:
            teacher = model if self.teacher_weights is None else _ModelWith(self.model, self.teacher_weights)
            model = _DistilledModel(model, teacher, self.model, hinted, self.args)
        weights, references = inputs.pop(LOSS_WEIGHTS, None), inputs.pop(TOKEN_REFERENCES, None)
        if weights is not None:
            if self.args.loss_normalization == "problems":
                # A step sees 1/epoch_steps of the rows, so its loss is scaled up.
                weights, num_items_in_batch = weights * self.epoch_steps, torch.ones((), device=weights.device)
            model = _WeightedModel(model, weights, references, self.args)
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if references is not None:
            self._record(cast(_WeightedModel, model))
        return loss

    def _record(self, model: "_WeightedModel") -> None:
        """Records what a batch's tokens weigh in the gradient, beside the entropy and others of `SFTTrainer`."""
        factors, clipped = model.factors, model.clipped
        sums = [torch.ones_like(factors), factors, factors.abs(), factors.square(), clipped.float()]
        # Not `gather_for_metrics`, which would drop tokens of the last batch of an epoch.
        reduced = self.accelerator.reduce(torch.stack([each.sum() for each in sums]))
        count, total, absolute, squares, limited = cast(torch.Tensor, reduced).tolist()
        if not squares:
            return
        for name, value in {
            "mean": total / count,
            "clipped_ratio": limited / count,
            # Kish's effective sample size of the absolute weights, as a share of the tokens
            "effective_sample_size": absolute**2 / squares / count,
        }.items():
            self._metrics["train"][f"token_weights/{name}"].append(value)

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


class _WeightedModel:
    """
    A model that multiplies its log-probabilities, or their terms, by the weights of the tokens before the loss sums
    them up.

    Attributes:
        factors (`torch.Tensor`):
            Weights in the gradient of the tokens that have a reference, without those of their samples.
        clipped (`torch.Tensor`):
            Whether a limit changed each of them.
    """

    def __init__(self, model: Callable, weights: torch.Tensor, references: torch.Tensor | None, args: STaRConfig):
        self.model = model
        self.weights = weights
        self.references = references
        self.args = args

    def __call__(self, **inputs: Any) -> FusedCausalLMOutput:
        outputs = self.model(**inputs)
        # Unless the labels are shifted, there is no log-probability of the first token, which is not predicted.
        width = outputs.log_probs.shape[1]
        weights, terms = self.weights[:, -width:], outputs.log_probs
        if self.references is not None:
            references = self.references[:, -width:]
            found = token_terms(outputs.log_probs, references, weights, self.args)
            compared = outputs.label_mask & ~references.isnan()
            self.factors, self.clipped = found.factors[compared], found.clipped[compared]
            terms = found.terms
        outputs.log_probs = terms * weights
        return outputs


class _ModelWith:
    """A model that computes with other parameters and buffers than its own, which stay as they are."""

    def __init__(self, model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]):
        self.model = model
        self.tensors = tensors

    def __call__(self, **inputs: Any) -> Any:
        return functional_call(self.model, dict(self.tensors), kwargs=inputs)


class _DistilledModel:
    """
    A model whose log-probabilities are replaced by the negative divergence of its next-token distributions from those
    of a teacher, at the same tokens behind another prompt. No gradient reaches the teacher, which has no dropout.
    """

    def __init__(
        self,
        model: Callable,
        teacher: Callable,
        module: PreTrainedModel,
        hinted: dict[str, torch.Tensor],
        args: STaRConfig,
    ):
        self.model = model
        self.teacher = teacher
        self.module = module
        self.hinted = {name.removeprefix(HINTED): value for name, value in hinted.items()}
        self.args = args

    def __call__(self, fused_lm_head: bool, labels: torch.Tensor, **inputs: Any) -> FusedCausalLMOutput:
        was_training = self.module.training
        self.module.eval()
        with torch.no_grad():
            teacher_logits, _ = _label_logits(self.teacher, **self.hinted, use_cache=False)
        self.module.train(was_training)
        logits, outputs = _label_logits(self.model, labels=labels, **inputs)
        divergences = divergence(logits, teacher_logits, cast(str, self.args.distillation))
        if self.args.teacher_clip is not None:
            divergences = divergences.clamp(max=self.args.teacher_clip)
        mask = labels[:, 1:] != -100

        def at_labels(values: torch.Tensor) -> torch.Tensor:
            return values.new_zeros(mask.shape).masked_scatter(mask, values)

        with torch.no_grad():
            entropy = torch.distributions.Categorical(logits=logits).entropy()
            is_top1 = logits.argmax(-1) == labels[:, 1:][mask]
        return FusedCausalLMOutput(
            log_probs=at_labels(-divergences),
            entropy=at_labels(entropy),
            is_top1=at_labels(is_top1),
            label_mask=mask,
            aux_loss=outputs.get("aux_loss"),
        )


def _label_logits(model: Callable, labels: torch.Tensor, **inputs: Any) -> tuple[torch.Tensor, Any]:
    """
    Computes the logits of the tokens that have a label, row by row: (tokens, vocabulary), and the model's outputs.
    Other positions are not projected to the vocabulary, unless a sequence of the batch has a label there.
    """
    mask = labels[:, 1:] != -100
    positions = mask.any(0).nonzero().squeeze(1)
    outputs = model(**inputs, logits_to_keep=positions)
    return outputs.logits[mask[:, positions]].float(), outputs
