# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Comparison of two results of SQL queries."""

from collections import Counter
from collections.abc import Hashable, Sequence


# Maximum number of cells to look at when columns are matched. Only results that have several columns with the same
# values, told apart by their rows, need more than a few times their own size.
MAX_CELLS = 1_000_000
SIGNIFICANT_DIGITS = 12  # of 15, since a sum of floats depends on the order of its terms

Rows = Sequence[Sequence[Hashable]]


def same_result(reference: Rows, predicted: Rows, ordered: bool = False) -> bool:
    """
    Returns whether two results hold the same rows, each equally often. The order of the columns does not matter. The
    order of the rows matters only if `ordered`. Numbers are rounded to 12 digits, but never before the point: whole
    ones are compared exactly. `1` equals `1.0`, but not `'1'`.

    Args:
        reference (`list[list]`):
            Rows, all with the same number of values.
        predicted (`list[list]`):
            Rows of the other result.
        ordered (`bool`, *optional*, defaults to `False`):
            Whether the rows must be in the same order.

    Returns:
        `bool`: Whether they are the same. Also `False` if the comparison takes too long, with many columns of equal
        values.

    Example:
    ```python
    >>> from star_trl.rewards.sql.results import same_result

    >>> same_result([["ohio", 1], ["utah", 2]], [[2.0, "utah"], [1.0, "ohio"]])
    True
    >>> same_result([["ohio", 1], ["utah", 2]], [[1, "utah"], [2, "ohio"]])
    False
    ```
    """
    if len(reference) != len(predicted) or not reference:
        return len(reference) == len(predicted)
    if len(reference[0]) != len(predicted[0]):
        return False
    expected, found = _columns(reference), _columns(predicted)
    if ordered:
        return Counter(expected) == Counter(found)
    if len(expected) == 1:
        return Counter(expected[0]) == Counter(found[0])
    # Candidates for each column: columns that hold the same values equally often.
    same_values: dict[Hashable, list[int]] = {}
    for column, values in enumerate(found):
        same_values.setdefault(frozenset(Counter(values).items()), []).append(column)
    candidates = [same_values.get(frozenset(Counter(values).items()), []) for values in expected]
    # Columns with the fewest candidates come first, so that they tell the others apart.
    order = sorted(range(len(expected)), key=lambda column: len(candidates[column]))
    return _match([expected[column] for column in order], found, [candidates[column] for column in order])


def _match(expected: list[tuple], found: list[tuple], candidates: list[list[int]]) -> bool:
    """Matches column by column, depth first, as long as the rows so far are the same."""
    budget = MAX_CELLS
    path: list[int] = []  # for each column of `expected`, the one of `found`
    left = [iter(candidates[0])]
    tried: list[set[tuple]] = [set()]
    while left:
        choice = next((other for other in left[-1] if other not in path and found[other] not in tried[-1]), None)
        if choice is None:
            left.pop()
            tried.pop()
            if path:
                path.pop()
            continue
        tried[-1].add(found[choice])  # a column with the same values in the same rows would fail too
        path.append(choice)
        budget -= len(path) * len(found[0])
        if budget < 0:
            return False
        rows = zip(*expected[: len(path)], strict=True), zip(*(found[other] for other in path), strict=True)
        if Counter(rows[0]) != Counter(rows[1]):
            path.pop()
        elif len(path) == len(expected):
            return True
        else:
            left.append(iter(candidates[len(path)]))
            tried.append(set())
    return False


def _columns(rows: Rows) -> list[tuple]:
    return list(zip(*([_canonical(value) for value in row] for row in rows), strict=True))


def _canonical(value: Hashable) -> Hashable:
    if isinstance(value, float):
        # Whole numbers stay exact, since `1.0` equals the integer `1`. Infinity stays itself.
        digits = f".{SIGNIFICANT_DIGITS}g" if abs(value) < 10**SIGNIFICANT_DIGITS else ".0f"
        return float(f"{value:{digits}}")
    return tuple(value) if isinstance(value, list) else value
