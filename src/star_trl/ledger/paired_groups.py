# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Compares groups of problems that come in pairs, which differ in one attribute only, such as a name."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .interval import confidence_interval, paired_difference_interval


PAIR_COLUMN = "pair"  # problems with the same value differ in their group only
MOST_COMMON = 3  # answers that are listed
MOST_CHARACTERS = 40  # of a listed answer

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """
    How a model answers the problems of a group, and how this differs from the first group. Intervals are of 95%.

    Args:
        group (`str`):
            The group.
        problems (`int`):
            Number of its problems.
        accuracy (`float`), accuracy_interval (`tuple[float, float]`):
            Share of right answers.
        answers (`list[tuple[str, int]]`):
            The most frequent answers and how often each was chosen.
        pairs (`int`):
            Number of pairs with a problem of this and of the first group. 0 for the first group itself, and the
            following are then 0 as well.
        difference (`float`), difference_interval (`tuple[float, float]`):
            Accuracy in these pairs, minus that of the first group.
        same_answer (`float`), same_answer_interval (`tuple[float, float]`):
            Share of these pairs in which both problems got the same answer.
    """

    group: str
    problems: int
    accuracy: float
    accuracy_interval: Interval
    answers: list[tuple[str, int]]
    pairs: int = 0
    difference: float = 0.0
    difference_interval: Interval = (0.0, 0.0)
    same_answer: float = 0.0
    same_answer_interval: Interval = (0.0, 0.0)


def paired_groups(
    answers: Mapping[int, tuple[bool, str]], pairs: Sequence[str | None], groups: Sequence[str | None]
) -> list[GroupResult]:
    """
    Compares the groups of an evaluation set of paired problems.

    Args:
        answers (`dict[int, tuple[bool, str]]`):
            For each problem, by its index, whether the completion is right, and its text.
        pairs (`list[str | None]`):
            The pair of each problem, `None` for a problem without one.
        groups (`list[str | None]`):
            The group of each problem.

    Returns:
        `list[GroupResult]`: The groups, in their order in the dataset. There are none if no pair has two groups.
    """
    by_group: dict[str, dict[str, tuple[bool, str]]] = {}
    for number, (pair, group) in enumerate(zip(pairs, groups, strict=True)):
        if pair is not None and group is not None and number in answers:
            right, text = answers[number]
            by_group.setdefault(group, {})[pair] = (right, chosen_answer(text))
    if len(by_group) < 2:
        return []
    first = next(iter(by_group.values()))
    results = []
    for group, own in by_group.items():
        accuracy = sum(right for right, _ in own.values()) / len(own)
        result: dict[str, Any] = {
            "group": group,
            "problems": len(own),
            "accuracy": accuracy,
            "accuracy_interval": confidence_interval(accuracy, len(own)),
            "answers": Counter(answer for _, answer in own.values()).most_common(MOST_COMMON),
        }
        common = [pair for pair in own if pair in first] if own is not first else []
        if common:
            gained = sum(own[pair][0] > first[pair][0] for pair in common)
            lost = sum(own[pair][0] < first[pair][0] for pair in common)
            same = sum(own[pair][1] == first[pair][1] for pair in common) / len(common)
            result |= {
                "pairs": len(common),
                "difference": (gained - lost) / len(common),
                "difference_interval": paired_difference_interval(gained, lost, len(common)),
                "same_answer": same,
                "same_answer_interval": confidence_interval(same, len(common)),
            }
        results.append(GroupResult(**result))
    return results if any(result.pairs for result in results) else []


def paired_cells(result: GroupResult) -> tuple[str, str]:
    """Formats the difference, in points, and the share of the same answers for a table. Empty for the first group."""
    if not result.pairs:
        return "", ""
    low, high = result.difference_interval
    same_low, same_high = result.same_answer_interval
    return (
        f"{100 * result.difference:+.1f} ({100 * low:+.0f} to {100 * high:+.0f})",
        f"{result.same_answer:.1%} ({same_low:.0%} to {same_high:.0%})",
    )


def as_texts(values: Iterable[Any]) -> list[str | None]:
    """Returns the values of a column as texts, as the groups of an evaluation are."""
    return [None if value is None else str(value) for value in values]


def repeated_pair(pairs: Sequence[str | None], groups: Sequence[str | None]) -> tuple[str, str] | None:
    """Returns a pair and a group that several problems have, or `None` if there are none."""
    counts = Counter((p, g) for p, g in zip(pairs, groups, strict=True) if p is not None and g is not None)
    return next((key for key, count in counts.items() if count > 1), None)


def chosen_answer(text: str) -> str:
    """
    Returns the answer that a completion ends with: the choice in its last line, such as `(a)`, or else the number that
    it marks as its answer or has in its last line, or else its last line.

    Example:
    ```python
    >>> from star_trl.ledger.paired_groups import chosen_answer

    >>> [chosen_answer(text) for text in ("7 + 1 = 8.\\n#### 8.0", "So the answer is yes (B).", "Because.\\nNo")]
    ['8', 'b', 'no']
    ```
    """
    # These load torch, which the report of most runs does without.
    from ..rewards.answers.numeric import extract_number, marked_number
    from ..rewards.text import after_thinking, answer_statements, before_next_question

    answer = before_next_question(after_thinking(text)) or text
    last = ([line.strip() for line in answer.splitlines() if line.strip()] or [""])[-1]
    if choices := re.findall(r"(?<!\w)\(([a-zA-Z])\)", last):  # not the plural in `cat(s)`
        return choices[-1].lower()
    number = marked_number(text)
    if number is None and not answer_statements(last):  # in `I see 3 reasons. The answer is yes`, 3 is not the answer
        number = extract_number(last)
    return last.lower()[:MOST_CHARACTERS] if number is None else number
