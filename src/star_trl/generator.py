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
                Fields of [`~star_trl.generation.SamplingParams`] to replace for this call.

        Returns:
            `Iterator[Completion]`: As they finish, in any order.
        """
        params = replace(self.params, **overrides)
        stop_strings = StopStrings(self.tokenizer, params.stop_strings)
        requests = [GenerationRequest(prompt_ids=prompt.input_ids, seed=prompt.seed) for prompt in prompts]
        for output in self.engine.generate(self.model, requests, params):
            token_ids = self._finish(output, stop_strings)
            yield Completion(
                prompt=prompts[output.index],
                token_ids=token_ids,
                loss_mask=[True] * len(token_ids),
                finish_reason=output.finish_reason,
                logprobs=output.logprobs,
            )

    def _finish(self, output: GenerationOutput, stop_strings: StopStrings) -> list[int]:
        """Takes the stop string off and puts EOS in its place, so that the model learns to end there by itself."""
        if output.finish_reason != "stop":
            return output.token_ids
        token_ids = stop_strings.trim(output.token_ids)
        ended = bool(token_ids) and token_ids[-1] == self.tokenizer.eos_token_id
        return token_ids if ended else [*token_ids, self.tokenizer.eos_token_id]


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
