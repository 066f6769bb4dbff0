# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Attention within prefix trees on a CPU. torch's fused attention computes the scores of all pairs of tokens, most of
which the mask of a tree hides, and multiplies in float32 on processors without `amx_bf16`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


# Branches that are shorter are computed together with the next ones. A product of fewer rows is slow.
MIN_QUERIES = 32
# Limits the memory of the scores, and the number of pairs that are computed although the mask hides them.
MAX_QUERIES = 256


class Part(NamedTuple):
    """
    Tokens of a tree that are computed together. All that they see are tokens of the trunk and of their own branches.

    Attributes:
        row (`int`):
            Index of the tree.
        start, end (`int`):
            First token and the one after the last.
        trunk (`int`):
            Number of tokens at the beginning of the tree that may be seen besides.
        branch (`int`):
            First token of the branches, from which on tokens up to `end` may be seen.
    """

    row: int
    start: int
    end: int
    trunk: int
    branch: int


def parts_of_trees(ends: torch.Tensor) -> list[Part]:
    """
    Splits trees into parts. The trunk of a tree is its first tokens, up to where it branches.

    Args:
        ends (`torch.Tensor` of shape `(trees, tokens)`):
            Index after the last descendant of each token.
    """
    parts = []
    for row, own in enumerate(ends.tolist()):
        trunk = next((index for index, end in enumerate(own) if end != own[0]), len(own))
        stretches = [(0, 0, trunk)]
        start = trunk
        while start < len(own):
            end = own[start]
            while end < len(own) and end - start < MIN_QUERIES:
                end = own[end]
            stretches.append((trunk, start, end))
            start = end
        parts += [
            Part(row, first, min(first + MAX_QUERIES, end), seen, start)
            for seen, start, end in stretches
            for first in range(start, end, MAX_QUERIES)
        ]
    return parts


@contextmanager
def attention_in_parts(ends: torch.Tensor | None) -> Iterator[None]:
    """
    Lets models with `sdpa` attention compute trees in parts on a CPU. With gradient checkpointing, the backward pass
    must be inside the context as well.

    Args:
        ends (`torch.Tensor` of shape `(trees, tokens)`, *optional*):
            Index after the last descendant of each token. Without it, nothing changes.
    """
    if ends is None or ends.device.type != "cpu":
        yield
        return
    before: Callable = ALL_ATTENTION_FUNCTIONS["sdpa"]
    AttentionInterface.register("sdpa", partial(tree_attention, before, parts_of_trees(ends), ends.shape))
    try:
        yield
    finally:
        AttentionInterface.register("sdpa", before)


