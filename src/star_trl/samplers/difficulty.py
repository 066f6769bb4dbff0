# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Extra samples for problems of medium difficulty: those that are solved now and then."""

from collections import Counter

from .base import LoopState
from .rationale import RationaleSampler


class DifficultySampler(RationaleSampler):
    """
    Draws more samples for the problems that are solved sometimes, but not always. If every sample is right, there is
    little to learn. If none is, there is little to keep. With `sample_weighting="advantage"` the gradient of both is
    zero. Place it after the sampler that its solve rates are estimated from.

    Args:
        num_generations (`int`, *optional*, defaults to `8`):
            Completions per problem that is chosen.
        temperature (`float`, *optional*, defaults to `0.7`):
            Sampling temperature.
        top_p (`float`, *optional*), top_k (`int`, *optional*):
            As in [`RationaleSampler`].
        solve_rate (`tuple[float, float]`, *optional*, defaults to `(0.0, 1.0)`):
            Problems are chosen if their solve rate lies strictly between these two values.
        estimated_from (`str`, *optional*, defaults to `"rationale"`):
            Name of the sampler to estimate from. The solve rate is the share of its samples that are kept.
        num_iterations (`int`, *optional*, defaults to `1`):
            Number of latest outer iterations whose samples are counted, including the current one. With one greedy
            sample in each, a rate other than 0 and 1 takes two iterations.
        max_problems (`int`, *optional*):
            Maximum number of problems. Those with a solve rate nearest to one half come first, and ties are broken at
            random.

    Raises:
        `ValueError`: If `solve_rate` does not lie within 0 and 1, or a number is not positive.

    Example:
    ```python
    >>> from star_trl import DifficultySampler, RationaleSampler

    >>> samplers = [RationaleSampler(num_generations=4, temperature=0.7), DifficultySampler(num_generations=12)]
    ```
    """

    name = "difficulty"

    def __init__(
        self,
        num_generations: int = 8,
        temperature: float = 0.7,
        top_p: float | None = None,
        top_k: int | None = None,
        solve_rate: tuple[float, float] = (0.0, 1.0),
        estimated_from: str = "rationale",
        num_iterations: int = 1,
        max_problems: int | None = None,
    ):
        super().__init__(num_generations=num_generations, temperature=temperature, top_p=top_p, top_k=top_k)
        low, high = solve_rate
        if not 0 <= low < high <= 1:
            raise ValueError(f"`solve_rate` must be two shares, the lower one first, got {solve_rate}.")
        for name, value in (("num_iterations", num_iterations), ("max_problems", max_problems)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.solve_rate = solve_rate
        self.estimated_from = estimated_from
        self.num_iterations = num_iterations
        self.max_problems = max_problems

    def select(self, state: LoopState) -> list[int]:
        rates = self._solve_rates(state)
        low, high = self.solve_rate
        chosen = [problem for problem in state.candidates if low < rates.get(problem, 0.0) < high]
        if self.max_problems is not None:
            state.rng.shuffle(chosen)
            chosen = sorted(chosen, key=lambda problem: abs(rates[problem] - 0.5))[: self.max_problems]
        return sorted(chosen)

    def _solve_rates(self, state: LoopState) -> dict[int, float]:
        drawn: Counter[int] = Counter()
        solved: Counter[int] = Counter()
        for iteration in range(max(1, state.iteration - self.num_iterations + 1), state.iteration + 1):
            for sample in state.ledger.read(iteration):
                if sample.sampler == self.estimated_from:
                    drawn[sample.problem_id] += 1
                    solved[sample.problem_id] += sample.kept
        return {problem: solved[problem] / count for problem, count in drawn.items()}
