# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Sequences as a tree: tokens that several sequences begin with are computed once. The idea is that of Prefix Grouper
(https://huggingface.co/papers/2506.05433), here for prefixes of any depth.

The tree is laid out as one row of tokens in depth-first order, so that a token's descendants follow it without gaps.
A token attends to its ancestors, which are the tokens before it in each of its sequences. Its position is its depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..generation.model_state import base_model, evaluation_mode, has_prompt_learning
from ..generation.prefix_sharing.groups import shared_length
from ..generation.prefix_sharing.support import (
    ignores_positions,
    relative_difference,
    tolerance,
    trial_tokens,
    why_not_declared,
)
from .tree_attention import attention_in_parts


# Attention implementations that take any mask.
MASKED_ATTENTION = frozenset({"eager", "sdpa"})


def cost(length: int, hidden_size: int) -> int:
    """
    Returns the cost of a row of tokens in a layer, where attention of a token to another one costs 1. A layer
    multiplies a token by about 12 square matrices. Attention to another token takes 2 products of vectors.
    """
    return length * (6 * hidden_size + length)


@dataclass
class PrefixTree:
    """
    Some sequences laid out as one row of tokens.

    Attributes:
        input_ids (`list[int]`):
            Tokens of the tree.
        positions (`list[int]`):
            Position of each token in its sequences.
        ends (`list[int]`):
            Index after the last descendant of each token.
        counts (`list[int]`):
            Number of sequences that each token belongs to.
        paths (`list[list[int]]`):
            For each sequence that was added, the indices of its tokens.
    """

    input_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    paths: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.input_ids)

    def add(self, sequence: Sequence[int], shared: int) -> None:
        """
        Adds a sequence whose first `shared` tokens are those of the sequence that was added last.
        """
        end = len(self) + len(sequence) - shared
        path = [*(self.paths[-1][:shared] if shared else ()), *range(len(self), end)]
        self.input_ids += sequence[shared:]
        self.positions += range(shared, len(sequence))
        self.ends += [end] * (len(sequence) - shared)
        self.counts += [0] * (len(sequence) - shared)
        for index in path:
            self.ends[index] = end
            self.counts[index] += 1
        self.paths.append(path)


def grow_tree(sequences: Sequence[list[int]], limits: Sequence[int]) -> PrefixTree:
    """
    Lays sequences out as one tree.

    Args:
        sequences (`list[list[int]]`):
            Token ids of the sequences.
        limits (`list[int]`):
            Number of tokens at the beginning of each sequence that it may share.

    Returns:
        [`PrefixTree`]: The tree, with the paths in the order of `sequences`.
    """
    tree = PrefixTree()
    order = sorted(range(len(sequences)), key=sequences.__getitem__)  # the longest common prefixes become neighbors
    for number, index in enumerate(order):
        before = order[number - 1] if number else index
        shared = min(shared_length(sequences[before], sequences[index]), limits[before], limits[index])
        tree.add(sequences[index], shared if number else 0)
    paths = dict(zip(order, tree.paths, strict=True))
    tree.paths = [paths[index] for index in range(len(sequences))]
    return tree