def tree_attention(
    otherwise: Callable,
    parts: list[Part],
    shape: torch.Size,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """
    Computes what transformers' function for `sdpa` does, where it is called with the mask of the trees.

    Args:
        otherwise (`Callable`):
            Computes the attention of all other calls.
        parts (`list[Part]`):
            Parts of the trees.
        shape (`torch.Size`):
            Number of trees and of tokens in each.
        module (`torch.nn.Module`):
            Attention layer.
        query (`torch.Tensor` of shape `(trees, num_heads, tokens, head_dim)`):
            Queries.
        key, value (`torch.Tensor` of shape `(trees, num_kv_heads, tokens, head_dim)`):
            Keys and values.
        attention_mask (`torch.Tensor` of shape `(trees, 1, tokens, tokens)`, *optional*):
            True where a token is seen.
        dropout (`float`, *optional*, defaults to `0.0`):
            Share of the attention weights that is dropped.
        scaling (`float`, *optional*, defaults to `head_dim**-0.5`):
            Factor of the scores.

    Returns:
        `tuple`: `torch.Tensor` of shape `(trees, tokens, num_heads, value_dim)`, and None for the weights.
    """
    trees, tokens = shape
    if (
        attention_mask is None
        or attention_mask.dtype != torch.bool
        or attention_mask.shape != (trees, 1, tokens, tokens)
        or query.shape[2] != tokens
        or query.device.type != "cpu"
        or dropout
        or any(kwargs.get(name) is not None for name in ("softcap", "position_bias"))
    ):
        given = {"dropout": dropout, "scaling": scaling, **kwargs}
        return otherwise(module, query, key, value, attention_mask, **given)
    scaled = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else value.dtype
    with torch.autocast("cpu", enabled=False):
        output = _TreeAttention.apply(scaled.to(dtype), key.to(dtype), value.to(dtype), attention_mask, parts)
    return output.transpose(1, 2).contiguous(), None


class _TreeAttention(torch.autograd.Function):
    """Keeps no scores for the backward pass, which computes them again."""

    @staticmethod
    def forward(ctx, query, key, value, mask, parts):
        ctx.save_for_backward(query, key, value, mask)
        ctx.parts = parts
        output = query.new_empty(*query.shape[:3], value.shape[3])
        for part in parts:
            keys, values = _seen(key, part), _seen(value, part)
            weights = _weights(_grouped(query, part, len(keys)), keys, mask, part)
            _put(output, part, weights @ values)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        query, key, value, mask = ctx.saved_tensors
        query_grad = torch.empty_like(query)
        # Tokens of the trunk get a sum over the parts
        key_grad, value_grad = (torch.zeros_like(each, dtype=torch.float32) for each in (key, value))
        for part in ctx.parts:
            keys, values = _seen(key, part), _seen(value, part)
            queries, own_grad = _grouped(query, part, len(keys)), _grouped(grad, part, len(keys))
            weights = _weights(queries, keys, mask, part)
            scores_grad = torch.ops.aten._softmax_backward_data(
                own_grad @ values.transpose(1, 2), weights, -1, weights.dtype
            )
            _put(query_grad, part, scores_grad @ keys)
            _add(key_grad, part, scores_grad.transpose(1, 2) @ queries)
            _add(value_grad, part, weights.transpose(1, 2) @ own_grad)
        return query_grad, key_grad.to(key.dtype), value_grad.to(value.dtype), None, None


def _seen(states: torch.Tensor, part: Part) -> torch.Tensor:
    """Returns the keys or values that a part may see: `(num_kv_heads, seen, head_dim)`."""
    own = states[part.row, :, part.branch : part.end]
    return torch.cat([states[part.row, :, : part.trunk], own], dim=1) if part.trunk else own


def _grouped(states: torch.Tensor, part: Part, kv_heads: int) -> torch.Tensor:
    """Returns the states of a part's queries, those of one key/value head together: `(kv_heads, queries, dim)`."""
    return states[part.row, :, part.start : part.end].reshape(kv_heads, -1, states.shape[3])


def _put(states: torch.Tensor, part: Part, grouped: torch.Tensor) -> None:
    """Writes what has the shape of `_grouped`."""
    heads, _, width = states.shape[1:]
    states[part.row, :, part.start : part.end] = grouped.view(heads, part.end - part.start, width)


def _add(states: torch.Tensor, part: Part, seen: torch.Tensor) -> None:
    """Adds what has the shape of `_seen`."""
    states[part.row, :, : part.trunk] += seen[:, : part.trunk]
    states[part.row, :, part.branch : part.end] += seen[:, part.trunk :]


def _weights(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor, part: Part) -> torch.Tensor:
    """
    Returns the attention weights of a part: `(num_kv_heads, queries, seen)`. In bf16 the scores are rounded, as those
    of `eager` are, and the softmax is computed in float32.
    """
    scores = queries @ keys.transpose(1, 2)
    own = mask[part.row, 0, part.start : part.end]
    by_token = scores.view(len(keys), -1, *own.shape[:1], scores.shape[2])
    by_token[..., part.trunk :].masked_fill_(~own[:, part.branch : part.end], -torch.inf)
    trunk = own[:, : part.trunk]
    if not trunk.all():  # padding, or a window
        by_token[..., : part.trunk].masked_fill_(~trunk, -torch.inf)
    return scores.softmax(-1)
