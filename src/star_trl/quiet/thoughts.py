# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A thought behind every token of a text, all of them computed in parallel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from ..generation.prefix_sharing.forward import cache_name
from .thought_head import ThoughtHead


@dataclass(frozen=True, kw_only=True)
class Thoughts:
    """
    A thought behind every token of every row. Each is a start token, `num_thought_tokens` tokens, an end token and the
    true tokens that follow in the text.

    Args:
        token_ids (`torch.Tensor` of shape `(rows, length, num_thought_tokens)`):
            Token ids of the thoughts.
        before (`list[torch.Tensor]`):
            For each of their tokens, the hidden states that it was drawn from, of shape `(rows, length, hidden_size)`.
        after (`list[torch.Tensor]`):
            For each true token, the hidden states behind the thought that predict it, of the same shape.
    """

    token_ids: torch.Tensor
    before: list[torch.Tensor]
    after: list[torch.Tensor]


def think(
    model: PreTrainedModel,
    head: ThoughtHead,
    cache: DynamicCache,
    input_ids: torch.Tensor,
    num_true_tokens: int,
    choose: Callable[[torch.Tensor, int], torch.Tensor],
    num_thought_tokens: int,
) -> Thoughts:
    """
    Thinks behind every token (algorithm 1 of the paper). Each step of the thoughts adds as many keys as the text has
    tokens. A position sees the text up to itself and the keys of its own thought, which lie on the diagonals.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        head ([`ThoughtHead`]):
            The embeddings of the start and end tokens.
        cache ([`~transformers.DynamicCache`]):
            Keys and values of the text. Those of the thoughts are appended.
        input_ids (`torch.Tensor` of shape `(rows, length)`):
            Token ids of the text.
        num_true_tokens (`int`):
            Number of true tokens to predict behind each thought.
        choose (`Callable`):
            Chooses the next token of every thought, given the hidden states of shape `(rows, length, hidden_size)` and
            the number of the token. It returns token ids of shape `(rows, length)`.
        num_thought_tokens (`int`):
            Number of tokens of a thought, without its start and end.
    """
    rows, length = input_ids.shape
    embed = model.get_input_embeddings()
    dtype, device = model.dtype, input_ids.device
    unseen = torch.finfo(dtype).min
    causal = torch.full((length, length), unseen, dtype=dtype, device=device).triu(1)
    own = torch.full((length, length), unseen, dtype=dtype, device=device).fill_diagonal_(0)
    positions = torch.arange(length, device=device)[None]
    blocks = [causal]

    def step(embeddings: torch.Tensor) -> torch.Tensor:
        blocks.append(own)
        mask = torch.cat(blocks, dim=-1).expand(rows, 1, -1, -1)
        return decode(
            model,
            inputs_embeds=embeddings.to(dtype),
            attention_mask=mask,
            position_ids=(positions + len(blocks) - 1).expand(rows, -1),
            cache=cache,
        )

    hidden = step(head.start.expand(rows, length, -1))
    before, token_ids = [], []
    for number in range(num_thought_tokens):
        before.append(hidden)
        token_ids.append(choose(hidden, number))
        hidden = step(embed(token_ids[-1]))
    after = [step(head.end.expand(rows, length, -1))]
    for ahead in range(1, num_true_tokens):
        after.append(step(embed(shifted(input_ids, ahead, fill=0))))
    return Thoughts(token_ids=torch.stack(token_ids, dim=-1), before=before, after=after)


def decode(model: PreTrainedModel, *, cache: DynamicCache, **inputs: Any) -> torch.Tensor:
    """Returns the last hidden states of a model, of shape `(rows, length, hidden_size)`, without its logits."""
    decoder = model.get_decoder()
    return decoder(**inputs, **{cache_name(decoder): cache}, use_cache=True).last_hidden_state


def shifted(values: torch.Tensor, by: int, fill: float) -> torch.Tensor:
    """Returns a tensor of shape `(rows, length, ...)` whose entry at each position is that of a later position."""
    ends = torch.full_like(values[:, :by], fill)
    return torch.cat([values[:, by:], ends], dim=1)
