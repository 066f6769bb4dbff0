# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Stop strings and pauses, found in the decoded text of the generated tokens."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, cast

import torch
from transformers import PreTrainedTokenizerBase

from .engine import FinishReason, GenerationOutput, SamplingParams


class StopStrings:
    """
    Detects when a completion has written a stop string or has reached a pause.

    The decision is made on the decoded text of the generated token ids. It therefore holds for every tokenizer,
    whether a stop string spans several tokens or ends in the middle of one. Decoding every row after every token would
    be slow, so `may_complete` first picks, by one table look-up, the few tokens that could be the last of a stop
    string.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer that the token ids belong to.
        strings (`Sequence[str]`):
            The stop strings. An empty sequence never stops anything.
        pause_between (`tuple[str, str]`, *optional*):
            Two texts. A completion pauses when the second follows the first.

    Example:

    ```python
    >>> stop = StopStrings(tokenizer, ["\\nQ:"])
    >>> ids = tokenizer("A: 4\\nQ: what").input_ids
    >>> stop.reason(ids)
    'stop'
    >>> tokenizer.decode(stop.trim(ids))
    'A: 4'
    ```
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        strings: Sequence[str],
        pause_between: tuple[str, str] | None = None,
    ):
        if any(not string for string in strings):
            raise ValueError("An empty stop string would end every completion before its first token.")
        if pause_between is not None and not all(pause_between):
            raise ValueError(f"`pause_between` needs two texts that are not empty, got {pause_between}.")
        self.tokenizer = tokenizer
        self.strings = tuple(strings)
        self.pause_between = pause_between
        self._candidates = torch.tensor(self._completing_tokens(), dtype=torch.bool)

    def _completing_tokens(self) -> list[bool]:
        """
        Returns for every token id whether it can contribute the last character of a stop string or of a pause. A
        token's text may depend on its neighbours (the space before a word is stripped at the beginning), so every
        token is decoded twice in a row, which gives both texts. An undecodable part of a character (U+FFFD) can
        complete any character. One extra entry is for ids beyond the vocabulary, which models with padded embeddings
        can sample.
        """
        size = len(self.tokenizer)
        ends = [*self.strings, *(self.pause_between or ())[1:]]
        if not ends:
            return [False] * (size + 1)
        last_characters = {string[-1] for string in ends} | {"\ufffd"}
        texts = doubled_texts(self.tokenizer, size)
        return [not last_characters.isdisjoint(text) for text in texts] + [False]

    def may_complete(self, token_ids: torch.Tensor) -> torch.Tensor:
        """
        Returns which rows could have a [`~StopStrings.reason`], by a cheap test. Where it is false, there is none.

        Args:
            token_ids (`torch.Tensor` of shape `(batch,)`):
                The newest token of each row.

        Returns:
            `torch.Tensor` of shape `(batch,)` and type `torch.bool`.
        """
        self._candidates = self._candidates.to(token_ids.device)
        return self._candidates[token_ids.clamp(max=len(self._candidates) - 1)]

    def reason(self, token_ids: Sequence[int]) -> Literal["stop", "pause"] | None:
        """
        Returns `"stop"` if the text of the token ids contains a stop string, `"pause"` if it contains a pause before
        any stop string, and `None` otherwise.

        Args:
            token_ids (`Sequence[int]`):
                Generated token ids, without those of the prompt.
        """
        text = self._decode(token_ids)
        paused = -1
        if self.pause_between is not None:
            first, second = self.pause_between
            begin = text.find(first)
            if begin >= 0:
                paused = text.find(second, begin + len(first))
        if any(string in (text if paused < 0 else text[:paused]) for string in self.strings):
            return "stop"
        return "pause" if paused >= 0 else None

    def cut(
        self,
        index: int,
        token_ids: list[int],
        logprobs: list[float] | None,
        params: SamplingParams,
        limit: int | None = None,
    ) -> GenerationOutput:
        """
        Builds the completion of an engine that does not stop at stop strings, or does not say what it stopped at.

        Args:
            index (`int`):
                Position of the request.
            token_ids (`list[int]`):
                Tokens generated.
            logprobs (`list[float]`, *optional*):
                Their log-probabilities.
            params ([`SamplingParams`]):
                How they were sampled.
            limit (`int`, *optional*):
                Maximum number of tokens of the request.
        """
        token_ids = token_ids[:limit]
        reason: FinishReason = "length"
        if self.reason(token_ids):
            # Once there is a reason, more tokens do not remove it, so bisection finds the fewest tokens with one
            counts = range(1, len(token_ids) + 1)
            token_ids = token_ids[: counts[bisect_left(counts, True, key=lambda n: bool(self.reason(token_ids[:n])))]]
            reason = self.reason(token_ids) or reason
        if token_ids and token_ids[-1] in params.eos_token_ids:
            reason = "eos"
        logprobs = logprobs[: len(token_ids)] if logprobs is not None else None
        return GenerationOutput(index=index, token_ids=token_ids, finish_reason=reason, logprobs=logprobs)

    def trim(self, token_ids: Sequence[int]) -> list[int]:
        """
        Returns the token ids of a completion without its stop string. Ids that lie wholly inside the earliest
        occurrence, or after it, are dropped. One that straddles its beginning is kept.

        Args:
            token_ids (`Sequence[int]`):
                Generated token ids, without those of the prompt.
        """
        token_ids = list(token_ids)
        text = self._decode(token_ids)
        starts = [text.find(string) for string in self.strings if string in text]
        if not starts:
            return token_ids
        before = text[: min(starts)]

        # The fewest ids whose text covers `before`, by bisection
        counts = range(len(token_ids) + 1)
        fewest = bisect_left(counts, True, key=lambda count: self._decode(token_ids[:count]).startswith(before))
        if fewest and before == self._decode(token_ids[: fewest - 1]) + " " and self._is_word(token_ids[fewest - 1]):
            fewest -= 1
        return token_ids[:fewest]

    def _is_word(self, token_id: int) -> bool:
        """
        Returns whether the decoder puts a space between tokens (word-level), so that the space is no part of the
        token.
        """
        piece = self.tokenizer.convert_ids_to_tokens(token_id)
        return self._decode([token_id, token_id]) == f"{piece} {piece}"

    def _decode(self, token_ids: Sequence[int]) -> str:
        # Special tokens stay: a stop string may name one. Cleaning up would move spaces around punctuation.
        return cast(str, self.tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False))


@lru_cache(maxsize=2)
def doubled_texts(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """
    Returns the text of every token twice in a row, for a vocabulary of `size` tokens. The result is cached, as a large
    vocabulary takes seconds.
    """
    return tokenizer.batch_decode([[i, i] for i in range(size)], clean_up_tokenization_spaces=False)
