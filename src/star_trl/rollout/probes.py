# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Chooses the temperature and the reward threshold of an outer iteration by what they do on some problems (B-STaR)."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ledger.ledger import PROBE, Ledger
from ..ledger.metrics import query_effect
from ..ledger.sample import Sample
from ..ledger.selection import choose_samples
from ..samplers import Sampler, WrappedSampler
from ..seeds import seed_of
from ..star_config import STaRConfig
from ..task.task import Task
from .rollouts import Rollouts


class TemperatureSampler(WrappedSampler):
    """A sampler at another temperature than its own."""

    def __init__(self, sampler: Sampler, temperature: float):
        super().__init__(sampler)
        self.temperature = temperature


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """
    The settings of an outer iteration.

    Args:
        temperature (`float`):
            Temperature of the first sampler.
        threshold (`float`, *optional*):
            Reward from which a sample is selected; `None` where right samples are.
        effect (`float`):
            Query effect of both on the probe problems.
    """

    temperature: float
    threshold: float | None
    effect: float

    @property
    def metrics(self) -> dict[str, float]:
        threshold = {} if self.threshold is None else {"probe/threshold": self.threshold}
        return {"probe/temperature": self.temperature, **threshold, "probe/effect": self.effect}


class Probes:
    """
    Tries the settings of each outer iteration on some training problems, as
    [B-STaR](https://huggingface.co/papers/2412.17256) (Zeng et al., 2024) does. The samples are in ledgers of their
    own, and the choice is a function of these, so a resumed run makes the same one.

    The authors' code (`determine_hyper.py`, `metric_modiacc_auto.py`) differs in several points. It chooses the number
    of samples together with the temperature, and the threshold afterwards, on all samples of the iteration. It limits
    the samples of a problem to those with the highest rewards, by the smallest limit that fills a training set of a
    given size; here `max_samples_per_problem` is the limit. It adds the dataset's solutions. Its mean leaves out
    problems without a selected sample.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        rollouts ([`Rollouts`]):
            Samples the problems.
        ledger (`Callable[[str], Ledger]`):
            Returns the ledger of a name.
    """

    def __init__(self, task: Task, args: STaRConfig, rollouts: Rollouts, ledger: Callable[[str], Ledger]):
        self.task = task
        self.args = args
        self.rollouts = rollouts
        self.ledger = ledger
        self.sampler = task.samplers[0]
        # A stream is read as far as the run goes, which may be further when it is resumed.
        end = args.num_problems_per_iteration if task.is_stream else None
        problems = [problem for problem in task.candidates if end is None or problem < end]
        count = min(args.num_probe_problems, len(problems))
        self.problems = sorted(random.Random(seed_of(args.seed, "probe")).sample(problems, count))
        self.temperatures = args.adaptive_temperatures or [self.sampler.setting("temperature", args)]
        self._best: dict[int, Balance] = {}
        self._completion_tokens: dict[int, int] = {}

    def samplers(self, iteration: int) -> tuple[list[Sampler], dict[str, float]]:
        """
        Tries the settings of an outer iteration. Samples that are recorded already are not made again.

        Returns:
            `tuple[list[Sampler], dict[str, float]]`: The samplers, with the chosen temperature, and metrics.
        """
        drawn = {}
        for temperature in self.temperatures:
            sampler = TemperatureSampler(self.sampler, temperature)
            title = f"iteration {iteration}, probe at temperature {temperature:g}"
            drawn[temperature] = self.rollouts.collect(
                sampler, self.task.problems, self.problems, iteration, self._ledger(temperature), title
            )
        self.rollouts.scoring.drop_metrics()  # those of the iteration are of its own samples
        best = self._best[iteration] = self._choose(drawn)
        self._completion_tokens[iteration] = sum(sample.num_tokens for samples in drawn.values() for sample in samples)
        return [TemperatureSampler(self.sampler, best.temperature), *self.task.samplers[1:]], best.metrics

    def completion_tokens(self, iteration: int) -> int:
        """Returns the number of tokens of the completions of the probe problems of an iteration that was tried."""
        return self._completion_tokens[iteration]

    def best(self, iteration: int) -> Balance:
        """
        Returns the settings with the greatest query effect on the samples of the probe problems. Of equal ones the
        first is taken, in the order in which the temperatures, and for each the thresholds, are given.
        """
        if iteration in self._best:
            return self._best[iteration]
        return self._choose({each: self._ledger(each).read(iteration) for each in self.temperatures})

    def _choose(self, drawn: dict[float, list[Sample]]) -> Balance:
        """Chooses by the samples of each temperature."""
        found = []
        thresholds: Sequence[float | None] = self.args.adaptive_thresholds or [None]
        for temperature, samples in drawn.items():
            for threshold in thresholds:
                selected, _ = choose_samples(samples, self.args, threshold)
                effect = query_effect(selected, len(self.problems), self.args.num_wanted_per_problem)
                found.append(Balance(temperature=temperature, threshold=threshold, effect=effect))
        return max(found, key=lambda balance: balance.effect)

    def _ledger(self, temperature: float) -> Ledger:
        return self.ledger(f"{PROBE}{temperature}")
