# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Attention of many rows to one shared prefix and to their own tokens, registered with transformers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from .cache import SharedPrefixCache


ATTENTION_NAME = "star_trl_shared_prefix"

# Cache of the current forward pass. Models pass keys and values to the attention function, but not the cache, and only
# the cache knows the prefix.
_active_cache: ContextVar[SharedPrefixCache | None] = ContextVar("star_trl_active_cache", default=None)

# Arguments of attention functions that do not affect which keys are visible, or only repeat what the cache knows.
_HARMLESS_ARGUMENTS = frozenset(
    {"position_ids", "use_cache", "is_causal", "output_attentions", "output_router_logits"}
)


def shared_prefix_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    Computes one softmax over the prefix and the row's own tokens. The scores of the prefix are one matrix product for
    the whole batch, in which the rows are just more queries.

    Args:
        module (`torch.nn.Module`):
            Attention layer.
        query (`torch.Tensor` of shape `(rows, num_heads, query_length, head_dim)`):
            Queries.
        key, value (`torch.Tensor` of shape `(rows, num_kv_heads, own_length, head_dim)`):
            The rows' own keys and values, as [`SharedPrefixLayer.update`] returned them.
        attention_mask (`torch.Tensor`, *optional*):
            Must be None: transformers makes no mask for an attention function without a mask function.
        scaling (`float`, *optional*, defaults to `head_dim**-0.5`):
            Factor of the scores.
        dropout (`float`, *optional*, defaults to `0.0`):
            Must be 0: rows are generated in evaluation mode.
        sliding_window (`int`, *optional*):
            Number of tokens that a token sees, itself included.
        softcap (`float`, *optional*):
            Bound of the scores (Gemma 2).
        s_aux (`torch.Tensor` of shape `(num_heads,)`, *optional*):
            Attention sinks (gpt-oss): scores without a value.

    Returns:
        `tuple`: `torch.Tensor` of shape `(rows, query_length, num_heads, value_dim)`, and None for the weights.
    """
    unknown = sorted(name for name, given in kwargs.items() if name not in _HARMLESS_ARGUMENTS and given is not None)
    cache = _active_cache.get()
    if cache is None or unknown or attention_mask is not None or dropout:
        raise NotImplementedError(
            f"{type(module).__name__} asks for attention that a shared prefix cannot give: {unknown}, "
            f"mask {attention_mask is not None}, dropout {dropout}, cache {cache is not None}."
        )
    rows, num_heads, query_length, head_dim = query.shape
    kv_heads, own_length = key.shape[1:3]
    groups = num_heads // kv_heads
    scaling = head_dim**-0.5 if scaling is None else scaling

    # Queries that share a key/value head are adjacent: (rows, kv_heads, groups * query_length, head_dim)
    queries = (query * scaling).to(key.dtype).reshape(rows, kv_heads, groups * query_length, head_dim)
    scores = (queries @ key.transpose(-1, -2)).transpose(0, 1)
    first, prefix_hidden, own_hidden = cache.masks(sliding_window)
    prefix_length = cache.prefix_length - first
    if prefix_length:
        prefix_key, prefix_value = cache.prefix[cache.layer_idx]
        prefix_queries = queries.transpose(0, 1).reshape(kv_heads, -1, head_dim)
        prefix_scores = prefix_queries @ prefix_key[:, first:].transpose(-1, -2)
        scores = torch.cat([prefix_scores.view(kv_heads, rows, -1, prefix_length), scores], dim=-1)
    scores = scores.reshape(kv_heads, rows, groups, query_length, prefix_length + own_length)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if prefix_length and prefix_hidden is not None:
        hide(scores[..., :prefix_length], prefix_hidden)
    if own_hidden is not None:
        hide(scores[..., prefix_length:], own_hidden)

    weights = softmax(scores, s_aux)
    weights = weights.view(kv_heads, rows, groups * query_length, prefix_length + own_length)
    output = weights[..., prefix_length:].transpose(0, 1) @ value
    if prefix_length:
        prefix_weights = weights[..., :prefix_length].reshape(kv_heads, -1, prefix_length)
        prefix_output = prefix_weights @ prefix_value[:, first:]
        output = output + prefix_output.view(kv_heads, rows, groups * query_length, -1).transpose(0, 1)
    return output.reshape(rows, num_heads, query_length, -1).transpose(1, 2).contiguous(), None


def hide(scores: torch.Tensor, hidden: torch.Tensor) -> None:
    """
    Masks keys, in place.

    Args:
        scores (`torch.Tensor` of shape `(kv_heads, rows, groups, query_length, keys)`):
            Attention scores.
        hidden (`torch.Tensor` of shape `(rows or 1, query_length, keys)`):
            True where a key is not seen.
    """
    scores.masked_fill_(hidden[None, :, None].to(scores.device), -torch.inf)


def softmax(scores: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    """
    Computes the softmax over the last dimension. torch computes it in float32 and rounds the weights.

    Args:
        scores (`torch.Tensor` of shape `(kv_heads, rows, groups, query_length, keys)`):
            Attention scores.
        sinks (`torch.Tensor` of shape `(num_heads,)`, *optional*):
            One more score per head, which takes its share of the probability and has no value.
    """
    if sinks is None:
        return scores.softmax(dim=-1)
    kv_heads, rows, groups, query_length, _ = scores.shape
    column = sinks.view(kv_heads, 1, groups, 1, 1).expand(-1, rows, -1, query_length, -1)
    return torch.cat([scores, column.to(scores.dtype)], dim=-1).softmax(dim=-1)[..., :-1]


AttentionInterface.register(ATTENTION_NAME, shared_prefix_attention)


def attention_configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """Returns the configurations that select the attention implementation of the model's parts, outer ones first."""
    configs = {id(module.config): module.config for module in model.modules() if isinstance(module, PreTrainedModel)}
    return list(configs.values())


@contextmanager
def attend_to(cache: SharedPrefixCache, configs: list[PreTrainedConfig]) -> Iterator[None]:
    """
    Lets a model attend to the cache's prefix, and restores its own attention implementation afterwards.

    Args:
        cache ([`SharedPrefixCache`]):
            Cache of the forward passes inside the context.
        configs (`list[PreTrainedConfig]`):
            What [`attention_configs`] returned for the model.
    """
    implementations = [config._attn_implementation for config in configs]
    token = _active_cache.set(cache)
    try:
        for config in configs:
            config._attn_implementation = ATTENTION_NAME
        yield
    finally:
        # A config hands its implementation down to the configs inside it, which come later in the list
        for config, implementation in zip(configs, implementations, strict=True):
            config._attn_implementation = implementation
        _active_cache.reset(token)
