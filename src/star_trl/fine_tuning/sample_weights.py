# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Weights of the samples in the gradient.

STaR maximizes J(M) = sum_i E_{(r, y) ~ M(. | x_i)} 1[y = y_i*] (section 3.1 of the paper). The gradient of a problem
is the expectation of R grad log M(r, y | x_i) over samples of M itself. Samples of another proposal q need the factor
M / q. Filtered fine-tuning leaves that factor out. The weights here put it back, or replace the indicator.

An expectation is estimated by a mean over draws, in which a completion that was drawn k times counts k times: see
`STaRConfig.counts_draws`. Weightings that give every token a weight of its own start from these weights, see
`token_terms.py`. A draw that could not be judged, because a reward function failed or none applies, has no R.
It is left out of the mean and is not counted as a draw.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean

import torch

from ..ledger.sample import Sample
from ..star_config import STaRConfig


# Drop reasons of samples that the reward functions could not judge
NOT_JUDGED = ("error", "unverified")


def sample_weights(
    selected: Sequence[Sample],
    samples: Sequence[Sample],
    args: STaRConfig,
    policy_logprobs: Callable[[Sequence[Sample]], list[float]],
) -> tuple[list[float], dict[str, float]]:
    """
    Computes the weights of the samples that are trained on.

    Args:
        selected (`list[Sample]`):
            Samples that are trained on.
        samples (`list[Sample]`):
            All samples of the same iterations, kept or not.
        args ([`STaRConfig`]):
            Configuration, for `sample_weighting` and `loss_normalization`.
        policy_logprobs (`Callable[[list[Sample]], list[float]]`):
            Returns log-probabilities (in nats) of samples given the prompt without the hint, under the model that
            sampled.

    Returns:
        `tuple[list[float], dict[str, float]]`: One weight per selected sample, and metrics. With
        `loss_normalization="problems"`, each weight is divided by the number of problems sampled, and by the number of
        samples that its sampler drew for its problem, so that the weighted terms add up to an estimate of the
        gradient. Samples that could not be judged are not counted.
    """
    metrics: dict[str, float] = {}
    judged = [sample for sample in samples if sample.drop_reason not in NOT_JUDGED]
    if args.sample_weighting == "importance":
        weights, metrics = _importance_weights(selected, args, policy_logprobs(selected))
    elif args.sample_weighting == "reward":
        weights = [_reward(sample, args) for sample in selected]
        if min(weights, default=0.0) < 0:
            raise ValueError(
                f"`sample_weighting='reward'` would weigh a kept sample by its reward {min(weights):g}. A negative "
                "weight drives the model away from it. Use rewards that are not negative for kept samples, or "
                "`sample_weighting='advantage'`."
            )
    elif args.sample_weighting in ("advantage", "teacher_advantage"):
        weights = _advantages(selected, judged, args)
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


def _advantages(selected: Sequence[Sample], judged: Sequence[Sample], args: STaRConfig) -> list[float]:
    """
    Computes the reward minus the mean of the *other* samples of the same problem, which keeps the gradient unbiased.
    The advantages of all draws of a problem add up to zero.
    """
    means = {
        group: (mean(_reward(sample, args) for sample in members), len(members))
        for group, members in _groups(judged).items()
    }
    advantages = []
    for sample in selected:
        average, count = means[_group(sample)]
        advantages.append((_reward(sample, args) - average) * count / (count - 1) if count > 1 else 0.0)
    return advantages


def _reward(sample: Sample, args: STaRConfig) -> float:
    """Returns the reward of a sample. It is 0 for an unfinished sample, which has failed whatever its text."""
    return 0.0 if sample.finish_reason in args.unfinished or sample.reward is None else sample.reward


def _group(sample: Sample) -> tuple[int, str, int]:
    return sample.iteration, sample.sampler, sample.problem_id


def _groups(samples: Sequence[Sample]) -> dict[tuple[int, str, int], list[Sample]]:
    groups = defaultdict(list)
    for sample in samples:
        groups[_group(sample)].append(sample)
    return groups
