# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over transformers' continuous batching."""

from collections.abc import Iterator, Sequence

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from .engine import Engine, GenerationOutput, GenerationRequest, SamplingParams, held_prompt_ids
from .generate_engine import check_arguments
from .memory import memory_to_use
from .model_state import base_model, evaluation_mode
from .stopping import StopStrings
from .token_sampler import check_logprobs_are_raw


PAGE_SIZE = 256
# On a CPU the attention of every token runs over the whole cache, so few requests at a time are faster than many.
REQUESTS_AT_A_TIME_ON_CPU = 4


class ContinuousBatchingEngine(Engine):
    """
    Generates with `generate_batch` of transformers, which uses paged attention and batches prompts of all lengths.

    Stop strings are applied to the finished completions. All tokens are drawn from one random stream. With a
    temperature above 0, a completion therefore depends on the other requests and not on its request's seed.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        batch_size (`int`, *optional*, defaults to `256`):
            Number of completions that are generated and yielded together.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, batch_size: int = 256):
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    @torch.no_grad()
    def generate(
        self, model: PreTrainedModel, requests: Sequence[GenerationRequest], params: SamplingParams
    ) -> Iterator[GenerationOutput]:
        """
        Args:
            model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
                Model to sample from.
            requests (`Sequence[GenerationRequest]`):
                What to complete.
            params ([`SamplingParams`]):
                How to sample.

        Yields:
            [`GenerationOutput`]: the completions of a batch, when the batch is finished.

        Raises:
            `RuntimeError`: a completion failed, or is missing because the background thread of transformers died.
        """
        check_arguments(requests, params)
        if params.logprobs:
            check_logprobs_are_raw(params)
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        order = sorted(range(len(requests)), key=lambda index: -len(held_prompt_ids(requests[index])))
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            yield from self._generate_batch(model, requests, indices, params, stop_strings)

    def _generate_batch(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        indices: list[int],
        params: SamplingParams,
        stop_strings: StopStrings,
    ) -> list[GenerationOutput]:
        base = base_model(model)
        prompts = [requests[index].prompt_ids for index in indices]
        sampling = {
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k,
            "min_p": params.min_p,
        }
        with evaluation_mode(model):
            results = base.generate_batch(  # type: ignore[operator]
                prompts,
                generation_config=GenerationConfig(
                    max_new_tokens=params.max_new_tokens,
                    # -1 matches no token. Without an EOS token, transformers warns and sets the same value.
                    eos_token_id=sorted(params.eos_token_ids) or -1,
                    do_sample=params.temperature > 0.0,
                    **(sampling if params.temperature > 0.0 else {}),
                    **params.generation_kwargs,
                ),
                continuous_batching_config=ContinuousBatchingConfig(
                    page_size=PAGE_SIZE,
                    num_blocks=num_blocks(base, prompts, params.max_new_tokens),
                    return_logprobs=params.logprobs,
                    drop_unsupported_processors=False,
                    seed=requests[indices[0]].seed,
                ),
            )
        errors = [result.error for result in results.values() if result.error is not None]
        if errors or len(results) != len(prompts):
            raise RuntimeError(
                f"Continuous batching returned {len(results)} of {len(prompts)} completions, {len(errors)} of them "
                f"failed{': ' + errors[0] if errors else ''}. Its log above says why; the prefix-sharing engine (the "
                "default) and `generate` do not use it."
            )
        return [
            stop_strings.cut(
                index,
                result.generated_tokens,
                result.logprobs if params.logprobs else None,
                params,
                requests[index].limit(params),
            )
            for index, result in zip(indices, results.values(), strict=True)
        ]


def num_blocks(model: PreTrainedModel, prompts: list[list[int]], max_new_tokens: int) -> int:
    """
    Returns the number of cache blocks: as many as all prompts need, within the available memory. By default
    transformers takes most of the machine's memory, whatever the prompts.
    """
    config = model.config.get_text_config()
    settings = config.to_dict()
    head_dim = settings.get("head_dim") or config.hidden_size // config.num_attention_heads
    kv_heads = settings.get("num_key_value_heads") or config.num_attention_heads
    bytes_per_token = 2 * config.num_hidden_layers * kv_heads * head_dim * model.dtype.itemsize
    blocks = [-(-(len(prompt) + max_new_tokens) // PAGE_SIZE) for prompt in prompts]
    if model.device.type == "cpu":
        blocks = sorted(blocks)[-REQUESTS_AT_A_TIME_ON_CPU:]
    return max(min(sum(blocks), memory_to_use(model.device) // (bytes_per_token * PAGE_SIZE)), max(blocks))
