# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""State of the rows of a running batch, apart from their keys and values."""

import torch

from ..engine import FinishReason, GenerationRequest, SamplingParams
from ..stopping import StopStrings
from ..token_sampler import draw_uniforms


class RowBatch:
    """
    Keeps track of the rows in CPU tensors, so that a step costs about the same for one row as for hundreds. The active
    rows are the first `size` ones.

    Args:
        num_rows (`int`):
            Maximum number of rows at a time.
        params ([`SamplingParams`]):
            How the rows are sampled.

    Attributes:
        size (`int`):
            Number of active rows.
        indices (`torch.Tensor` of shape `(num_rows,)`):
            The request that a row completes.
        lengths (`torch.Tensor` of shape `(num_rows,)`):
            Number of tokens that the cache holds of the row, after the prefix.
        counts (`torch.Tensor` of shape `(num_rows,)`):
            Number of tokens generated.
        limits (`torch.Tensor` of shape `(num_rows,)`):
            Maximum number of tokens to generate.
        next_tokens (`torch.Tensor` of shape `(num_rows,)`):
            The token to feed next.
    """

    def __init__(self, num_rows: int, params: SamplingParams):
        self.params = params
        self.size = 0
        self.indices, self.lengths, self.counts, self.limits, self.next_tokens = torch.zeros(
            5, num_rows, dtype=torch.long
        )
        self._tokens = torch.zeros(num_rows, params.max_new_tokens, dtype=torch.long)
        self._uniforms = torch.zeros(num_rows, params.max_new_tokens if params.temperature else 1, dtype=torch.float64)
        self._logprobs = torch.zeros(num_rows, params.max_new_tokens if params.logprobs else 1)
        self._given: list[list[int]] = [[]] * num_rows  # tokens to feed before the row samples, the last one first
        self._eos_token_ids = torch.tensor(sorted(params.eos_token_ids), dtype=torch.long)

    def add(self, index: int, request: GenerationRequest, length: int, missing: list[int]) -> None:
        """
        Args:
            index (`int`):
                Position of the request.
            request ([`GenerationRequest`]):
                The request.
            length (`int`):
                Number of its prompt's tokens in the cache, after the prefix.
            missing (`list[int]`):
                The rest of its prompt, at least one token. It is fed a token at a time.
        """
        row = self.size
        self.size += 1
        self.indices[row], self.lengths[row], self.counts[row] = index, length, 0
        self.limits[row], self.next_tokens[row] = request.limit(self.params), missing[0]
        self._given[row] = missing[:0:-1]
        if self.params.temperature:
            self._uniforms[row] = draw_uniforms(request.seed, self.params.max_new_tokens)

    def uniforms(self) -> torch.Tensor:
        """
        Returns a random number for the next token of every active row, of shape `(size,)`. Zeros for greedy decoding.
        """
        if not self.params.temperature:
            return self._uniforms[: self.size, 0]
        return self._uniforms[torch.arange(self.size), self.counts[: self.size]]

    def append(self, tokens: torch.Tensor, logprobs: torch.Tensor | None) -> None:
        """
        Args:
            tokens (`torch.Tensor` of shape `(size,)`):
                A new token for every active row. The previous one is in the cache by now. Rows whose prompt is not in
                the cache yet take the next token of their prompt instead.
            logprobs (`torch.Tensor` of shape `(size,)`, *optional*):
                Their log-probabilities.
        """
        rows, counts = torch.arange(self.size), self.counts[: self.size]
        self._tokens[rows, counts] = tokens
        if logprobs is not None:
            self._logprobs[rows, counts] = logprobs
        self.next_tokens[: self.size] = tokens
        self.lengths[: self.size] += 1
        counts += 1
        for row, given in enumerate(self._given[: self.size]):
            if given:
                self.next_tokens[row] = given.pop()
                counts[row] = 0

    def finished(self, stop_strings: StopStrings) -> dict[int, FinishReason]:
        """Returns the rows that end with their newest token, and the reason for each."""
        newest = self.next_tokens[: self.size]
        is_eos = torch.isin(newest, self._eos_token_ids)
        is_full = self.counts[: self.size] == self.limits[: self.size]
        # A row without a token of its own is still fed its prompt.
        suspects = (is_eos | is_full | stop_strings.may_complete(newest)) & (self.counts[: self.size] > 0)
        reasons: dict[int, FinishReason] = {}
        rows = suspects.nonzero()[:, 0]
        for row, eos, full in zip(rows.tolist(), is_eos[rows].tolist(), is_full[rows].tolist(), strict=True):
            if eos:
                reasons[row] = "eos"
            elif reason := stop_strings.reason(self.token_ids(row)):
                reasons[row] = reason
            elif full:
                reasons[row] = "length"
        return reasons

    def token_ids(self, row: int) -> list[int]:
        """Returns the tokens generated by a row."""
        return self._tokens[row, : self.counts[row]].tolist()

    def logprobs(self, row: int) -> list[float] | None:
        """Returns the log-probabilities of these tokens, if requested."""
        return self._logprobs[row, : self.counts[row]].tolist() if self.params.logprobs else None

    def moves_without(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns which rows have to move, and where to, so that removing the given rows leaves no gaps."""
        kept = torch.ones(self.size, dtype=torch.bool)
        kept[rows] = False
        size = self.size - len(rows)
        return kept[size:].nonzero()[:, 0] + size, (~kept[:size]).nonzero()[:, 0]

    def remove(self, number: int, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Removes `number` rows, with the moves that `moves_without` found."""
        self.size -= number
        if len(sources):
            states = (self.indices, self.lengths, self.counts, self.limits, self.next_tokens)
            for state in (*states, self._tokens, self._uniforms, self._logprobs):
                state[targets] = state[sources]
            for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
                self._given[target] = self._given[source]
