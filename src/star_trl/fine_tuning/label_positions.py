# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The projection to the vocabulary of the tokens that a loss needs."""

from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from ..generation.model_state import base_model


PER_TOKEN = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


class LabelPositions:
    """
    A model with TRL's fused head that projects only the positions whose next token has a label. TRL does so where
    Triton runs. Elsewhere it projects all positions, of which the few-shot examples and the problem are the most.

    Args:
        model (`Callable`):
            The model, which may be wrapped for distributed training.
        module ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The same model, not wrapped.
    """

    def __init__(self, model: Any, module: PreTrainedModel):
        self.model = model
        self.backbone = base_model(module).base_model

    def __call__(
        self, *, labels: torch.Tensor | None = None, shift_labels: torch.Tensor | None = None, **inputs: Any
    ) -> Any:
        if labels is None:  # a call for the logits
            return self.model(**inputs)
        following = labels[:, 1:] if shift_labels is None else shift_labels
        mask = following != -100

        def select(module: torch.nn.Module, args: Any, outputs: Any) -> Any:
            outputs.last_hidden_state = outputs.last_hidden_state[:, : mask.shape[1]][mask][None]
            return outputs

        hook = self.backbone.register_forward_hook(select)
        try:
            outputs: FusedCausalLMOutput = self.model(**inputs, labels=labels, shift_labels=following[mask][None])
        finally:
            hook.remove()
        for name in PER_TOKEN:
            values = getattr(outputs, name)
            if values is not None:
                setattr(outputs, name, values.new_zeros(mask.shape).masked_scatter(mask, values))
        outputs.label_mask = mask
        return outputs
