# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Greedy sampling for evaluations: one answer per problem."""

from .base import Sampler, WrappedSampler


class GreedySampler(WrappedSampler):
    """
    Draws one greedy completion of each problem, with the prompts and the tools of another sampler. Models are
    evaluated this way.

    Args:
        sampler ([`Sampler`]):
            The sampler.
    """

    def __init__(self, sampler: Sampler):
        super().__init__(sampler)
        self.num_generations = 1
        self.temperature = 0.0
