# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Computes the metrics of an evaluation from its samples."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from .metrics import reward_metrics
from .sample import Sample


class GroupedAccuracy(evaluate.Metric):
    """
    Computes the share of right answers, overall and for each group.

    Example:
    ```python
    >>> from star_trl.ledger.accuracy import GroupedAccuracy

    >>> metric = GroupedAccuracy(keep_in_memory=True)
    >>> metric.compute(predictions=[1, 0, 1], references=["2 digits", "3 digits", "2 digits"])
    {'accuracy': 0.6666666666666666, 'accuracy/2 digits': 1.0, 'accuracy/3 digits': 0.0}
    ```
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of right answers, overall and by group.",
            citation="",
            inputs_description="predictions: 1 where the answer is right, else 0. references: the group of each.",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[int], references: list[str], **kwargs: Any) -> dict[str, float]:
        groups = defaultdict(list)
        for right, group in zip(predictions, references, strict=True):
            groups[group].append(right)
        by_group = {f"accuracy/{group}": sum(groups[group]) / len(groups[group]) for group in sorted(groups) if group}
        return {"accuracy": sum(predictions) / len(predictions), **by_group}


def accuracy_metrics(
    samples: Sequence[Sample], dataset: datasets.Dataset, group_column: str | None
) -> dict[str, float]:
    """
    Computes the metrics of an evaluation.

    Args:
        samples (`list[Sample]`):
            One scored completion per problem.
        dataset ([`~datasets.Dataset`]):
            The problems, addressed by `problem_id`.
        group_column (`str`, *optional*):
            Column whose values are the groups.

    Returns:
        `dict[str, float]`: `accuracy`, `accuracy/<value>`, those of [`reward_metrics`], `completion_length` (mean, in
        tokens) and `clipped_ratio`.
    """
    groups = dataset[group_column][:] if group_column is not None else [""] * len(dataset)
    metrics = GroupedAccuracy(keep_in_memory=True).compute(
        predictions=[int(sample.kept) for sample in samples],
        references=[str(groups[sample.problem_id]) for sample in samples],
    )
    metrics.update(reward_metrics(samples))
    metrics["completion_length"] = sum(sample.num_tokens for sample in samples) / len(samples)
    metrics["clipped_ratio"] = sum(sample.finish_reason == "length" for sample in samples) / len(samples)
    return metrics
