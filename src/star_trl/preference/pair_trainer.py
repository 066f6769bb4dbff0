# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""DPOTrainer as the inner loop: on token ids, with the reference's log-probabilities and the loss of Iterative RPO."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer, SFTConfig

from ..fine_tuning.inner_trainer import InnerTrainer
from ..star_config import STaRConfig


# Name that DPOTrainer gives to its copy of an adapter
REFERENCE_ADAPTER = "ref"
# Fields of both configurations that have another meaning, or none, for DPOTrainer. It truncates nothing, since a pair
# that does not fit into `max_length` is refused.
NOT_SHARED = {"loss_type", "max_length", "model_init_kwargs", "pad_token", "padding_free", "truncation_mode"}
SHARED = {each.name for each in fields(DPOConfig) if each.init} & {
    each.name for each in fields(SFTConfig)
} - NOT_SHARED


def pair_arguments(args: STaRConfig, beta: float) -> DPOConfig:
    """
    Returns the arguments of [`~trl.DPOTrainer`] that a configuration stands for. They are made before a trainer is,
    since making any [`~transformers.TrainingArguments`] resets the state that all accelerators share.

    Args:
        args ([`STaRConfig`]):
            Configuration of the run.
        beta (`float`):
            Strength with which the reference holds the model.
    """
    # The log-probabilities of the reference are in the rows. The run's own trackers are told of the steps.
    own = {"beta": beta, "max_length": None, "precompute_ref_log_probs": True, "report_to": "none"}
    outer = {"eval_strategy": "no", "load_best_model_at_end": False, "push_to_hub": False}
    return DPOConfig(**{**{name: getattr(args, name) for name in SHARED}, **own, **outer})


def of_iteration(dpo_args: DPOConfig, args: STaRConfig) -> DPOConfig:
    """
    Returns arguments of [`~trl.DPOTrainer`] with the steps, the seeds and the folder of one outer iteration.

    Args:
        dpo_args ([`~trl.DPOConfig`]):
            Arguments from [`pair_arguments`].
        args ([`STaRConfig`]):
            Arguments of the inner loop, from [`~star_trl.run.inner_run.inner_arguments`].
    """
    arguments = copy.copy(dpo_args)
    for name in SHARED - {"report_to"}:
        setattr(arguments, name, getattr(args, name))
    return arguments


class PairTrainer(InnerTrainer, DPOTrainer):
    """
    [`~trl.DPOTrainer`] on the rows of [`~star_trl.preference.pairs.pair_rows`]. Its loss is that of Iterative RPO
    ([Pang et al., 2024](https://huggingface.co/papers/2404.19733), equation 1), the mean over pairs of

        -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)) - rpo_alpha * log M(chosen | x) / |chosen|

    where a log-ratio is that of the model to the reference. The second term is divided by the number of tokens of each
    completion. The loss `"sft"` of DPOTrainer is a mean over all tokens of the chosen completions in a batch, in which
    long completions count more, and which depends on how a step is split into batches.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model that the outer loop samples from.
        args ([`~trl.DPOConfig`]):
            Arguments from [`pair_arguments`] or [`of_iteration`].
        rpo_alpha (`float`):
            Weight of the negative log-likelihood.
        kwargs (`dict[str, Any]`):
            Further arguments of [`~trl.DPOTrainer`].
    """

    args: DPOConfig
    model: PreTrainedModel

    def __init__(self, model: PreTrainedModel, args: DPOConfig, rpo_alpha: float, **kwargs: Any):
        super().__init__(model=model, args=args, **kwargs)
        trained: Any = self.model
        if is_peft_model(trained) and REFERENCE_ADAPTER in trained.peft_config:
            # A copy of the adapter as it is now would be the reference only in this iteration.
            trained.delete_adapter(REFERENCE_ADAPTER)
        self.rpo_alpha = rpo_alpha
        self.data_collator = PairCollator(cast(Callable, self.data_collator))

    @property
    def own_columns(self) -> tuple[str, ...]:
        return *super().own_columns, "chosen_mask", "rejected_mask", self.args.length_column_name

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        recorder = _Recorder(model)
        loss = super().compute_loss(recorder, inputs, return_outputs, num_items_in_batch)
        if not self.rpo_alpha:
            return loss
        mask = inputs["completion_mask"][:, 1:]
        chosen, _ = recorder.log_probs[:, -mask.shape[1] :].chunk(2)  # the batch holds the chosen completions first
        nll = -(chosen.sum(dim=1) / mask.chunk(2)[0].sum(dim=1).clamp(min=1)).mean()
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["nll"].append(self.accelerator.gather_for_metrics(nll.detach()).mean().item())
        if return_outputs:
            return loss[0] + self.rpo_alpha * nll, loss[1]
        return loss + self.rpo_alpha * nll

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the outer run writes the card."""

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any) -> Dataset:
        # Private in DPOTrainer, whose reference of an adapter is the model without it, or a copy made once.
        return dataset


@dataclass
class PairCollator:
    """
    Collates pairs, and leaves tokens that the model did not write, such as a tool's result, out of the loss.

    Args:
        collate (`Callable[[list[dict[str, Any]]], dict[str, Any]]`):
            [`~trl.DPOTrainer`]'s own data collator.
    """

    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collate(examples)
        masks = [example[name] for name in ("chosen_mask", "rejected_mask") for example in examples]
        starts = [len(example["prompt_ids"]) for example in examples] * 2
        for row, start, mask in zip(batch["completion_mask"], starts, masks, strict=True):
            row[start : start + len(mask)] = torch.tensor(mask)
        return batch


class _Recorder:
    """A model that remembers the log-probabilities of its last call, which the loss of DPOTrainer sums up."""

    def __init__(self, model: Callable):
        self.model = model
        self.log_probs = torch.zeros(0)

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        if outputs.log_probs is not None:
            self.log_probs = outputs.log_probs
        return outputs
