# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Between samplers and engines: prompts in, completions as they are trained on out."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.import_utils import is_vllm_available

from .generation import (
    ContinuousBatchingEngine,
    Engine,
    FinishReason,
    GenerationOutput,
    GenerationRequest,
    PrefixSharingEngine,
    SamplingParams,
    StopStrings,
    VLLMEngine,
)
from .samplers import Completion, Prompt
from .star_config import STaRConfig


class Generator:
    """
    The `generate` that samplers call.

    Args:
        engine ([`~star_trl.generation.Engine`]):
            What generates.
        model ([`~transformers.PreTrainedModel`]):
            The current policy.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        params ([`~star_trl.generation.SamplingParams`]):
            The sampler's settings.
    """

    def __init__(
        self,
        engine: Engine,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        params: SamplingParams,
    ):
        self.engine = engine
        self.model = model
        self.tokenizer = tokenizer
        self.params = params

    def __call__(self, prompts: Sequence[Prompt], **overrides: Any) -> Iterator[Completion]:
        """
        Generates one completion per prompt.

        Args:
            prompts (`list[Prompt]`):
                What to condition on.
            **overrides:
                Fields of [`~star_trl.generation.SamplingParams`] to replace for this call. `max_new_tokens` holds for
                the whole of a completion, what has begun already included.

        Returns:
            `Iterator[Completion]`: As they finish, in any order.
        """
        params = replace(self.params, **overrides)
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        # Of several tokens that a tool put in, some may be beyond the limit
        for prompt in prompts:
            if prompt.begun is not None and len(prompt.begun.token_ids) >= params.max_new_tokens:
                yield _cut(prompt.begun, params.max_new_tokens)
        prompts = [prompt for prompt in prompts if _num_begun(prompt) < params.max_new_tokens]
        requests = [_request(prompt, params) for prompt in prompts]
        for output in self.engine.generate(self.model, requests, params):
            token_ids, logprobs = self._finish(output, stop_strings)
            yield _joined(prompts[output.index], token_ids, output.finish_reason, logprobs)

    def _finish(self, output: GenerationOutput, stop_strings: StopStrings) -> tuple[list[int], list[float] | None]:
        """Takes the stop string off and puts EOS in its place, so that the model learns to end there by itself."""
        if output.finish_reason != "stop":
            return output.token_ids, output.logprobs
        token_ids = stop_strings.trim(output.token_ids)
        if token_ids and token_ids[-1] == self.tokenizer.eos_token_id:
            token_ids = token_ids[:-1]
        # The model did not draw that EOS.
        logprobs = None if output.logprobs is None else [*output.logprobs[: len(token_ids)], 0.0]
        return [*token_ids, self.tokenizer.eos_token_id], logprobs


def _num_begun(prompt: Prompt) -> int:
    return 0 if prompt.begun is None else len(prompt.begun.token_ids)


def _request(prompt: Prompt, params: SamplingParams) -> GenerationRequest:
    if prompt.begun is None:
        return GenerationRequest(prompt_ids=prompt.input_ids, seed=prompt.seed)
    return GenerationRequest(
        prompt_ids=prompt.input_ids + prompt.begun.token_ids,
        seed=seed_of(prompt.seed, _num_begun(prompt)),  # another stream than that of the tokens before
        max_new_tokens=params.max_new_tokens - _num_begun(prompt),
    )


def _joined(
    prompt: Prompt, token_ids: list[int], finish_reason: FinishReason, logprobs: list[float] | None
) -> Completion:
    """What was generated now, behind what had begun before."""
    begun = prompt.begun or Completion(prompt=prompt, token_ids=[], loss_mask=[], finish_reason="pause")
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


def make_engine(args: STaRConfig, tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator) -> Engine:
    """The engine that the configuration asks for."""
    if args.use_vllm:
        if not is_vllm_available():
            raise ImportError(
                "`use_vllm=True` needs vLLM, which is not installed. Install it with `pip install vllm`."
            )
        return VLLMEngine(
            tokenizer,
            accelerator,
            args.generation_batch_size or 256,
            mode=args.vllm_mode,
            model_impl=args.vllm_model_impl,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            structured_outputs_regex=args.vllm_structured_outputs_regex,
            server_base_url=args.vllm_server_base_url,
            server_host=args.vllm_server_host,
            server_port=args.vllm_server_port,
            server_timeout=args.vllm_server_timeout,
            group_port=args.vllm_group_port,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=args.vllm_max_model_length,
            tensor_parallel_size=args.vllm_tensor_parallel_size,
            trust_remote_code=args.trust_remote_code,
        )
    if args.use_transformers_continuous_batching:
        return ContinuousBatchingEngine(tokenizer, args.generation_batch_size or 256)
    return PrefixSharingEngine(tokenizer, args.generation_batch_size)


def seed_of(*parts: object) -> int:
    """A seed of 63 bits made from whatever identifies a random stream, the same in every process and Python."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
