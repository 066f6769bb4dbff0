# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A mixture of proposal distributions."""

import random
from collections.abc import Sequence
from dataclasses import replace

from .base import LoopState, Sampler, WrappedSampler


def mixture(samplers: Sequence[Sampler], weights: Sequence[float], seed: int = 0) -> list[Sampler]:
    """
    Returns samplers of which one proposes for each problem: q(r, y | x) = sum_k w_k q_k(r, y | x). The sampler is
    drawn anew for every problem in every outer iteration. Samples keep the names of their samplers, in the ledger and
    in the metrics.

    Args:
        samplers (`list[Sampler]`):
            The components. Each one's selection is narrowed to the problems that were drawn for it.
        weights (`list[float]`):
            Probability of each, or numbers in the same proportion.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draws.

    Returns:
        `list[Sampler]`: For the trainer's `samplers`, alone or with others before and after.

    Raises:
        `ValueError`: If there is not one weight for each sampler, one is negative, or all are zero.

    Example:
    ```python
    >>> from star_trl import RationaleSampler, RationalizationSampler
    >>> from star_trl.samplers import mixture

    >>> samplers = mixture([RationaleSampler(), RationalizationSampler()], weights=[0.8, 0.2])
    ```
    """
    if len(weights) != len(samplers) or min(weights, default=0) < 0 or sum(weights) == 0:
        raise ValueError(
            f"A mixture needs one weight for each of its {len(samplers)} samplers, none of them negative and not all "
            f"zero, got {list(weights)}."
        )
    return [_Component(sampler, number, weights, seed) for number, sampler in enumerate(samplers)]


class _Component(WrappedSampler):
    """Proposes for the problems that were drawn for the sampler of this number."""

    def __init__(self, sampler: Sampler, number: int, weights: Sequence[float], seed: int):
        super().__init__(sampler)
        self.number = number
        self.weights = list(weights)
        self.seed = seed

    def select(self, state: LoopState) -> list[int]:
        own = [problem for problem in state.candidates if self._draw(state.iteration, problem) == self.number]
        return self.sampler.select(replace(state, candidates=own))

    def _draw(self, iteration: int, problem: int) -> int:
        # Keyed by the problem, so that all components draw the same, in every process.
        rng = random.Random(f"{self.seed} {iteration} {problem}")
        return rng.choices(range(len(self.weights)), self.weights)[0]
