# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The forward pass with a shared prefix."""

import inspect

import torch
from transformers import PreTrainedModel

from ..model_state import evaluation_mode
from .attention import attend_to, attention_configs
from .cache import SharedPrefixCache


def cache_name(model: PreTrainedModel) -> str:
    """
    Returns what a model calls its cache, which was renamed in transformers 5.24. Models whose code comes with their
    weights keep the name of their time.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


class PrefixForward:
    """
    Runs a model on the rows and positions that are set in a [`SharedPrefixCache`]. The model is changed only during
    the call.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._configs = attention_configs(model)
        self._cache_name = cache_name(model)
        # The scores of all positions but the last are never read
        self._arguments = {"logits_to_keep": 1} if model._supports_logits_to_keep() else {}  # type: ignore[operator]

    def __call__(self, cache: SharedPrefixCache, input_ids: torch.Tensor) -> torch.Tensor:
        """
        Args:
            cache ([`SharedPrefixCache`]):
                Cache after `begin_prefill` or `begin_decode`.
            input_ids (`torch.Tensor` of shape `(rows, query_length)`):
                Tokens to feed.

        Returns:
            `torch.Tensor` of shape `(rows, vocabulary)`: logits after the last token of each row.
        """
        position_ids = (cache.prefix_length + cache.query_positions).expand_as(input_ids)
        with evaluation_mode(self.model), attend_to(cache, self._configs):
            output = self.model(
                input_ids=input_ids,
                position_ids=position_ids,
                use_cache=True,
                **{self._cache_name: cache},
                **self._arguments,
            )
        return output.logits[:, -1]
