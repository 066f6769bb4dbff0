# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The seam between the trainer and whatever generates: token ids and sampling parameters in, completions out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from transformers import PreTrainedModel


FinishReason = Literal["eos", "stop", "length", "pause"]
"""What ended a completion: its EOS, a stop string, the length limit, or a place where a tool is called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """
    How an engine draws tokens. The names are those of [`~transformers.GenerationConfig`].

    Args:
        max_new_tokens (`int`):
            Most tokens that one request may generate.
        eos_token_ids (`frozenset[int]`):
            Token ids that end a completion. The one that ended it is the last of its token ids.
        temperature (`float`, *optional*, defaults to `0.0`):
            `0.0` is greedy decoding; `top_p`, `top_k` and `min_p` then have no effect.
        top_p (`float`, *optional*, defaults to `1.0`):
            Smallest set of tokens whose probabilities add up to at least this.
        top_k (`int`, *optional*, defaults to `0`):
            Number of most likely tokens kept; `0` keeps all.
        min_p (`float`, *optional*):
            Least probability kept, relative to the most likely token's.
        stop_strings (`tuple[str, ...]`, *optional*, defaults to `()`):
            Texts that end a completion. The token that completes one is the last of the token ids.
        pause_between (`tuple[str, str]`, *optional*):
            Two texts: as soon as the second stands behind the first, the completion is handed out unfinished, for a
            tool to be called (`("<<", "=")` for a calculator).
        logprobs (`bool`, *optional*, defaults to `False`):
            Whether to return the log-probability of every sampled token.
        generation_kwargs (`dict[str, Any]`, *optional*):
            Further [`~transformers.GenerationConfig`] fields (`suppress_tokens`, `repetition_penalty`, ...).
    """

    max_new_tokens: int
    eos_token_ids: frozenset[int]
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    stop_strings: tuple[str, ...] = ()
    pause_between: tuple[str, str] | None = None
    logprobs: bool = False
    generation_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """
    One completion to generate.

    Args:
        prompt_ids (`list[int]`):
            Token ids of the prompt, unpadded.
        seed (`int`):
            Seed of the request's own random stream. The completion is a function of the model, the prompt, the
            parameters and this number, and of nothing else in the batch.
        max_new_tokens (`int`, *optional*):
            Most tokens that this request may generate, where that is fewer than the parameters say: the rest of a
            completion that was paused.
    """

    prompt_ids: list[int]
    seed: int
    max_new_tokens: int | None = None

    def limit(self, params: SamplingParams) -> int:
        """Most tokens that it may generate with some parameters."""
        return min(self.max_new_tokens or params.max_new_tokens, params.max_new_tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOutput:
    """
    One completion.

    Args:
        index (`int`):
            Position of its request in the sequence that the engine was given.
        token_ids (`list[int]`):
            Token ids as sampled, with the EOS token or the tokens of the stop string that ended them.
        finish_reason (`"eos"`, `"stop"`, `"length"` or `"pause"`):
            What ended it: an EOS token, a stop string, `max_new_tokens` or `pause_between`.
        logprobs (`list[float]`, *optional*):
            Log-probability (natural logarithm) of each token under the model at temperature 1, before top-p, top-k
            and min-p. Only where the parameters ask for them.
    """

    index: int
    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[float] | None = None


class Engine(Protocol):
    """
    Generates completions. The model comes with every call, in evaluation mode and unwrapped, so an engine cannot
    sample from a stale policy. Completions are yielded as they finish, in any order.

    Attributes:
        fallback_warnings (`Sequence[str]`):
            Which slower way than its own the engine took so far, and why: a sentence for each reason. They stand in
            the metrics and in the report.
    """

    fallback_warnings: Sequence[str] = ()

    def generate(
        self, model: PreTrainedModel, requests: Sequence[GenerationRequest], params: SamplingParams
    ) -> Iterator[GenerationOutput]: ...
