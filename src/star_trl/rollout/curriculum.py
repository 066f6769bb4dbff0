# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Chooses the problems of an outer iteration, their order, and how many of them are sampled."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from ..ledger.ledger import Ledger
from ..ledger.sample import Sample
from ..seeds import seed_of
from ..star_config import STaRConfig


# When a problem was last sampled, as an outer iteration, and the share of its samples that were kept then
Statistics = dict[int, tuple[int, float]]


class Curriculum:
    """
    Chooses the problems of each outer iteration.

    Args:
        args ([`STaRConfig`]):
            Configuration.
        problems (`list[int]`):
            Indices of all problems that can be sampled.
        ledger ([`~star_trl.ledger.Ledger`]):
            All samples so far.
        draws (`int`, *optional*, defaults to `1`):
            Number of completions that the first sampler draws for a problem.
        stream_length (`int`, *optional*):
            Number of problems that were read from a stream, if the problems are a stream. Each iteration takes the
            next ones.
    """

    def __init__(
        self,
        args: STaRConfig,
        problems: Sequence[int],
        ledger: Ledger,
        draws: int = 1,
        stream_length: int | None = None,
    ):
        self.args = args
        self.problems = problems
        self.ledger = ledger
        self.draws = draws
        self.stream_length = stream_length
        self._forget()

    def _forget(self) -> None:
        self._iteration = 0  # the last one that the statistics count
        self._statistics: Statistics = dict.fromkeys(self.problems, (0, 0.0))

    def candidates(self, iteration: int) -> list[int]:
        """
        Returns the indices of the problems of an outer iteration. They are in their order in the dataset, unless
        sampling may end before all of them are sampled. They are then in the order in which they are sampled.
        """
        wanted = self.args.num_problems_per_iteration
        if self.args.problem_order == "adaptive":
            chosen = self._adaptive_order(iteration)[:wanted]
        elif self.stream_length is not None and wanted is not None:
            first = (iteration - 1) * wanted
            following = {number % self.stream_length for number in range(first, first + wanted)}
            chosen = [problem for problem in self.problems if problem in following]
        elif wanted is None or wanted >= len(self.problems):
            chosen = list(self.problems)
        else:
            chosen = random.Random(seed_of(self.args.seed, iteration)).sample(list(self.problems), wanted)
        if self.args.num_kept_per_iteration is None:
            return sorted(chosen)
        if self.args.problem_order == "random":
            random.Random(seed_of(self.args.seed, iteration, "order")).shuffle(chosen)
        return chosen

    def rounds(self, iteration: int) -> Iterator[list[int]]:
        """
        Yields the problems of an outer iteration in rounds. There is one round, unless `num_kept_per_iteration` is
        set. Each round then has as many problems as should suffice by the yield so far. The ledger must have all
        samples of a round when the next one is asked for. A resumed run has the same rounds, as they depend on the
        samples of whole rounds only.
        """
        waiting, wanted = self.candidates(iteration), self.args.num_kept_per_iteration
        if wanted is None:
            yield waiting
            return
        sampled: set[int] = set()
        size = math.ceil(wanted / self.draws)
        while waiting and size > 0:
            problems, waiting = waiting[:size], waiting[size:]
            yield sorted(problems)
            sampled.update(problems)
            kept = sum(sample.kept and sample.problem_id in sampled for sample in self.ledger.read(iteration))
            # Without any kept sample, as many problems again as there were
            size = math.ceil((wanted - kept) * len(sampled) / max(kept, 1)) if kept else len(sampled)

    def _adaptive_order(self, iteration: int) -> list[int]:
        """
        Returns all problems in the order of AdaSTaR: those that were not sampled for longest come first, and of these
        the ones with the lowest share of kept samples. Ties are broken at random.
        """
        if iteration <= self._iteration:
            self._forget()
        for earlier in range(self._iteration + 1, iteration):
            self._count(self.ledger.read(earlier), earlier)
            self._iteration = earlier
        return self._in_order(iteration)

    def _in_order(self, iteration: int) -> list[int]:
        order = list(self.problems)
        random.Random(seed_of(self.args.seed, iteration, "order")).shuffle(order)
        return sorted(order, key=self._statistics.__getitem__)

    def _count(self, samples: Sequence[Sample], iteration: int) -> None:
        """
        Updates the statistics of the round(m α²) problems that came first of the m sampled ones, where α is the share
        of the m problems that was solved. A weak model is thus given problems again that it can solve.
        """
        drawn = Counter(sample.problem_id for sample in samples)
        kept = Counter(sample.problem_id for sample in samples if sample.kept)
        sampled = [problem for problem in self._in_order(iteration) if problem in drawn]
        share_solved = len(kept) / max(len(sampled), 1)
        for problem in sampled[: round(len(sampled) * share_solved**2)]:
            self._statistics[problem] = (iteration, kept[problem] / drawn[problem])
