# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The confidence interval of a share."""

import math


Z = 1.96  # quantile of the normal distribution for 95%


def confidence_interval(share: float, count: float) -> tuple[float, float]:
    """
    Returns the 95% confidence interval of a share (Wilson, 1927).

    Args:
        share (`float`):
            Share of `count` trials.
        count (`float`):
            Number of trials, or their effective number, at least 1.

    Example:
    ```python
    >>> from star_trl.ledger.interval import confidence_interval

    >>> [round(end, 3) for end in confidence_interval(0.5, 100)]
    [0.404, 0.596]
    ```
    """
    center = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(center - half, 0.0), min(center + half, 1.0)


def paired_difference_interval(first_only: int, second_only: int, count: int) -> tuple[float, float]:
    """
    Returns the 95% confidence interval of the difference of two shares of the same trials (Bonett and Price, 2012).

    Args:
        first_only (`int`):
            Number of trials that are a success in the first only.
        second_only (`int`):
            Number of trials that are a success in the second only.
        count (`int`):
            Number of trials.

    Example:
    ```python
    >>> from star_trl.ledger.interval import paired_difference_interval

    >>> [round(end, 3) for end in paired_difference_interval(14, 2, 48)]
    [0.088, 0.392]
    ```
    """
    first, second = (first_only + 1) / (count + 2), (second_only + 1) / (count + 2)
    half = Z * math.sqrt((first + second - (first - second) ** 2) / (count + 2))
    return max(first - second - half, -1.0), min(first - second + half, 1.0)
