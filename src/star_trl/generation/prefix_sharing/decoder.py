# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Decoding of all requests that begin with the same tokens."""

from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from ...token_ids import hashable
from ..engine import FinishReason, GenerationOutput, GenerationRequest, Resume, SamplingParams, held_prompt_ids
from ..memory import memory_to_use
from ..stopping import StopStrings
from ..token_sampler import TokenSampler, sampled_logprobs
from .cache import SharedPrefixCache
from .forward import PrefixForward
from .groups import PrefixGroup
from .row_batch import RowBatch


# Beyond this many rows, the time of a step grows in proportion to them.
MAX_ROWS = 512
# Prefills are split into pieces, so that a layer has at most this many attention scores.
MAX_SCORES = {"cpu": 2**22, "cuda": 2**26}
# Minimum and maximum number of tokens of a piece. Fewer would make poor use of the weights that are read.
MIN_TOKENS, MAX_TOKENS = 32, 2**13


@dataclass
class PausedRow:
    """
    A row outside the batch.

    Args:
        output ([`GenerationOutput`]):
            What it has generated since it was last resumed.
        length (`int`):
            Number of tokens of which `states` are the keys and values, after the prefix.
        states (`list[tuple[torch.Tensor, torch.Tensor]]`, *optional*):
            Keys and values of every layer, each of shape `(num_kv_heads, length, head_dim)`. A row without them is
            prefilled again.
    """

    output: GenerationOutput
    length: int
    states: list[tuple[torch.Tensor, torch.Tensor]] | None


