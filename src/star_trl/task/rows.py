# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The rows of a dataset, read in batches."""

from collections.abc import Iterator
from typing import Any

from datasets import Dataset


BATCH_SIZE = 1000


def read_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """
    Yields the rows of a dataset. Iterating over the dataset yields the same, but reads each row by itself and takes 30
    times as long.

    Args:
        dataset ([`~datasets.Dataset`]):
            The dataset.
    """
    for batch in dataset.iter(BATCH_SIZE):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))
