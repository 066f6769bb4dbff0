# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Connects samplers to engines: turns prompts into completions in the form that they are trained on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..generation import (
    Engine,
    FinishReason,
    GenerationOutput,
    GenerationRequest,
    SamplingParams,
    StopStrings,
)
from ..generation.answers import check_output, check_outputs
from ..generation.engine import check_index
from ..samplers import Completion, Pauses, Prompt
from ..samplers.base import held_input_ids
from ..seeds import seed_of


class Generator:
    """
    Generates completions; the `generate` that samplers call.

    Args:
        engine ([`~star_trl.generation.Engine`]):
            Engine that generates.
        model ([`~transformers.PreTrainedModel`]):
            The current policy.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        params ([`~star_trl.generation.SamplingParams`]):
            Sampling parameters of the sampler.
        encode (`Callable`, *optional*):
            Turns rows and the column of their prompts into token ids.
        encode_results (`Callable`, *optional*):
            Turns messages of tools into token ids.
        max_prompt_length (`int`, *optional*):
            Number of tokens of a prompt that a whole completion fits behind.
    """

    def __init__(
        self,
        engine: Engine,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        params: SamplingParams,
        encode: Callable[[Sequence[dict[str, Any]], str], list[list[int]]] | None = None,
        encode_results: Callable[[list[dict[str, Any]]], list[int]] | None = None,
        max_prompt_length: int | None = None,
    ):
        self.engine = engine
        self.model = model
        self.tokenizer = tokenizer
        self.params = params
        self.encode = encode
        self.encode_results = encode_results
        self.max_prompt_length = max_prompt_length

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return self.params.eos_token_ids

    @property
    def max_completion_length(self) -> int:
        return self.params.max_new_tokens

    def __call__(
        self, prompts: Sequence[Prompt], pauses: Pauses | None = None, **overrides: Any
    ) -> Iterator[Completion]:
        """
        Generates one completion per prompt.

        Args:
            prompts (`list[Prompt]`):
                Prompts to complete.
            pauses ([`~star_trl.samplers.Pauses`], *optional*):
                Continues completions that pause at `pause_between`.
            **overrides:
                Fields of [`~star_trl.generation.SamplingParams`] to replace for this call. `max_new_tokens` is the
                limit of a whole completion, including the part that has been generated before.

        Returns:
            `Iterator[Completion]`: The completions as they finish, in any order.

        Raises:
            `ValueError`: If `max_new_tokens` is more than the limit of the configuration. Nothing is generated then.
        """
        params = replace(self.params, **overrides)
        if params.max_new_tokens > self.params.max_new_tokens:
            raise ValueError(
                f"A sampler generates with `max_new_tokens={params.max_new_tokens}`, but a completion has at most "
                f"`max_completion_length={self.params.max_new_tokens}` tokens. Give a smaller `max_new_tokens`, or "
                "set a larger `max_completion_length` in `STaRConfig`."
            )
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        # The output of a tool may end beyond the limit.
        for prompt in prompts:
            if prompt.begun is not None and len(prompt.begun.token_ids) >= params.max_new_tokens:
                yield _cut(prompt.begun, params.max_new_tokens)
        prompts = [prompt for prompt in prompts if _num_begun(prompt) < params.max_new_tokens]
        requests = [_request(prompt, params) for prompt in prompts]
        if pauses is None:
            outputs = self.engine.generate(self.model, requests, params)
        else:
            resume = _Resume(prompts, requests, params, stop_strings, pauses, self.engine)
            outputs = self.engine.generate_and_resume(self.model, requests, params, resume)
        for output in check_outputs(outputs, requests, params, stop_strings, self.engine):
            prompt = prompts[output.index]
            if _num_begun(prompt) >= params.max_new_tokens:
                yield _cut(cast(Completion, prompt.begun), params.max_new_tokens)
            else:
                token_ids, logprobs = self._finish(output, stop_strings)
                yield _joined(prompt, token_ids, output.finish_reason, logprobs)

    def _finish(self, output: GenerationOutput, stop_strings: StopStrings) -> tuple[list[int], list[float] | None]:
        """Replaces the stop string by EOS, so that the model learns to end there by itself."""
        if output.finish_reason != "stop":
            return output.token_ids, output.logprobs
        token_ids = stop_strings.trim(output.token_ids)
        if token_ids and token_ids[-1] == self.tokenizer.eos_token_id:
            token_ids = token_ids[:-1]
        # The model did not draw that EOS.
        logprobs = None if output.logprobs is None else [*output.logprobs[: len(token_ids)], 0.0]
        return [*token_ids, self.tokenizer.eos_token_id], logprobs