class PrefixDecoder:
    """
    Generates the completions of one [`PrefixGroup`]. It prefills the prefix once and then runs a batch of rows, in
    which new requests take the place of finished ones.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            Model to sample from.
        requests (`Sequence[GenerationRequest]`):
            All requests.
        group ([`PrefixGroup`]):
            Group of the requests to complete.
        params ([`SamplingParams`]):
            How to sample.
        stop_strings ([`StopStrings`]):
            Texts that end a completion.
        batch_size (`int`, *optional*):
            Maximum number of rows at a time. By default as many as half of the free memory holds.
        resume ([`Resume`], *optional*):
            Continues rows that pause. A row that waits leaves the batch. Its keys and values are kept, those of as
            many rows as are generated at a time.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        group: PrefixGroup,
        params: SamplingParams,
        stop_strings: StopStrings,
        batch_size: int | None,
        resume: Resume | None = None,
    ):
        self.model = model
        self.requests = {index: requests[index] for index in group.indices}
        self.resume = resume
        self.waiting: dict[Future[Any], PausedRow] = {}
        self.results: SimpleQueue[Future[Any]] = SimpleQueue()  # futures of `waiting` that are done
        self.resumed: deque[PausedRow] = deque()
        self.prefix_length = group.prefix_length
        self.params = params
        self.stop_strings = stop_strings
        self.sampler = TokenSampler(params, model.device)
        self.forward = PrefixForward(model)

        first_with: dict[Hashable, int] = {}
        self.representative = {
            index: first_with.setdefault(hashable(held_prompt_ids(requests[index])), index) for index in group.indices
        }
        self.pending = deque(sorted(group.indices, key=self._order))
        longest = requests[self.pending[0]].prompt_ids
        totals = (len(held_prompt_ids(requests[index])) + requests[index].limit(params) for index in group.indices)
        self.capacity = max(totals) - self.prefix_length - 1

        self.prefix, bytes_per_token = self._prefill_prefix(longest)
        self.num_rows = min(batch_size or self._rows_that_fit(bytes_per_token), len(self.pending))
        self._allocate()

    def _order(self, index: int) -> tuple[int, int, int]:
        """
        Returns a sort key. Long prompts come first, as they need the most memory, and equal prompts are adjacent, to
        be prefilled together.
        """
        return -len(held_prompt_ids(self.requests[index])), self.representative[index], index

    def _prefill_prefix(self, prompt_ids: list[int]) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], int]:
        """
        Returns the keys and values of the prefix, and the memory that one token takes, for which at least one token is
        fed.
        """
        length = max(self.prefix_length, 1)
        cache = SharedPrefixCache(num_rows=1, capacity=length)
        self._prefill(cache, 0, [prompt_ids[:length]])
        return (cache.as_prefix(length) if self.prefix_length else []), cache.bytes_per_token

    def _rows_that_fit(self, bytes_per_token: int) -> int:
        # Sampling holds the logits in float32 and float64, and their sorted copies
        bytes_per_row = self.capacity * bytes_per_token + 32 * self.model.config.get_text_config().vocab_size
        return min(max(memory_to_use(self.model.device) // bytes_per_row, 1), MAX_ROWS)

    def _allocate(self) -> None:
        self.cache = SharedPrefixCache(self.num_rows, self.capacity, self.prefix)
        self.batch = RowBatch(self.num_rows, self.params)

    @property
    def unfinished(self) -> bool:
        """Whether there is anything left to generate."""
        return bool(self._busy or self.waiting)

    def halve(self) -> None:
        """Restarts the rows in progress in a batch of half the size. They will sample the same tokens again."""
        in_progress = [*self.batch.indices[: self.batch.size].tolist(), *(row.output.index for row in self.resumed)]
        self.resumed.clear()
        for row in self.waiting.values():
            row.states = None
        self.pending = deque(sorted([*in_progress, *self.pending], key=self._order))
        self.num_rows = max(self.num_rows // 2, 1)
        self._allocate()

    def advance(self) -> list[GenerationOutput]:
        """
        Generates until at least one completion ends, a result for a paused row is there, or all rows are paused.

        Returns:
            `list[GenerationOutput]`: the completions that ended.
        """
        ended: list[GenerationOutput] = []
        while self._busy and self.results.empty() and not ended:
            self._admit_resumed()
            # A prefill of several rows is cheaper than as many of one row
            if self.pending and self.num_rows - self.batch.size >= max(self.num_rows // 8, 1):
                self._admit()
            self._step()
            reasons = self.batch.finished(self.stop_strings)
            ended = self._leave(reasons) if reasons else []
        return ended

    @property
    def _busy(self) -> bool:
        return bool(self.batch.size or self.pending or self.resumed)

    def resume_paused(self) -> list[GenerationOutput]:
        """
        Continues the paused rows whose results are there. If there is nothing else to do, it waits for a result.

        Returns:
            `list[GenerationOutput]`: the completions that end where they paused.
        """
        ended: list[GenerationOutput] = []
        while self.waiting and not ((self._busy or ended) and self.results.empty()):
            future = self.results.get()
            row = self.waiting.pop(future)
            assert self.resume is not None
            request = self.resume.request(row.output, future.result())
            if request is None:
                ended.append(row.output)
                continue
            index = row.output.index
            length = len(request.prompt_ids) + request.limit(self.params) - self.prefix_length - 1
            if length > self.capacity:
                raise ValueError(
                    f"A resumed request needs {length} tokens after the shared prefix, but its row has room for "
                    f"{self.capacity}. Set its `max_new_tokens` to what is left of the old request's limit."
                )
            held = self.requests[index].prompt_ids + row.output.token_ids
            end = self.prefix_length + row.length
            self.requests[index] = request
            self.representative[index] = ~index  # its prompt is no longer that of the others
            if row.states is not None and request.prompt_ids[:end] == held[:end]:
                self.resumed.append(row)
            else:
                self.pending.appendleft(index)
        return ended

    def _leave(self, reasons: dict[int, FinishReason]) -> list[GenerationOutput]:
        """Takes rows out of the batch. Returns the completions that ended; the others wait for what follows them."""
        batch = self.batch
        outputs = {
            row: GenerationOutput(
                index=int(batch.indices[row]),
                token_ids=batch.token_ids(row),
                finish_reason=reason,
                logprobs=batch.logprobs(row),
            )
            for row, reason in reasons.items()
        }
        # Without the newest token, which has not been fed
        lengths = {
            row: int(batch.lengths[row])
            for row, reason in reasons.items()
            if reason in self.params.resumable and self.resume
        }
        room = self.num_rows - len(self.resumed) - sum(row.states is not None for row in self.waiting.values())
        held = list(lengths)[: max(room, 0)]
        states = {row: self.cache.take_row(row, lengths[row]) for row in held}
        # The bookkeeping comes last, so that the rows are still in the batch if the copies run out of memory
        sources, targets = batch.moves_without(list(reasons))
        if len(sources):
            self.cache.copy_rows(sources, targets, int(batch.lengths[sources].max()))
        batch.remove(len(reasons), sources, targets)

        ended = []
        for row, output in outputs.items():
            future = self.resume.begin(output) if self.resume is not None and row in lengths else None
            if future is None:
                ended.append(output)
            else:
                self.waiting[future] = PausedRow(output, lengths[row], states.get(row))
                future.add_done_callback(self.results.put)
        return ended

    def _admit_resumed(self) -> None:
        """Puts rows that paused back into the batch, with their keys and values."""
        while self.resumed and self.batch.size < self.num_rows:
            row = self.resumed[0]  # it stays there until it is in the batch, in case memory runs out
            request, length = self.requests[row.output.index], row.length
            self.cache.put_row(self.batch.size, cast(list, row.states))
            missing = request.prompt_ids[self.prefix_length + length :]
            # A few tokens are fed with the steps of the other rows.
            if len(missing) > MIN_TOKENS:
                rows = slice(self.batch.size, self.batch.size + 1)
                self.cache.begin_prefill(rows, length, len(missing) - 1, self.model.device)
                self.forward(self.cache, torch.tensor([missing[:-1]], device=self.model.device))
                length, missing = length + len(missing) - 1, missing[-1:]
            self.batch.add(row.output.index, request, length, missing)
            self.resumed.popleft()

    def _step(self) -> None:
        """Generates one token for every active row."""
        batch, device = self.batch, self.model.device
        lengths = batch.lengths[: batch.size]
        self.cache.begin_decode(lengths, device)
        logits = self.forward(self.cache, batch.next_tokens[: batch.size, None].to(device))
        tokens = self.sampler(logits, batch.uniforms())
        logprobs = sampled_logprobs(logits, tokens).cpu() if self.params.logprobs else None
        batch.append(tokens.cpu(), logprobs)

    def _admit(self) -> None:
        """Fills the free rows: different prompts are prefilled, equal ones copied."""
        # Resumed rows come first in `pending`, whatever their lengths.
        taken = sorted(islice(self.pending, self.num_rows - self.batch.size), key=self._order)
        leaders = list(dict.fromkeys(self.representative[index] for index in taken))
        row_of = {leader: self.batch.size + position for position, leader in enumerate(leaders)}
        # The first request of each prompt gets the row that is prefilled. The others take the rows after those.
        firsts = {self.representative[index]: index for index in reversed(taken)}
        suffixes = [self.requests[firsts[leader]].prompt_ids[self.prefix_length : -1] for leader in leaders]
        self._prefill(self.cache, self.batch.size, suffixes)
        others = [index for index in taken if firsts[self.representative[index]] != index]
        if others and len(suffixes[0]):
            sources = torch.tensor([row_of[self.representative[index]] for index in others])
            start = self.batch.size + len(leaders)
            self.cache.copy_rows(sources, torch.arange(start, start + len(others)), len(suffixes[0]))
        for index in [*(firsts[leader] for leader in leaders), *others]:
            request = self.requests[index]
            length = len(request.prompt_ids) - self.prefix_length - 1
            self.batch.add(index, request, length, request.prompt_ids[-1:])
            self.pending.popleft()

    def _prefill(self, cache: SharedPrefixCache, first_row: int, token_rows: list[list[int]]) -> None:
        """
        Feeds tokens to consecutive rows that hold nothing yet.

        Args:
            cache ([`SharedPrefixCache`]):
                Where the keys and values go.
            first_row (`int`):
                First of the rows.
            token_rows (`list[list[int]]`):
                Tokens to feed, the longest row first. Padding of a shorter row is overwritten when the row goes on.
        """
        num_heads = self.model.config.get_text_config().num_attention_heads
        done = 0
        while done < len(token_rows) and token_rows[done]:
            width = len(token_rows[done])
            scores_per_token = num_heads * (cache.prefix_length + width)
            max_scores = MAX_SCORES.get(self.model.device.type, MAX_SCORES["cpu"])
            tokens = min(max(max_scores // scores_per_token, MIN_TOKENS), MAX_TOKENS)
            chunk = token_rows[done : done + max(tokens // width, 1)]
            rows = slice(first_row + done, first_row + done + len(chunk))
            input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in chunk], device=self.model.device)
            for start in range(0, width, tokens):
                piece = input_ids[:, start : start + tokens]
                cache.begin_prefill(rows, start, piece.shape[1], self.model.device)
                self.forward(cache, piece)
            done += len(chunk)
