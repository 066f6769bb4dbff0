# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Whether two results of SQL queries are the same."""

from collections import Counter
from collections.abc import Hashable, Sequence


# Cells that may be looked at to find which column is which. Only results with several columns of the same values, in
# rows that tell them apart, need more than a few times their own size.
MAX_CELLS = 1_000_000
SIGNIFICANT_DIGITS = 12  # of 15: a sum of floats depends on the order of its terms

Rows = Sequence[Sequence[Hashable]]


def same_result(reference: Rows, predicted: Rows, ordered: bool = False) -> bool:
    """
    Whether two results hold the same rows as often, whatever the order of the columns and, unless `ordered`, of the
    rows. Numbers are rounded to 12 digits, but never before the point: whole ones are compared exactly. `1` equals
    `1.0`, but not `'1'`.

    Args:
        reference (`list[list]`):
            Rows, of which all have the same number of values.
        predicted (`list[list]`):
            Rows of the other result.
        ordered (`bool`, *optional*, defaults to `False`):
            Whether the rows have to come in the same order.

    Returns:
        `bool`: `False` also where it takes too long to find out, with many columns of equal values.

    Example:
    ```python
    >>> from star_trl.rewards.sql_results import same_result

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
    # Columns with the same values as often: which of them can be which.
    same_values: dict[Hashable, list[int]] = {}
    for column, values in enumerate(found):
        same_values.setdefault(frozenset(Counter(values).items()), []).append(column)
    candidates = [same_values.get(frozenset(Counter(values).items()), []) for values in expected]
    # Those with the fewest candidates first, so that the others are told apart by them.
    order = sorted(range(len(expected)), key=lambda column: len(candidates[column]))
    return _match([expected[column] for column in order], found, [candidates[column] for column in order])


def _match(expected: list[tuple], found: list[tuple], candidates: list[list[int]]) -> bool:
    """Depth first: column by column, as long as the rows so far are the same."""
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
        tried[-1].add(found[choice])  # another column with the very same values would not do better
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
        # Whole numbers stay exact, since `1.0` equals the integer `1`; infinity stays itself.
        digits = f".{SIGNIFICANT_DIGITS}g" if abs(value) < 10**SIGNIFICANT_DIGITS else ".0f"
        return float(f"{value:{digits}}")
    return tuple(value) if isinstance(value, list) else value
