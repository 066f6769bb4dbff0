# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Computes the metrics of a run from the samples of its ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import fmean, stdev
from typing import Any

from .sample import Sample


def sampling_metrics(samples: Sequence[Sample], samplers: Sequence[str], num_candidates: int) -> dict[str, float]:
    """
    Computes the metrics of the samples of one iteration.

    Args:
        samples (`list[Sample]`):
            Samples of the iteration.
        samplers (`list[str]`):
            Names of the samplers, in their order.
        num_candidates (`int`):
            Number of problems of the iteration.

    Returns:
        `dict[str, float]`: `train_data_used`, the share of the problems with a kept sample (the paper's "train data
        used"). For each sampler, `<name>/solved` (share of the problems that it was the first to solve), `/yield`
        (share of its samples that are kept), `/reward` (mean over the samples with a reward), `/completion_length`
        (mean, in tokens) and `/clipped_ratio` (share cut by the length limit). A sampler that proposed nothing has
        only `/solved`. A sampler that draws k > 1 completions of each problem has those of [`exploration_metrics`].
    """
    metrics: dict[str, float] = {}
    solved: set[int] = set()
    for name in samplers:
        own = [sample for sample in samples if sample.sampler == name]
        newly_solved = {sample.problem_id for sample in own if sample.kept} - solved
        solved |= newly_solved
        metrics[f"{name}/solved"] = len(newly_solved) / num_candidates
        if not own:
            continue
        metrics[f"{name}/yield"] = sum(sample.kept for sample in own) / len(own)
        metrics[f"{name}/completion_length"] = sum(sample.num_tokens for sample in own) / len(own)
        metrics[f"{name}/clipped_ratio"] = sum(sample.finish_reason == "length" for sample in own) / len(own)
        rewards = [sample.reward for sample in own if sample.reward is not None]
        if rewards:
            metrics[f"{name}/reward"] = sum(rewards) / len(rewards)
        metrics.update({f"{name}/{key}": value for key, value in exploration_metrics(own).items()})
    metrics["train_data_used"] = len(solved) / num_candidates
    return metrics


def exploration_metrics(samples: Sequence[Sample]) -> dict[str, float]:
    """
    Computes what [B-STaR](https://huggingface.co/papers/2412.17256) (Zeng et al., 2024) follows over the iterations:
    exploration, whether the model still finds right and different answers, and exploitation, whether the reward tells
    them from wrong ones.

    Args:
        samples (`list[Sample]`):
            Samples of one sampler in one iteration.

    Returns:
        `dict[str, float]`: `pass@k` (share of the problems with a kept sample), `best_of_k` (share of the problems
        whose sample with the highest reward is kept; of several, the mean) and `unique_right` (different kept
        completions per problem). Empty unless every problem has the same number k > 1 of samples.
    """
    draws = set(Counter(sample.problem_id for sample in samples).values())
    if len(draws) != 1 or draws == {1}:
        return {}
    (k,) = draws
    by_problem: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_problem[sample.problem_id].append(sample)
    kept = [[sample for sample in drawn if sample.kept] for drawn in by_problem.values()]
    return {
        f"pass@{k}": fmean(bool(right) for right in kept),
        f"best_of_{k}": fmean(_best_is_kept(drawn) for drawn in by_problem.values()),
        "unique_right": fmean(len({sample.token_bytes for sample in right}) for right in kept),
    }


def query_effect(selected: Iterable[Sample], num_problems: int, num_wanted: int) -> float:
    """
    Computes how much settings help on some problems: the mean of min(n'/n*, 1) n'/n over the problems, the query
    effect of [B-STaR](https://huggingface.co/papers/2412.17256) (Zeng et al., 2024). The definitions of n and n' are
    those of the authors' code (`determine_hyper.py`).

    Args:
        selected (`Iterable[Sample]`):
            Samples that the settings select, n of a problem. n' of them are kept, which means that they are right.
        num_problems (`int`):
            Number of problems, those without a selected sample included. Their effect is 0.
        num_wanted (`int`):
            Number of right samples of a problem that suffice, n*.
    """
    n: Counter[int] = Counter()
    right: Counter[int] = Counter()
    for sample in selected:
        n[sample.problem_id] += 1
        right[sample.problem_id] += sample.kept
    effects = (min(right[problem] / num_wanted, 1) * right[problem] / n[problem] for problem in sorted(n))
    return sum(effects) / max(num_problems, 1)


def _best_is_kept(drawn: Sequence[Sample]) -> float:
    """Returns the share of the samples with the highest reward that are kept."""
    rewards = [-inf if sample.reward is None else sample.reward for sample in drawn]
    best = max(rewards)
    return fmean(sample.kept for sample, reward in zip(drawn, rewards, strict=True) if reward == best)


def reward_metrics(samples: Sequence[Sample]) -> dict[str, float]:
    """
    Computes the statistics of rewards, with the names that they have in [`~trl.GRPOTrainer`].

    Args:
        samples (`list[Sample]`):
            Samples of one sampler.

    Returns:
        `dict[str, float]`: `reward`, `reward_std` and, for each reward function, `rewards/<name>/mean` and
        `rewards/<name>/std`, over the samples that it applies to. The standard deviation is that of a sample, and
        missing for a single one.
    """
    found = {"reward": ("reward", "reward_std", [sample.reward for sample in samples])}
    for name in samples[0].rewards if samples else ():
        names = f"rewards/{name}/mean", f"rewards/{name}/std"
        found[names[0]] = (*names, [sample.rewards[name] for sample in samples])
    metrics = {}
    for mean_name, std_name, values in found.values():
        rewards = [value for value in values if value is not None]
        if rewards:
            metrics[mean_name] = fmean(rewards)
        if len(rewards) > 1:
            metrics[std_name] = stdev(rewards)
    return metrics


def selection_metrics(num_selected: int, dropped: Counter[str]) -> dict[str, float]:
    """Returns `samples/selected`, and `samples/dropped_<reason>` for each reason that occurred."""
    return {
        "samples/selected": num_selected,
        **{f"samples/dropped_{reason}": count for reason, count in sorted(dropped.items())},
    }


def accuracy_names(history: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names of the accuracies in a history: `eval_accuracy`, or one per evaluation set."""
    names = dict.fromkeys(name for row in history for name in row)
    ends = [name for name in names if name.startswith("eval_") and name.endswith("_accuracy")]
    # A group or another metric may have such a name as well, but has no `clipped_ratio` beside it.
    return [name for name in ends if f"{name.removesuffix('accuracy')}clipped_ratio" in names]


def format_metric(name: str, value: float) -> str:
    """Formats a metric for a table of the iterations."""
    if name in ("iteration", "samples/selected", "seconds"):
        return f"{value:,.0f}"
    return f"{value:.4f}" if name == "train_loss" else f"{value:.1%}"