def tree_masks(
    ends: torch.Tensor, positions: torch.Tensor, config: PreTrainedConfig, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """
    Returns the attention mask of some trees, in the form that a model takes.

    Args:
        ends (`torch.Tensor` of shape `(trees, tokens)`):
            Index after the last descendant of each token.
        positions (`torch.Tensor` of shape `(trees, tokens)`):
            Position of each token.
        config ([`~transformers.PreTrainedConfig`]):
            Configuration of the model, for its attention implementation and its sliding windows.
        dtype (`torch.dtype`):
            Precision of the model.

    Returns:
        `torch.Tensor` of shape `(trees, 1, tokens, tokens)`, or one for each type of layer by its name.
    """
    text_config = config.get_text_config()
    indices = torch.arange(ends.shape[1], device=ends.device)
    seen = (indices[:, None] >= indices) & (indices[:, None] < ends[:, None, :])
    window = getattr(text_config, "sliding_window", None)

    def mask(kind: str) -> torch.Tensor:
        visible = seen
        if kind == "sliding_attention" and window:
            visible = seen & (positions[:, :, None] - positions[:, None, :] < window)
        visible = visible[:, None]
        if text_config._attn_implementation == "sdpa":
            return visible
        return torch.zeros(visible.shape, dtype=dtype, device=ends.device).masked_fill(
            ~visible, torch.finfo(dtype).min
        )

    kinds = set(getattr(text_config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    masks = {kind: mask(kind) for kind in kinds}
    return masks if len(masks) > 1 else next(iter(masks.values()))


@dataclass
class TreeModel:
    """
    A model that is called with trees. It gets the masks of the trees in place of a mask of the padding.

    Args:
        model (`Callable`):
            The model, which may be wrapped for distributed training.
        config ([`~transformers.PreTrainedConfig`]):
            Its configuration.
        dtype (`torch.dtype`):
            Its precision.
        ends (`torch.Tensor` of shape `(trees, tokens)`):
            Index after the last descendant of each token.
    """

    model: Any
    config: PreTrainedConfig
    dtype: torch.dtype
    ends: torch.Tensor

    def __call__(self, *, position_ids: torch.Tensor, **inputs: Any) -> Any:
        masks = tree_masks(self.ends, position_ids, self.config, self.dtype)
        with attention_in_parts(self.ends):
            return self.model(**{**inputs, "position_ids": position_ids, "attention_mask": masks})


_reasons: WeakKeyDictionary[PreTrainedModel, str | None] = WeakKeyDictionary()


def why_no_trees(model: PreTrainedModel, token_ids: list[int]) -> str | None:
    """
    Returns why a model does not compute the same on a tree as on separate sequences, or None if it does. Each model is
    tried once.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model, not wrapped and not sharded.
        token_ids (`list[int]`):
            Tokens that the model may well see. It is tried on a few of them. In bf16, rounding alone changes the
            logits of tokens that it was never trained on as much as a wrong mask does.
    """
    if has_prompt_learning(model):
        return "the adapter puts learned vectors in front of the sequence"
    base = base_model(model)
    if base not in _reasons:
        _reasons[base] = why_not_declared(base) or _why_not_tried(base, token_ids)
    return _reasons[base]


def _why_not_tried(model: PreTrainedModel, token_ids: list[int]) -> str | None:
    name, attention = type(model).__name__, model.config._attn_implementation
    if attention not in MASKED_ATTENTION:
        return f"the attention implementation {attention!r} takes no mask of a tree (`sdpa` does)"
    ids = trial_tokens(token_ids)
    sequences = [ids, [*ids[:5], *ids[2:8]], [*ids[:9], ids[0], ids[3]]]
    tree = grow_tree(sequences, [len(ids)] * 3)
    given = {"input_ids": tree.input_ids, "position_ids": tree.positions}
    inputs = {key: torch.tensor([values], device=model.device) for key, values in given.items()}
    ends = torch.tensor([tree.ends], device=model.device)
    try:
        with evaluation_mode(model), torch.no_grad():
            if ignores_positions(model, inputs["input_ids"]):
                return f"{name} ignores `position_ids`"
            logits = TreeModel(model, model.config, model.dtype, ends)(**inputs, use_cache=False).logits[0]
            expected = [
                model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
                for ids in sequences
            ]
    except Exception as error:
        return f"{name} cannot be run on a tree: {error}"
    pairs = zip(tree.paths, expected, strict=True)
    difference = max(relative_difference(logits[path[-1]], one) for path, one in pairs)
    if not difference < tolerance(model):
        return f"{name} gives other logits on a tree (relative difference {difference:.1e})"
    return None
