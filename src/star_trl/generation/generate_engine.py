# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine that works for every model: `generate` on left-padded batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.utils import logging

from .engine import Engine, FinishReason, GenerationOutput, GenerationRequest, SamplingParams, held_prompt_ids
from .memory import unless_out_of_memory
from .model_state import base_model, evaluation_mode
from .stopping import StopStrings
from .token_sampler import WARPER_FIELDS, TokenSampler, draw_uniforms, sampled_logprobs


logger = logging.get_logger(__name__)

# Fields of `generation_kwargs` that are refused. This package sets them itself, or they do not give one completion per
# request.
RESERVED_FIELDS = frozenset(
    {
        *("max_new_tokens", "max_length", "eos_token_id", "temperature", "top_p", "top_k", "min_p", "stop_strings"),
        *("do_sample", "num_beams", "num_return_sequences", "watermarking_config", "max_time", "use_cache"),
        *("return_dict_in_generate", "output_logits", "output_scores", "output_attentions", "output_hidden_states"),
    }
)


class GenerateEngine(Engine):
    """
    Generates with [`~transformers.GenerationMixin.generate`], one batch after the other. Prompts are sorted by length
    and left padded to the longest of their batch.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model: its padding token, and the text for stop strings.
        batch_size (`int`, *optional*, defaults to `16`):
            Number of completions generated together. It is halved when memory runs out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, batch_size: int = 16):
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
        """
        check_arguments(requests, params)
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        # Longest first, so that the first batch shows whether the memory suffices
        order = sorted(range(len(requests)), key=lambda index: -len(held_prompt_ids(requests[index])))
        batch_size = self.batch_size
        while order:
            indices = order[:batch_size]
            outputs = unless_out_of_memory(
                partial(self._generate_batch, model, requests, indices, params, stop_strings), smaller=len(indices) > 1
            )
            if outputs is None:
                batch_size = len(indices) // 2
                logger.warning(f"Out of memory: generating {batch_size} completions at a time from here on.")
                continue
            yield from outputs
            order = order[batch_size:]

    def _generate_batch(
        self,
        model: PreTrainedModel,
        requests: Sequence[GenerationRequest],
        indices: list[int],
        params: SamplingParams,
        stop_strings: StopStrings,
    ) -> list[GenerationOutput]:
        device = base_model(model).device
        prompts = [requests[index].prompt_ids for index in indices]
        width = max(len(prompt) for prompt in prompts)
        # The attention mask hides the padding, so any token serves where the tokenizer has none
        pad_token_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        input_ids = torch.tensor([[pad_token_id] * (width - len(prompt)) + prompt for prompt in prompts])
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        attention_mask = (torch.arange(width) >= width - lengths[:, None]).long()

        uniforms = torch.stack([draw_uniforms(requests[index].seed, params.max_new_tokens) for index in indices])
        limits = [requests[index].limit(params) for index in indices]
        ends = CompletionEnds(params.eos_token_ids, stop_strings, width, limits)
        with evaluation_mode(model), blank_generation_config(model):
            output = model.generate(  # type: ignore[operator]
                input_ids=input_ids.to(device),
                attention_mask=attention_mask.to(device),
                generation_config=GenerationConfig(
                    max_new_tokens=max(limits),
                    eos_token_id=sorted(params.eos_token_ids) or None,
                    pad_token_id=pad_token_id,
                    do_sample=False,
                    use_cache=True,
                    return_dict_in_generate=True,
                    # Raw logits: the scores that the processor below gets have passed through the processors of
                    # `generation_kwargs`
                    output_logits=params.logprobs,
                    **{name: value for name, value in params.generation_kwargs.items() if name not in WARPER_FIELDS},
                ),
                logits_processor=LogitsProcessorList([DrawToken(TokenSampler(params, device), uniforms, width)]),
                stopping_criteria=StoppingCriteriaList([ends]),
                # Each process generates its own number of batches
                synced_gpus=False,
            )

        tokens = output.sequences[:, width:]
        rows = tokens.tolist()
        if params.logprobs:
            steps = [sampled_logprobs(logits, tokens[:, step]) for step, logits in enumerate(output.logits)]
            logprobs = torch.stack(steps, dim=1).tolist()
        return [
            GenerationOutput(
                index=index,
                token_ids=rows[row][: ends.lengths[row]],
                finish_reason=ends.reasons[row],
                logprobs=logprobs[row][: ends.lengths[row]] if params.logprobs else None,
            )
            for row, index in enumerate(indices)
        ]


