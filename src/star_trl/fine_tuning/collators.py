# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Data collators of the fine-tuning: numbers of the tokens, prompts of a teacher, and sequences as prefix trees."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch

from ..generation.prefix_sharing.groups import shared_length
from .prefix_tree import PrefixTree, cost


Example = dict[str, Any]
Collate = Callable[[list[Example]], dict[str, Any]]

# Column with a factor for the log-probability of every token.
LOSS_WEIGHTS = "loss_weights"
# Column with what the log-probability of every token is compared with; NaN for a token that is not compared.
TOKEN_REFERENCES = "token_references"
# Columns with a number for every token, and the number of tokens that have none, such as padding
TOKEN_COLUMNS = {LOSS_WEIGHTS: 0.0, TOKEN_REFERENCES: math.nan}
# Columns with the completion behind the hinted prompt of a teacher
HINTED = "hinted_"
TEACHER_IDS, TEACHER_LABELS = f"{HINTED}input_ids", f"{HINTED}labels"
# Key of a batch of trees: index after the last descendant of each token.
TREE_ENDS = "tree_ends"
# Key of a sequence: number of tokens at its beginning that it may share.
SHAREABLE = "shareable"


@dataclass
class WeightedCollator:
    """
    Collates numbers of the tokens, such as their weights, and leaves the other columns to another collator.

    Args:
        collate (`Callable[[list[dict[str, Any]]], dict[str, Any]]`):
            [`~trl.SFTTrainer`]'s own data collator.
    """

    collate: Collate

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        batch = self.collate(
            [{name: example[name] for name in example if name not in TOKEN_COLUMNS} for example in examples]
        )
        for name, fill in TOKEN_COLUMNS.items():
            numbers = [torch.tensor(example[name]) for example in examples if name in example]
            if numbers:
                labels = batch["labels"]
                if len(labels) < len(numbers):  # padding-free: all examples are in one row
                    numbers = [torch.cat(numbers)]
                batch[name] = torch.full(labels.shape, fill)
                for row, values in zip(batch[name], numbers, strict=True):
                    row[: len(values)] = values
        return batch


@dataclass
class TeacherCollator:
    """
    Collates sequences behind two prompts, the plain one and that of a teacher, each kind by itself.

    Args:
        collate (`Callable[[list[dict[str, Any]]], dict[str, Any]]`):
            Collator of either kind. Without columns of a teacher it gets the examples as they are.
    """

    collate: Collate

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        batch = self.collate(
            [{name: value for name, value in example.items() if not name.startswith(HINTED)} for example in examples]
        )
        if TEACHER_IDS in examples[0]:
            rows = [{"input_ids": example[TEACHER_IDS], "labels": example[TEACHER_LABELS]} for example in examples]
            batch.update({f"{HINTED}{name}": value for name, value in self.collate(rows).items()})
        return batch


@dataclass
class TreeCollator:
    """
    Collates sequences that begin with the same tokens as prefix trees, one in each row of the batch, where that takes
    less computation. It leaves other examples to another collator.

    Args:
        collate (`Callable[[list[dict[str, Any]]], dict[str, Any]]`):
            Collator for examples that share too little.
        pad_token_id (`int`):
            Padding token.
        hidden_size (`int`):
            Hidden size of the model, to compare the computation.
        pad_to_multiple_of (`int`, *optional*):
            The rows are padded to a multiple of this length.
        enabled (`bool`, *optional*, defaults to `False`):
            Whether trees may be made.
    """

    collate: Collate
    pad_token_id: int
    hidden_size: int
    pad_to_multiple_of: int | None = None
    enabled: bool = False

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        if self.enabled:
            trees = self._trees([part for example in examples for part in _sequences(example)])
            longest = max(len(example["input_ids"]) for example in examples)
            largest = max(len(tree) for tree, _ in trees)
            if self._cost(largest) * len(trees) < self._cost(longest) * len(examples):
                return self._batch(trees, largest)
        return self.collate(examples)

    def _cost(self, length: int) -> int:
        return cost(length, self.hidden_size)

    def _trees(self, sequences: list[Example]) -> list[tuple[PrefixTree, list[Example]]]:
        """
        Lays sequences out as trees, each with its sequences in the order of its paths. A sequence joins a tree if it
        costs less there than by itself.
        """
        trees: list[tuple[PrefixTree, list[Example]]] = []
        for sequence in sorted(sequences, key=lambda each: each["input_ids"]):
            ids = sequence["input_ids"]
            if trees:
                tree, group = trees[-1]
                common = shared_length(group[-1]["input_ids"], ids)
                shared = min(common, group[-1][SHAREABLE], sequence[SHAREABLE])
                grown = len(tree) + len(ids) - shared
                if self._cost(grown) - self._cost(len(tree)) < self._cost(len(ids)):
                    tree.add(ids, shared)
                    group.append(sequence)
                    continue
            trees.append((PrefixTree(), [sequence]))
            trees[-1][0].add(ids, 0)
        return trees

    def _batch(self, trees: list[tuple[PrefixTree, list[Example]]], length: int) -> dict[str, torch.Tensor]:
        if self.pad_to_multiple_of:
            length += -length % self.pad_to_multiple_of
        labels = torch.full((len(trees), length), -100)
        names = [name for name in TOKEN_COLUMNS if name in trees[0][1][0]]
        numbers = {name: torch.full(labels.shape, TOKEN_COLUMNS[name]) for name in names}
        for row, (tree, group) in enumerate(trees):
            for path, sequence in zip(tree.paths, group, strict=True):
                # Shifted: a token holds the label of the one after it. Shared tokens have no label.
                labels[row, path[:-1]] = torch.tensor(sequence["labels"][1:], dtype=torch.long)
                for name in names:
                    numbers[name][row, path[:-1]] = torch.tensor(sequence[name][1:])
        pairs = [(tree, length - len(tree)) for tree, _ in trees]
        batch = {
            "input_ids": torch.tensor([tree.input_ids + [self.pad_token_id] * more for tree, more in pairs]),
            "position_ids": torch.tensor([tree.positions + [0] * more for tree, more in pairs]),
            # SFTTrainer counts tokens by its sum: a token counts once for each sequence that it belongs to.
            "attention_mask": torch.tensor([tree.counts + [0] * more for tree, more in pairs]),
            # The padding sees itself, since a token that sees nothing has no softmax.
            TREE_ENDS: torch.tensor([tree.ends + [*range(len(tree) + 1, length + 1)] for tree, _ in trees]),
            "shift_labels": labels,
            "labels": labels,  # Trainer counts labels only where there are some by this name
            **numbers,
        }
        return batch


def _sequences(example: Example) -> list[Example]:
    """Returns the sequences of a packed example, or the example, with the number of tokens that each may share."""
    ends = [0, *accumulate(example.get("seq_lengths") or [len(example["input_ids"])])]
    columns = [name for name in ("input_ids", "labels", *TOKEN_COLUMNS) if name in example]
    sequences = [{name: example[name][start:end] for name in columns} for start, end in pairwise(ends)]
    return [{**each, SHAREABLE: _shareable(each["labels"])} for each in sequences]


def _shareable(labels: list[int]) -> int:
    """
    Returns the number of tokens before the one that predicts the first label. That token holds the label in a tree, so
    it is not shared.
    """
    return next((index - 1 for index, label in enumerate(labels) if index and label != -100), len(labels))
