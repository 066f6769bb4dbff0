# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
How much a sample counts in the gradient.

STaR maximizes J(M) = sum_i E_{(r, y) ~ M(. | x_i)} 1[y = y_i*] (section 3.1 of the paper). The gradient of a problem
is the expectation of R grad log M(r, y | x_i), for samples of M itself; a proposal q other than M needs the factor
M / q. Filtered fine-tuning leaves that factor out. The weights here put it back, or replace the indicator.

An expectation is a mean over draws, in which a completion that was drawn k times stands for k terms: see
`STaRConfig.counts_draws`. A draw that could not be judged, because a reward function failed or none applies, has no R.
It is no term, and not one of the draws that the mean is over.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import pad, selective_log_softmax

from .ledger import Sample
from .star_config import STaRConfig


# Sequences in one forward pass for their log-probabilities.
BATCH_SIZE = 8
# What keeps the reward functions from saying whether a sample is right
NOT_JUDGED = ("error", "unverified")


def sample_weights(
    selected: Sequence[Sample],
    samples: Sequence[Sample],
    args: STaRConfig,
    policy_logprobs: Callable[[Sequence[Sample]], list[float]],
) -> tuple[list[float], dict[str, float]]:
    """
    Weights of the samples that are trained on.

    Args:
        selected (`list[Sample]`):
            Samples that are trained on.
        samples (`list[Sample]`):
            All samples of their iterations, kept or not.
        args ([`STaRConfig`]):
            Configuration, for `sample_weighting` and `loss_normalization`.
        policy_logprobs (`Callable[[list[Sample]], list[float]]`):
            Log-probabilities (in nats) of samples behind the prompt without the hint, under the model that sampled.

    Returns:
        `tuple[list[float], dict[str, float]]`: One weight per selected sample, and metrics. With
        `loss_normalization="problems"` the weights add up to an estimate: each is divided by the number of problems
        sampled, and by the number of samples that its sampler drew for its problem. Samples that could not be judged
        are not counted.
    """
    metrics: dict[str, float] = {}
    judged = [sample for sample in samples if sample.drop_reason not in NOT_JUDGED]
    if args.sample_weighting == "importance":
        weights, metrics = _importance_weights(selected, args, policy_logprobs(selected))
    elif args.sample_weighting == "reward":
        weights = [_reward(sample) for sample in selected]
    elif args.sample_weighting == "advantage":
        weights = _advantages(selected, judged)
    else:
        weights = [1.0] * len(selected)
    if args.loss_normalization == "problems":
        groups = _groups(judged)
        num_problems = len({(sample.iteration, sample.problem_id) for sample in judged})
        weights = [
            weight / (num_problems * len(groups[_group(sample)]))
            for weight, sample in zip(weights, selected, strict=True)
        ]
    return weights, metrics


def _importance_weights(
    selected: Sequence[Sample], args: STaRConfig, policy_logprobs: Sequence[float]
) -> tuple[list[float], dict[str, float]]:
    drawn = torch.tensor([sample.logprob for sample in selected], dtype=torch.float64)
    raw = (torch.tensor(policy_logprobs, dtype=torch.float64) - drawn).exp()
    weights = raw if args.importance_sampling_cap is None else raw.clamp(max=args.importance_sampling_cap)
    metrics = {
        "importance/mean": raw.mean().item(),
        "importance/max": raw.max().item(),
        "importance/capped_ratio": (raw > weights).double().mean().item(),
        # Kish's effective sample size, as a share of the samples
        "importance/effective_sample_size": (weights.sum() ** 2 / (weights**2).sum() / len(weights)).item(),
    }
    if args.importance_sampling_self_normalize:
        weights = weights / weights.mean()
    return weights.tolist(), metrics


def _advantages(selected: Sequence[Sample], judged: Sequence[Sample]) -> list[float]:
    """
    The reward minus the mean of the *other* samples of the same problem, which keeps the gradient unbiased. The
    advantages of all draws of a problem add up to zero.
    """
    means = {group: (mean(map(_reward, members)), len(members)) for group, members in _groups(judged).items()}
    advantages = []
    for sample in selected:
        average, count = means[_group(sample)]
        advantages.append((_reward(sample) - average) * count / (count - 1) if count > 1 else 0.0)
    return advantages


def _reward(sample: Sample) -> float:
    """Its reward; nothing for a sample that was cut, which is a failure whatever its text ends with."""
    return 0.0 if sample.truncated or sample.reward is None else sample.reward


def _group(sample: Sample) -> tuple[int, str, int]:
    return sample.iteration, sample.sampler, sample.problem_id


def _groups(samples: Sequence[Sample]) -> dict[tuple[int, str, int], list[Sample]]:
    groups = defaultdict(list)
    for sample in samples:
        groups[_group(sample)].append(sample)
    return groups


@torch.no_grad()
def sequence_logprobs(
    model: PreTrainedModel, prompts: Sequence[list[int]], samples: Sequence[Sample], pad_token_id: int
) -> list[float]:
    """
    Log-probabilities of completions behind given prompts, in nats: the sum over the tokens that the model sampled,
    without those that a tool put in and the EOS that took the place of a stop string.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, in evaluation mode.
        prompts (`list[list[int]]`):
            Token ids to condition on, one list for each sample.
        samples (`list[Sample]`):
            The samples.
        pad_token_id (`int`):
            Padding token.

    Returns:
        `list[float]`: One sum per sample.
    """
    sums: list[float] = []
    for start in range(0, len(samples), BATCH_SIZE):
        part = samples[start : start + BATCH_SIZE]
        masks = [_sampled_tokens(sample) for sample in part]
        sums += summed_logprobs(model, prompts[start : start + BATCH_SIZE], part, masks, pad_token_id).tolist()
    return sums


def summed_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    samples: Sequence[Sample],
    masks: Sequence[list[bool]],
    pad_token_id: int,
) -> torch.Tensor:
    """
    One forward pass: a tensor of shape (samples,), the log-probability of each completion behind its prompt, summed
    over the tokens that its mask has.
    """
    rows = [torch.tensor(prompt + sample.completion_ids) for prompt, sample in zip(prompts, samples, strict=True)]
    # Padded on the left, so that the completions of all rows end where the logits that are kept do.
    padded: dict[str, Any] = {"padding_side": "left"}
    input_ids = pad(rows, padding_value=pad_token_id, **padded).to(model.device)
    attention_mask = pad([torch.ones_like(row) for row in rows], padding_value=0, **padded).to(model.device)
    summed = pad([torch.tensor(mask) for mask in masks], padding_value=False, **padded)
    length = summed.shape[1]
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=length + 1,
        use_cache=False,
    ).logits
    logprobs = selective_log_softmax(logits[:, :-1].float(), input_ids[:, -length:])
    return (logprobs * summed.to(logprobs.device)).sum(-1)


def _sampled_tokens(sample: Sample) -> list[bool]:
    """Which tokens the model drew: not those of a tool, nor the EOS that stands in for a stop string."""
    return [*sample.loss_mask[:-1], False] if sample.finish_reason == "stop" else sample.loss_mask
