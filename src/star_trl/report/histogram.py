# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Histograms of a quantity, one for each iteration."""

from collections import Counter
from collections.abc import Iterator, Mapping


MAX_DISTINCT, NUM_BINS = 12, 24


class Histogram:
    """
    Computes the shares of the samples of each iteration in bins. The bins are the same for all iterations: one for
    each value if there are few values, otherwise bins of equal width.

    Args:
        counts (`dict[int, Counter[tuple[float, bool]]]`):
            For each iteration, the number of samples by value and by whether they are kept.
    """

    def __init__(self, counts: Mapping[int, Counter]):
        self.counts = counts
        self.iterations = sorted(counts)
        values = sorted({value for counter in counts.values() for value, _ in counter})
        self.low, self.high = values[0], values[-1]
        self.distinct = values if len(values) <= MAX_DISTINCT else None
        if self.high - self.low < MAX_DISTINCT and all(isinstance(value, int) for value in values):
            self.distinct = list(range(self.low, self.high + 1))
        self.num_bins = len(self.distinct or range(NUM_BINS))
        self._shares = {iteration: self._bin(counter) for iteration, counter in counts.items()}
        self.highest = max(sum(pair) for shares in self._shares.values() for pair in shares)

    def shares(self, iteration: int) -> list[tuple[float, float]]:
        """Returns, for each bin, the share of samples that are kept and the share of those that are not."""
        return self._shares[iteration]

    def label(self, index: int) -> str:
        """Returns a label with the values in a bin."""
        if self.distinct is not None:
            return f"{self.distinct[index]:.4g}"
        return f"{self._edge(index):.4g} to {self._edge(index + 1):.4g}"

    def ticks(self) -> Iterator[tuple[float, str, str]]:
        """Yields the ticks of the axis: the position in bins from the left, the text, and the text's anchor."""
        if self.distinct is not None:
            for index, value in enumerate(self.distinct):
                yield index + 0.5, f"{value:.4g}", "middle"
        else:
            for index, anchor in ((0, "start"), (NUM_BINS // 2, "middle"), (NUM_BINS, "end")):
                yield index, f"{self._edge(index):.4g}", anchor

    def summary(self, iteration: int) -> tuple[float, ...]:
        """Returns the numbers of samples and of kept samples, the mean, and the 5%, 50% and 95% quantiles."""
        counter = self.counts[iteration]
        total = sum(counter.values())
        kept = sum(count for (_, is_kept), count in counter.items() if is_kept)
        mean = sum(value * count for (value, _), count in counter.items()) / total
        return total, kept, mean, *(self._quantile(iteration, share * total) for share in (0.05, 0.5, 0.95))

    def _quantile(self, iteration: int, rank: float) -> float:
        seen = 0
        for value, kept in sorted(self.counts[iteration]):
            seen += self.counts[iteration][value, kept]
            if seen >= rank:
                break
        return value

    def _edge(self, index: int) -> float:
        return self.low + (self.high - self.low) * index / NUM_BINS

    def _bin(self, counter: Counter) -> list[tuple[float, float]]:
        bins = [[0.0, 0.0] for _ in range(self.num_bins)]
        total = sum(counter.values())
        for (value, kept), count in counter.items():
            if self.distinct is not None:
                index = self.distinct.index(value)
            else:
                index = min(int((value - self.low) / (self.high - self.low) * NUM_BINS), NUM_BINS - 1)
            bins[index][not kept] += count / total
        return [(kept, dropped) for kept, dropped in bins]
