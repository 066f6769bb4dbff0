# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Sampling of tokens from next-token logits, with one random stream per row."""

import torch
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from .engine import SamplingParams


# Fields of `generation_kwargs` that warp the sampling distribution. They have no effect on greedy decoding.
WARPER_FIELDS = frozenset({"top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"})


def draw_uniforms(seed: int, num_tokens: int) -> torch.Tensor:
    """
    Draws the random stream of one request, one number per token.

    The stream is drawn on the CPU, from its own generator. The numbers depend on the seed alone, and not on the batch,
    the device or the tokens already sampled.

    Args:
        seed (`int`):
            Seed of the request.
        num_tokens (`int`):
            Maximum number of tokens that the request may generate.

    Returns:
        `torch.Tensor` of shape `(num_tokens,)` and type `torch.float64`, in `[0, 1)`.
    """
    return torch.rand(num_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TokenSampler:
    """
    Draws the next token of every row: the most likely one at temperature 0, otherwise the one at which the cumulative
    probability passes the row's uniform number.

    Args:
        params ([`SamplingParams`]):
            Temperature and truncation of the distribution, applied by the warpers of transformers in the order of
            [`~transformers.GenerationMixin.generate`].
        device (`torch.device`):
            Where the logits will be.
    """

    def __init__(self, params: SamplingParams, device: torch.device):
        self.greedy = params.temperature == 0.0
        self.warpers = LogitsProcessorList()
        if self.greedy:
            return
        extra = params.generation_kwargs
        if params.temperature != 1.0:
            self.warpers.append(TemperatureLogitsWarper(params.temperature))
        if extra.get("top_h") is not None:
            self.warpers.append(TopHLogitsWarper(extra["top_h"]))
        if params.top_k:
            self.warpers.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1.0:
            self.warpers.append(TopPLogitsWarper(params.top_p))
        if params.min_p is not None:
            self.warpers.append(MinPLogitsWarper(params.min_p))
        if extra.get("typical_p") is not None:
            self.warpers.append(TypicalLogitsWarper(extra["typical_p"]))
        if extra.get("epsilon_cutoff") is not None:
            self.warpers.append(EpsilonLogitsWarper(extra["epsilon_cutoff"]))
        if extra.get("eta_cutoff") is not None:
            self.warpers.append(EtaLogitsWarper(extra["eta_cutoff"], device=str(device)))

    def __call__(self, logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """
        Args:
            logits (`torch.Tensor` of shape `(batch, vocabulary)`):
                Next-token logits.
            uniforms (`torch.Tensor` of shape `(batch,)`):
                One number in `[0, 1)` per row, see [`draw_uniforms`]. Not read by greedy decoding.

        Returns:
            `torch.Tensor` of shape `(batch,)`: the token ids.
        """
        if self.greedy:
            return most_likely(logits)
        # None of the warpers above reads the tokens so far
        scores = self.warpers(None, logits.float())  # type: ignore[arg-type]
        # In float64 the sum over a large vocabulary keeps the tails apart. Tokens without probability do not raise the
        # sum, so the search cannot end on one.
        cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
        targets = uniforms.to(logits.device)[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, targets, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def most_likely(logits: torch.Tensor) -> torch.Tensor:
    """
    Returns the token with the highest logit in each row, the first one of equals.

    Args:
        logits (`torch.Tensor` of shape `(batch, vocabulary)`):
            Next-token logits.

    Returns:
        `torch.Tensor` of shape `(batch,)`: the token ids.
    """
    if logits.device.type != "cpu" or logits.dtype not in (torch.bfloat16, torch.float16):
        return logits.argmax(dim=-1)
    # On a CPU, `argmax` is slow in half precision. A few rows at a time are converted within the cache.
    return torch.cat([rows.float().argmax(dim=-1) for rows in logits.split(16)])


def sampled_logprobs(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """
    Returns the log-probabilities of the sampled tokens under the model itself: temperature 1, nothing truncated.

    Args:
        logits (`torch.Tensor` of shape `(batch, vocabulary)`):
            Next-token logits as the model returned them.
        token_ids (`torch.Tensor` of shape `(batch,)`):
            The tokens drawn.

    Returns:
        `torch.Tensor` of shape `(batch,)` and type `torch.float32`, in nats.
    """
    logits = logits.float()
    return logits.gather(-1, token_ids[:, None]).squeeze(-1) - logits.logsumexp(dim=-1)


def check_logprobs_are_raw(params: SamplingParams) -> None:
    """
    Raises `ValueError` if the sampling distribution is not the model's own. Used by engines whose log-probabilities
    are those of the sampling distribution.
    """
    truncated = params.top_p < 1.0 or params.top_k or params.min_p
    if params.generation_kwargs or params.temperature not in (0.0, 1.0) or (params.temperature and truncated):
        raise ValueError(
            "This engine returns log-probabilities after temperature, truncation and `generation_kwargs`. For those "
            f"of the model, sample at temperature 1 without truncation, or use another engine. Got {params}."
        )