class DrawToken(LogitsProcessor):
    """
    Samples a token and masks all others, so that the greedy choice of `generate` is the sampled token.

    Args:
        sampler ([`TokenSampler`]):
            Draws the tokens.
        uniforms (`torch.Tensor` of shape `(batch, max_new_tokens)`):
            The rows' random streams.
        prompt_width (`int`):
            Width of the padded prompts.
    """

    def __init__(self, sampler: TokenSampler, uniforms: torch.Tensor, prompt_width: int):
        self.sampler = sampler
        self.uniforms = uniforms
        self.prompt_width = prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.sampler.greedy:
            return scores
        tokens = self.sampler(scores, self.uniforms[:, input_ids.shape[1] - self.prompt_width])
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens[:, None], 0.0)


class CompletionEnds(StoppingCriteria):
    """
    Records where and why each row ends.

    Args:
        eos_token_ids (`frozenset[int]`):
            Token ids that end a row.
        stop_strings ([`StopStrings`]):
            Texts that end a row.
        prompt_width (`int`):
            Width of the padded prompts.
        limits (`list[int]`):
            Maximum number of tokens of each row.

    Attributes:
        lengths (`list[int]`):
            Number of tokens of each completion.
        reasons (`list[str]`):
            What ended each completion.
    """

    def __init__(self, eos_token_ids: frozenset[int], stop_strings: StopStrings, prompt_width: int, limits: list[int]):
        self.eos_token_ids = eos_token_ids
        self.stop_strings = stop_strings
        self.prompt_width = prompt_width
        self.limits = limits
        self.lengths = [0] * len(limits)
        self.reasons: list[FinishReason] = ["length"] * len(limits)
        self._done = [False] * len(limits)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs) -> torch.Tensor:
        newest = input_ids[:, -1]
        may_stop = self.stop_strings.may_complete(newest).tolist()
        for row, token in enumerate(newest.tolist()):
            if self._done[row]:
                continue
            self.lengths[row] = input_ids.shape[1] - self.prompt_width
            if token in self.eos_token_ids:
                self._done[row], self.reasons[row] = True, "eos"
            elif may_stop[row] and (reason := self.stop_strings.reason(input_ids[row, self.prompt_width :].tolist())):
                self._done[row], self.reasons[row] = True, reason
            elif self.lengths[row] == self.limits[row]:
                self._done[row] = True
        return torch.tensor(self._done, device=input_ids.device)


def check_prompts(requests: Sequence[GenerationRequest]) -> None:
    """Raises `ValueError` for empty prompts."""
    empty = [index for index, request in enumerate(requests) if not len(held_prompt_ids(request))]
    if empty:
        raise ValueError(f"Requests {empty} have no prompt tokens. Begin them with a BOS token.")


def check_arguments(requests: Sequence[GenerationRequest], params: SamplingParams) -> None:
    """Raises `ValueError` for empty prompts, and for `generation_kwargs` that the engines would ignore."""
    check_prompts(requests)
    reserved = sorted(RESERVED_FIELDS & params.generation_kwargs.keys())
    if reserved:
        raise ValueError(
            f"`generation_kwargs` contains {reserved}, which the sampling parameters set or which do not give one "
            "completion per request. Use the parameters of the same name where there is one, and leave out the others."
        )


@contextmanager
def blank_generation_config(model: PreTrainedModel) -> Iterator[None]:
    """
    Suspends the model's own generation defaults, such as a repetition penalty from its `generation_config.json`. They
    would fill in whatever the sampling parameters leave open, and no other engine would apply them.
    """
    owner = base_model(model)
    generation_config = owner.generation_config
    owner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        owner.generation_config = generation_config
