# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Training sequences that hold what their prompts begin with, such as few-shot examples, once for all rows."""

from array import array
from collections.abc import Sequence
from operator import add
from typing import Any

from datasets import Dataset

from .collators import HINTED, TOKEN_COLUMNS


# Columns with the number of what a row begins with, and of what its teacher's row begins with
BEGINNING = "beginning"
BEGINNINGS = (BEGINNING, f"{HINTED}{BEGINNING}")
# What the other columns hold at tokens of a prompt
NO_LOSS = {"labels": -100, **TOKEN_COLUMNS}


class SharedBeginnings:
    """
    Puts the tokens that prompts begin with in front of the rows of a dataset as they are read. It is a transform for
    [`~datasets.Dataset.with_transform`]. Rows that were read before, as by `map`, stay as they are.

    Args:
        beginnings (`list[list[int]]`):
            The token ids of each beginning.

    Raises:
        `ValueError`: If rows have token ids, but not the number of their beginning.
    """

    def __init__(self, beginnings: Sequence[Sequence[int]]):
        # Arrays are pickled at once, as `datasets` does for the fingerprint.
        self._beginnings = [array("I", ids) for ids in beginnings]

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        whole = dict(rows)
        for kind in ("", HINTED):
            numbers, all_ids = whole.pop(f"{kind}{BEGINNING}", None), whole.get(f"{kind}input_ids")
            if all_ids is None:
                continue
            if numbers is None:
                raise ValueError(
                    f"Training rows have `{kind}input_ids` without `{kind}{BEGINNING}`, the number of the tokens that "
                    f"the prompt begins with, such as few-shot examples. Keep the column `{kind}{BEGINNING}`."
                )
            beginnings = [self._beginnings[number].tolist() for number in numbers]
            missing = [
                [] if ids[: len(beginning)] == beginning else beginning
                for ids, beginning in zip(all_ids, beginnings, strict=True)
            ]
            whole[f"{kind}input_ids"] = [*map(add, missing, all_ids)]
            for name, fill in NO_LOSS.items():
                if (values := whole.get(f"{kind}{name}")) is not None:
                    whole[f"{kind}{name}"] = [
                        [fill] * len(beginning) + own for beginning, own in zip(missing, values, strict=True)
                    ]
        return whole


def select_input_ids(dataset: Dataset) -> Dataset:
    """Returns a dataset with the token ids of its rows only, and what is needed to read them."""
    return dataset.select_columns([name for name in ("input_ids", BEGINNING) if name in dataset.column_names])
