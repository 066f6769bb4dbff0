# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Selects the samples to train on from those that were kept: D_n and D_n^rat of the STaR paper."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..seeds import seed_of
from ..star_config import STaRConfig
from .sample import Sample


class NothingSurvives(RuntimeError):
    """Raised when no sample of the first iteration is kept, so that there is nothing to train on."""


def choose_samples(
    samples: Sequence[Sample], args: STaRConfig, threshold: float | None = None
) -> tuple[list[Sample], Counter[str]]:
    """
    Selects the samples to train on, by the settings of a run.

    Args:
        samples (`list[Sample]`):
            Samples of one or more iterations, kept or not.
        args ([`STaRConfig`]):
            Configuration.
        threshold (`float`, *optional*):
            Reward from which a sample is selectable, right or wrong. Right samples are by default.

    Returns:
        `tuple[list[Sample], Counter[str]]`: As [`select_samples`]. The reason `"threshold"` is that of right samples
        below the threshold.
    """
    if args.trains_on_failed:
        samples = with_failed(samples)
    elif threshold is not None:
        samples = at_threshold(samples, threshold)
    return select_samples(
        samples, args.max_samples_per_problem, args.sample_preference, all_draws=args.counts_draws, seed=args.seed
    )


def select_samples(
    samples: Sequence[Sample],
    max_samples_per_problem: int | None = None,
    preference: str = "first",
    all_draws: bool = False,
    seed: int = 0,
) -> tuple[list[Sample], Counter[str]]:
    """
    Selects the samples to train on, in the order given.

    Args:
        samples (`list[Sample]`):
            Samples of one or more iterations.
        max_samples_per_problem (`int`, *optional*):
            Maximum number of samples per problem.
        preference (`str`, *optional*, defaults to `"first"`):
            Which of them to select: the `"first"`, the `"shortest"`, the `"most_likely"` ones, or some at `"random"`.
        all_draws (`bool`, *optional*, defaults to `False`):
            Whether to keep all draws of a completion that was drawn several times, as an estimate of the gradient
            requires.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the `"random"` choice.

    Returns:
        `tuple[list[Sample], Counter[str]]`: The selected samples, and the number of dropped ones by reason. The reason
        is the `drop_reason` of a sample that is not kept, `"duplicate"` (the same token ids for the same problem) or
        `"cap"`.
    """
    selected: list[int] = []
    dropped: Counter[str] = Counter()
    seen = set()
    per_problem: Counter[int] = Counter()
    for index in sorted(range(len(samples)), key=lambda index: _rank(samples[index], preference, seed)):
        sample = samples[index]
        if sample.drop_reason is not None:
            dropped[sample.drop_reason] += 1
            continue
        identity = (sample.problem_id, sample.hint_shown, sample.token_bytes)
        if identity in seen and not all_draws:
            dropped["duplicate"] += 1
        elif max_samples_per_problem is not None and per_problem[sample.problem_id] >= max_samples_per_problem:
            dropped["cap"] += 1
        else:
            seen.add(identity)
            per_problem[sample.problem_id] += 1
            selected.append(index)
    return [samples[index] for index in sorted(selected)], dropped


def with_failed(samples: Sequence[Sample]) -> list[Sample]:
    """Makes the wrong and the truncated samples selectable as well, which advantages need."""
    failed = ("wrong", "truncated")
    return [replace(sample, drop_reason=None) if sample.drop_reason in failed else sample for sample in samples]


def at_threshold(samples: Sequence[Sample], threshold: float) -> list[Sample]:
    """Makes the samples selectable whose reward reaches a threshold, right or wrong, and no others."""

    def reason(sample: Sample) -> str | None:
        if sample.drop_reason not in (None, "wrong"):
            return sample.drop_reason
        reaches = sample.reward is not None and sample.reward >= threshold
        return None if reaches else sample.drop_reason or "threshold"

    return [replace(sample, drop_reason=reason(sample)) for sample in samples]


def _rank(sample: Sample, preference: str, seed: int) -> float:
    """Returns the sort key of a sample. Lower ranks are selected first, and equal ranks keep their order."""
    if preference == "shortest":
        return sample.num_tokens
    if preference == "most_likely":
        return -(sample.logprob or 0.0)
    if preference == "random":
        return seed_of(seed, sample.iteration, *sample.key)
    return 0
