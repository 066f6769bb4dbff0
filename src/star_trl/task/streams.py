# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reads the problems of a run from an `IterableDataset`."""

from itertools import islice
from typing import Any

from datasets import Dataset, IterableDataset

from ..star_config import STaRConfig


def read_stream(dataset: Any, name: str, args: STaRConfig) -> Any:
    """
    Returns the problems of a stream that a run needs as a dataset, in their order, so that the index of a problem is
    its place in the stream. They are `num_problems_per_iteration` for each iteration of the training, and as many for
    an evaluation set. Anything else is returned as it is.

    Args:
        dataset ([`~datasets.IterableDataset`] or any other type):
            The user's dataset.
        name (`str`):
            Name of the argument in messages.
        args ([`STaRConfig`]):
            Configuration.

    Raises:
        `ValueError`: If `num_problems_per_iteration` is missing, or the problems are to be chosen among all.
    """
    if not isinstance(dataset, IterableDataset):
        return dataset
    size, is_trained = args.num_problems_per_iteration, name == "train_dataset"
    if size is None:
        use = "to take in each iteration" if is_trained else "to evaluate on, which are its first ones"
        raise ValueError(
            f"`{name}` is an `IterableDataset`, which does not tell how many problems {use}. Set "
            f"`num_problems_per_iteration`, or make a `Dataset`: `Dataset.from_list(list({name}.take(1000)))`."
        )
    if is_trained and args.problem_order == "adaptive":
        raise ValueError(
            "`problem_order='adaptive'` chooses among all problems, but an `IterableDataset` gives the next ones. "
            "Leave `problem_order` out, or make a `Dataset` of the problems."
        )
    rows = list(islice(dataset, size * (args.num_iterations if is_trained else 1)))
    columns = dict.fromkeys(name for row in rows for name in row)  # also those that the first row does not have
    features = dataset.features if rows else None
    return Dataset.from_dict({name: [row.get(name) for row in rows] for name in columns}, features=features)


def read_streams(eval_dataset: Any, args: STaRConfig) -> Any:
    """Returns evaluation sets with [`read_stream`] of each."""
    if isinstance(eval_dataset, dict):
        return {name: read_stream(each, f"eval_dataset[{name!r}]", args) for name, each in eval_dataset.items()}
    return read_stream(eval_dataset, "eval_dataset", args)
