# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over vLLM, through TRL's own integration."""

from collections.abc import Iterator, Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.generation.vllm_generation import VLLMGeneration

from .engine import Engine, GenerationOutput, GenerationRequest, SamplingParams
from .stopping import StopStrings
from .token_sampler import check_logprobs_are_raw


class VLLMEngine(Engine):
    """
    Generates with vLLM, in the same process (`mode="colocate"`) or on a server (`mode="server"`).

    vLLM holds a copy of the weights. They are synchronized at the beginning of every call, so that it cannot sample
    from a stale policy. vLLM draws from its own random streams: with a temperature above 0, the text does not depend
    on the requests' seeds.

    All processes have to call the engine together, with any number of requests each.

    It is tested against TRL's `VLLMGeneration` with vLLM itself replaced, and has not been run on vLLM yet.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        accelerator ([`~accelerate.Accelerator`]):
            Accelerator that the model was prepared with.
        batch_size (`int`, *optional*, defaults to `256`):
            Number of completions that a process requests and yields together.
        **vllm_arguments:
            Arguments of [`~trl.generation.vllm_generation.VLLMGeneration`] that say how vLLM runs: `mode`,
            `server_base_url`, `tensor_parallel_size`, `gpu_memory_utilization`, ...
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        accelerator: Accelerator,
        batch_size: int = 256,
        **vllm_arguments: Any,
    ):
        self.tokenizer = tokenizer
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.vllm_arguments = vllm_arguments
        self._generation: VLLMGeneration | None = None

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
                How to sample. `generation_kwargs` are fields of vLLM's own sampling parameters.

        Yields:
            [`GenerationOutput`]: the completions of a batch, when the batch is finished.
        """
        if params.logprobs:
            check_logprobs_are_raw(params)
        if params.pause_between and self.accelerator.num_processes > 1:
            raise ValueError(
                "Completions that pause for a tool take a different number of calls on each process, but vLLM has to "
                "be called by all together. Use the default engine, or one process."
            )
        generation = self._prepare(model, params)
        generation.sync_weights()
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)

        # On a server and under tensor parallelism, every call is collective and needs the same number of prompts from
        # each process. Processes with fewer prompts pad with one whose completion is thrown away.
        counts = gather_object([len(requests)]) if self.accelerator.num_processes > 1 else [len(requests)]
        width = min(self.batch_size, max(counts))
        padding = requests[0].prompt_ids if requests else [0]
        for start in range(0, max(counts), self.batch_size):
            indices = range(start, min(start + self.batch_size, len(requests)))
            prompts = [requests[index].prompt_ids for index in indices]
            if self.accelerator.num_processes > 1:
                prompts += [padding] * (width - len(prompts))
            _, completions, logprobs, _ = generation.generate(prompts=prompts, images=None, num_generations=1)
            for row, index in enumerate(indices):
                # One log-probability per token, that of the token sampled
                sampled = [candidates[0] for candidates in logprobs[row]] if params.logprobs else None
                limit = requests[index].limit(params)
                yield stop_strings.cut(index, list(completions[row]), sampled, params, limit)

    def _prepare(self, model: PreTrainedModel, params: SamplingParams) -> VLLMGeneration:
        """Returns TRL's integration with this model and these parameters. vLLM itself starts at the first call."""
        if self._generation is None:
            self._generation = VLLMGeneration(
                model=model,
                accelerator=self.accelerator,
                processing_class=self.tokenizer,
                logprobs=0,  # of the sampled token alone
                **self.vllm_arguments,
            )
        generation = self._generation
        generation.model = model
        generation.temperature = params.temperature
        generation.top_p = params.top_p
        generation.top_k = params.top_k
        generation.min_p = params.min_p or 0.0
        generation.max_completion_length = params.max_new_tokens
        generation.generation_kwargs = {
            "stop": list(params.stop_strings),
            "stop_token_ids": sorted(params.eos_token_ids),
            **params.generation_kwargs,
        }
        return generation
