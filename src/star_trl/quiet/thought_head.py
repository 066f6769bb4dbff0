# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The head that Quiet-STaR adds to a language model: two embeddings and a network that mixes hidden states."""

from typing import cast

import torch
from torch import nn


class ThoughtHead(nn.Module):
    """
    The embeddings of the tokens that begin and end a thought, and the head that decides how much a thought counts.
    Neither token is in the vocabulary, so a model cannot write one into its text.

    Args:
        hidden_size (`int`):
            Width of the model.
        embedding_scale (`float`, *optional*, defaults to `100.0`):
            The embeddings are this many times their parameters, as in the code of the paper. With an optimizer such as
            AdamW, whose steps do not depend on the size of the gradient, they learn this many times as fast as the
            rest.
    """

    def __init__(self, hidden_size: int, embedding_scale: float = 100.0):
        super().__init__()
        self.hidden_size = hidden_size
        self.embedding_scale = embedding_scale
        self.scaled_start = nn.Parameter(torch.zeros(hidden_size))
        self.scaled_end = nn.Parameter(torch.zeros(hidden_size))
        self.mixing = nn.Sequential(
            nn.Linear(2 * hidden_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, 1, bias=False),
        )
        # A thought does not count at first, so that training begins with the predictions of the model itself.
        nn.init.zeros_(cast(nn.Linear, self.mixing[-1]).weight)

    @property
    def start(self) -> torch.Tensor:
        """Embedding of the token that begins a thought, of shape `(hidden_size,)`."""
        return self.scaled_start * self.embedding_scale

    @property
    def end(self) -> torch.Tensor:
        """Embedding of the token that ends a thought, of shape `(hidden_size,)`."""
        return self.scaled_end * self.embedding_scale

    @torch.no_grad()
    def begin_as(self, start: torch.Tensor, end: torch.Tensor) -> None:
        """Sets both embeddings, of shape `(hidden_size,)`."""
        self.scaled_start.copy_(start / self.embedding_scale)
        self.scaled_end.copy_(end / self.embedding_scale)

    def forward(self, before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Mixes the last hidden states of the model without and with a thought.

        Args:
            before (`torch.Tensor` of shape `(..., hidden_size)`):
                Hidden states without a thought.
            after (`torch.Tensor` of shape `(..., hidden_size)`):
                Hidden states behind a thought.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: The mixed hidden states, and the weight of the thought, of shape
            `(...)`. The weight is not limited to the range from 0 to 1, as in the code of the paper.
        """
        dtype = self.scaled_start.dtype
        weight = self.mixing(torch.cat([before, after], dim=-1).to(dtype)).to(before.dtype)
        return before + weight * (after - before), weight.squeeze(-1)
