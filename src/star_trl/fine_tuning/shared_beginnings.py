# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Training sequences that hold what their prompts begin with, such as few-shot examples, once for all rows."""

from array import array
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from .collators import HINTED, TOKEN_COLUMNS


# Column with the number of what a row begins with
BEGINNING = "beginning"
# What the other columns hold at tokens of a prompt
NO_LOSS = {"labels": -100, **TOKEN_COLUMNS}


class SharedBeginnings:
    """
    Puts the tokens that prompts begin with in front of the rows of a dataset as they are read. It is a transform for
    [`~datasets.Dataset.with_transform`].

    Args:
        beginnings (`list[list[int]]`):
            The token ids of each beginning.
    """

    def __init__(self, beginnings: Sequence[Sequence[int]]):
        # Arrays are pickled at once, as `datasets` does for the fingerprint.
        self._beginnings = [array("I", ids) for ids in beginnings]

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        whole = dict(rows)
        for kind in ("", HINTED):
            beginnings = [self._beginnings[number].tolist() for number in whole.pop(f"{kind}{BEGINNING}", [])]
            for name, fill in {"input_ids": None, **NO_LOSS}.items():
                if beginnings and f"{kind}{name}" in whole:
                    whole[f"{kind}{name}"] = [
                        (ids if fill is None else [fill] * len(ids)) + own
                        for ids, own in zip(beginnings, whole[f"{kind}{name}"], strict=True)
                    ]
        return whole


def select_input_ids(dataset: Dataset) -> Dataset:
    """Returns a dataset with the token ids of its rows only, and what is needed to read them."""
    return dataset.select_columns([name for name in ("input_ids", BEGINNING) if name in dataset.column_names])
