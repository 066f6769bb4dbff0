# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The interface between the trainer and an engine, which turns token ids and sampling parameters into completions."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from transformers import PreTrainedModel

from ..finish_reason import FinishReason
from ..token_ids import as_list, packed_field


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """
    How an engine draws tokens. The names are those of [`~transformers.GenerationConfig`].

    Args:
        max_new_tokens (`int`):
            Maximum number of tokens that one request may generate.
        eos_token_ids (`frozenset[int]`):
            Token ids that end a completion. The one that ended it is the last of its token ids.
        temperature (`float`, *optional*, defaults to `0.0`):
            `0.0` is greedy decoding; `top_p`, `top_k` and `min_p` then have no effect.
        top_p (`float`, *optional*, defaults to `1.0`):
            Cumulative probability of the most likely tokens to keep.
        top_k (`int`, *optional*, defaults to `0`):
            Number of most likely tokens kept; `0` keeps all.
        min_p (`float`, *optional*):
            Minimum probability of a token to keep, relative to that of the most likely token.
        stop_strings (`tuple[str, ...]`, *optional*, defaults to `()`):
            Texts that end a completion. The token that completes one is the last of the token ids.
        pause_between (`tuple[str, str]`, *optional*):
            Two texts. As soon as the second follows the first, the completion is returned unfinished, so that a tool
            can be called (`("<<", "=")` for a calculator).
        pause_at_eos (`bool`, *optional*, defaults to `False`):
            Whether a completion that ends with an EOS token may go on, as in a conversation. Its finish reason is
            `"eos"` all the same.
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
    pause_at_eos: bool = False
    logprobs: bool = False
    generation_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def resumable(self) -> frozenset[FinishReason]:
        """Finish reasons of completions that may go on."""
        return frozenset(("pause", "eos") if self.pause_at_eos else ("pause",))


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """
    One completion to generate.

    Args:
        prompt_ids (`list[int]`):
            Token ids of the prompt, unpadded. Reading them may make a new list: what is appended to it is lost.
        seed (`int`):
            Seed of the request's own random stream. The completion is a function of the model, the prompt, the
            parameters and this number, and of nothing else in the batch.
        max_new_tokens (`int`, *optional*):
            Maximum number of tokens that this request may generate, if lower than that of the parameters. It limits
            the rest of a completion that was paused.
    """

    prompt_ids: list[int]
    seed: int
    max_new_tokens: int | None = None

    def limit(self, params: SamplingParams) -> int:
        """Returns the maximum number of tokens that the request may generate with the given parameters."""
        return min(self.max_new_tokens or params.max_new_tokens, params.max_new_tokens)


held_prompt_ids = packed_field(GenerationRequest, "prompt_ids", lambda ids: ids, as_list)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOutput:
    """
    One completion.

    Args:
        index (`int`):
            Position of its request in the sequence that the engine was given.
        token_ids (`list[int]`):
            Sampled token ids, including the EOS token or the tokens of the stop string that ended the completion.
        finish_reason (`"eos"`, `"stop"`, `"length"` or `"pause"`):
            What ended it: an EOS token, a stop string, `max_new_tokens` or `pause_between`.
        logprobs (`list[float]`, *optional*):
            Log-probability (natural logarithm) of each token under the model at temperature 1, before top-p, top-k and
            min-p. Only set if the parameters ask for it.
    """

    index: int
    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[float] | None = None


class Resume(Protocol):
    """Continues completions that pause. Its methods are called in the thread of the engine."""

    def begin(self, output: GenerationOutput) -> "Future[Any] | None":
        """
        Begins to work out what follows a paused completion, in another thread. Returns None for a completion that ends
        there.
        """

    def request(self, output: GenerationOutput, result: Any) -> GenerationRequest | None:
        """
        Returns what to generate next, for the result of the future, or None for a completion that ends where it
        paused. The prompt of the new request begins with the old prompt, and prompt and limit together are no longer
        than those of the old request. An engine need not compute again what it shares with the tokens that were
        generated.
        """


# Number of requests that are handled together by an engine that starts over after a pause. Only whole completions are
# recorded, and most are whole after a few rounds. With fewer requests, a crash loses less.
REQUESTS_AT_A_TIME = 1024


def check_index(index: Any, count: int, answered: set[int], engine: object) -> None:
    """
    Checks the index of an output, and adds it to those that are answered.

    Args:
        index (`int`):
            Index that the engine gave.
        count (`int`):
            Number of requests.
        answered (`set[int]`):
            Requests that are answered.
        engine (`object`):
            The engine, for the messages.

    Raises:
        `RuntimeError`: If there is no request with this index, or it is answered already.
    """
    if type(index) is not int or not 0 <= index < count:
        raise RuntimeError(
            f"The engine `{type(engine).__name__}` gave `index={index!r}`, but the requests are numbered from 0 to "
            f"{count - 1}."
        )
    if index in answered:
        raise RuntimeError(
            f"The engine `{type(engine).__name__}` answered the request {index} twice. It must yield one "
            "output for each request. One of the two may be the answer to another request, and recorded already: "
            "delete the `samples-*` of this iteration, or its `eval*` after an evaluation, and resume the run."
        )
    answered.add(index)


class Engine(Protocol):
    """
    Generates completions. Every call gets the model, unwrapped and in evaluation mode, so an engine cannot sample from
    a stale policy. Completions are yielded as they finish, in any order.

    Attributes:
        fallback_warnings (`Sequence[str]`):
            Slower methods that the engine has fallen back to so far, with one sentence for each reason. The metrics
            and the report show them.
    """

    fallback_warnings: Sequence[str] = ()

    def generate(
        self, model: PreTrainedModel, requests: Sequence[GenerationRequest], params: SamplingParams
    ) -> Iterator[GenerationOutput]:
        """
        Args:
            model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
                Model to sample from. It is in its original state whenever a completion is yielded.
            requests (`Sequence[GenerationRequest]`):
                What to complete.
            params ([`SamplingParams`]):
                How to sample.

        Yields:
            [`GenerationOutput`]: each completion when it is finished.
        """

    def generate_and_resume(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        params: SamplingParams,
        resume: Resume,
    ) -> Iterator[GenerationOutput]:
        """
        Generates completions that go on after a pause. This implementation starts over with the whole text after every
        pause, when all other completions have paused or ended as well. An engine that can hold a completion while
        others go on overrides it.

        Args:
            model ([`~transformers.PreTrainedModel`]):
                Model to sample from.
            requests (`Sequence[GenerationRequest]`):
                What to complete.
            params ([`SamplingParams`]):
                How to sample, with `pause_between` or `pause_at_eos`.
            resume ([`Resume`]):
                Continues the completions that pause.

        Yields:
            [`GenerationOutput`]: each completion when it is finished, with the tokens of its last request.
        """
        for start in range(0, len(requests), REQUESTS_AT_A_TIME):
            pending = dict(enumerate(requests[start : start + REQUESTS_AT_A_TIME], start))
            while pending:
                indices, paused, answered = list(pending), [], set[int]()
                for part in self.generate(model, list(pending.values()), params):
                    # An index of this round may be that of another request in the whole.
                    check_index(part.index, len(indices), answered, self)
                    output = replace(part, index=indices[part.index])
                    future = resume.begin(output) if output.finish_reason in params.resumable else None
                    if future is None:
                        yield output
                    else:
                        paused.append((output, future))
                pending = {}
                for output, future in paused:
                    request = resume.request(output, future.result())
                    if request is None:
                        yield output
                    else:
                        pending[output.index] = request


class ResumingEngine(Engine):
    """An engine that resumes a completion as soon as its result is there, while the others go on."""

    def generate(
        self, model: PreTrainedModel, requests: Sequence[GenerationRequest], params: SamplingParams
    ) -> Iterator[GenerationOutput]:
        return self._generate(model, requests, params, None)

    def generate_and_resume(
        self, model: PreTrainedModel, requests: Sequence[GenerationRequest], params: SamplingParams, resume: Resume
    ) -> Iterator[GenerationOutput]:
        return self._generate(model, requests, params, resume)

    @abstractmethod
    def _generate(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        params: SamplingParams,
        resume: Resume | None,
    ) -> Iterator[GenerationOutput]:
        """Generates completions. Without `resume`, a completion ends where it pauses."""