class _Resume:
    """
    Continues completions in an engine.

    Args:
        prompts (`list[Prompt]`):
            The prompts. Each is replaced when its completion goes on.
        requests (`list[GenerationRequest]`):
            The requests. Each is replaced when its completion goes on.
        params ([`~star_trl.generation.SamplingParams`]):
            Sampling parameters.
        stop_strings ([`~star_trl.generation.StopStrings`]):
            Stop strings and pauses of these parameters.
        pauses ([`~star_trl.samplers.Pauses`]):
            Continues the completions.
        engine ([`~star_trl.generation.Engine`]):
            The engine, whose outputs are checked.
    """

    def __init__(
        self,
        prompts: list[Prompt],
        requests: list[GenerationRequest],
        params: SamplingParams,
        stop_strings: StopStrings,
        pauses: Pauses,
        engine: Engine,
    ):
        self.prompts = prompts
        self.requests = requests
        self.params = params
        self.stop_strings = stop_strings
        self.pauses = pauses
        self.engine = engine
        self.paused: set[int] = set()

    def begin(self, output: GenerationOutput) -> "Future[Any] | None":
        check_output(output, self.requests, self.params, self.stop_strings, self.engine)
        check_index(output.index, len(self.requests), self.paused, self.engine)
        return self.pauses.begin(self._completion(output))

    def request(self, output: GenerationOutput, result: Any) -> GenerationRequest | None:
        self.paused.remove(output.index)
        completion = self.pauses.end(self._completion(output), result)
        if completion is None:
            return None
        prompt = self.prompts[output.index] = replace(self.prompts[output.index], begun=completion)
        if _num_begun(prompt) >= self.params.max_new_tokens:
            return None
        request = self.requests[output.index] = _request(prompt, self.params)
        return request

    def _completion(self, output: GenerationOutput) -> Completion:
        return _joined(self.prompts[output.index], output.token_ids, output.finish_reason, output.logprobs)


def _num_begun(prompt: Prompt) -> int:
    return 0 if prompt.begun is None else len(prompt.begun.token_ids)


def _request(prompt: Prompt, params: SamplingParams) -> GenerationRequest:
    if prompt.begun is None:
        return GenerationRequest(prompt_ids=held_input_ids(prompt), seed=prompt.seed)
    return GenerationRequest(
        prompt_ids=prompt.input_ids + prompt.begun.token_ids,
        seed=seed_of(prompt.seed, _num_begun(prompt)),  # not the random stream of the earlier tokens
        max_new_tokens=params.max_new_tokens - _num_begun(prompt),
    )


def _joined(
    prompt: Prompt, token_ids: list[int], finish_reason: FinishReason, logprobs: list[float] | None
) -> Completion:
    """Appends the new tokens to the part of the completion that was generated before."""
    begun = prompt.begun
    if begun is None:
        return Completion(
            prompt=prompt,
            token_ids=token_ids.copy(),
            loss_mask=[True] * len(token_ids),
            finish_reason=finish_reason,
            logprobs=logprobs,
        )
    return replace(
        begun,
        token_ids=begun.token_ids + token_ids,
        loss_mask=begun.loss_mask + [True] * len(token_ids),
        finish_reason=finish_reason,
        logprobs=None if logprobs is None else (begun.logprobs or []) + logprobs,
    )


def _cut(completion: Completion, length: int) -> Completion:
    return replace(
        completion,
        token_ids=completion.token_ids[:length],
        loss_mask=completion.loss_mask[:length],
        finish_reason="length",
        logprobs=None if completion.logprobs is None else completion.logprobs[:length],
    )
