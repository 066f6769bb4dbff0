# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares STaR with its relatives and with TRL's `GRPOTrainer` at equal cost: the same base model, problems, reward
function and CPU seconds, on one thread. The task is that of the arithmetic example (sums of one to three digits with
scratchpads, without few-shot examples). All start from a model that some steps of STaR have taught to solve a part of
the longer sums, since methods without hints cannot begin from nothing. Evaluations are the same for all and are not
counted.

    python benchmarks/family.py                                 # every method with three seeds: hours
    python benchmarks/family.py --methods star grpo --seeds 0
    python benchmarks/family.py --draw                          # only the figure, from the results

A method that repeats an outer iteration starts no new one once its time is over. Its last iteration may end later, and
counts up to the last evaluation within the time. Merges the curves into `docs/results/family.json` as each run ends,
leaves out runs that the file has, draws `docs/images/family.png` (accuracy over CPU seconds, and over generated plus
trained tokens), and fills in the table of `docs/comparison.md`. The last line is JSON: the accuracy of each method
within the time, as a mean over the seeds.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOTrainer

from grpo import MAX_COMPLETION_LENGTH, grpo_config, warm_up, with_hints
from star_trl import RationaleSampler, RationalizationSampler, Sampler, STaRConfig, STaRTrainer
from star_trl.preference import IterativeRPOConfig, IterativeRPOTrainer
from star_trl.rewards import scratchpad_answer_reward


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
import tables  # noqa: E402
from arithmetic import DEFAULTS, ArithmeticArguments, make_datasets  # noqa: E402
from scratchpads import BASE_MODEL, make_base_model, write_problem  # noqa: E402


RESULTS = runs.RESULTS / "family.json"
PAGE = runs.RESULTS.parent / "comparison.md"
TOKENS = 1e6  # the last limit of the table
# Behind the seed of runs on a machine that does so many times as much in a CPU second as the one of the others
FASTER, TIMES_AS_FAST = ", faster machine", 2.5
CPU_SECONDS = 200.0
WARM_UP_STEPS = 400
EVALUATIONS_OF_GRPO = 8
# Four draws of a problem at temperature 1, for the methods that need several
SEVERAL = {"num_generations": 4, "temperature": 1.0}
# A third of the problems, so that four draws of each cost about as much as one draw of all
SEVERAL_AGAIN = {**SEVERAL, "num_problems_per_iteration": 800}
# The methods that go on from the model of the iteration before sample anew more often: 100 steps from a part of the
# problems.
GOING_ON = {
    "reset_model": False,
    "num_iterations": 60,
    "initial_steps": 100,
    "step_growth": 1.0,
    "num_problems_per_iteration": 600,
    "learning_rate": 1e-3,
}

Curve = list[dict[str, float]]


def add_tier(problem: dict[str, Any]) -> dict[str, str]:
    """Adds the prompt whose hint is the last digit of the answer."""
    first, second = problem["prompt"].splitlines()[1].split(" + ")
    return {"tier_prompt": write_problem(first.replace(" ", ""), second.replace(" ", ""), hint=problem["answer"][-1])}


def with_tiers() -> list[Sampler]:
    """First the last digit of the answer as a hint, then all of it."""
    tiers = [
        RationalizationSampler(prompt_column=column, p_show_hint=0.1) for column in ("tier_prompt", "hinted_prompt")
    ]
    return [RationaleSampler(), *tiers]


def without_hints() -> list[Sampler]:
    return [RationaleSampler()]


@dataclass(frozen=True, kw_only=True)
class Method:
    """
    A method as settings of the trainer.

    Args:
        title (`str`):
            Name of the method, for the table and the figure.
        config (`dict[str, Any]`, *optional*):
            Fields of its configuration that differ from `CONFIG`.
        samplers (`Callable`, *optional*):
            Makes the samplers.
        trainer_class (`type`, *optional*, defaults to [`STaRTrainer`]):
            Its trainer.
        config_class (`type`, *optional*, defaults to [`STaRConfig`]):
            The configuration of the trainer.
    """

    title: str
    config: dict[str, Any] = field(default_factory=dict)
    samplers: Callable[[], list[Sampler]] = without_hints
    trainer_class: type[STaRTrainer] = STaRTrainer
    config_class: type[STaRConfig] = STaRConfig


# Each iteration starts from the base model with more steps than the one before, as in the paper.
CONFIG = {
    **DEFAULTS,
    "num_iterations": 12,  # the time ends the run
    "initial_steps": 200,
    "step_growth": 1.5,
    "max_completion_length": MAX_COMPLETION_LENGTH,
    "save_strategy": "no",
    "html_report": False,
    "disable_tqdm": True,
    "include_num_input_tokens_seen": "non_padding",
}
METHODS = {
    "star": Method(title="STaR", samplers=with_hints),
    "without_rationalization": Method(title="STaR without rationalization"),
    "rft": Method(title="RFT", config={**SEVERAL, "num_iterations": 1, "initial_steps": 400}),
    "rest_em": Method(
        title="ReST-EM", config={**SEVERAL_AGAIN, "max_samples_per_problem": 2, "sample_preference": "random"}
    ),
    "raft_plus_plus": Method(title="RAFT++", config={**SEVERAL, **GOING_ON, "sample_weighting": "clipped_ratio"}),
    "b_star": Method(
        title="B-STaR",
        # The temperatures of the paper. The reward is 0 or 1, so there is no threshold to choose.
        config={
            **SEVERAL,
            **GOING_ON,
            "adaptive_temperatures": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2],
            "num_probe_problems": 100,
        },
    ),
    "v_star_policy": Method(title="V-STaR's policy", config={**SEVERAL_AGAIN, "sample_iterations": 100}),
    "adastar": Method(
        title="AdaSTaR",
        # Of about 2,400 problems, as many right samples as a third of the steps of the first iteration needs
        config={"num_kept_per_iteration": 800, "problem_order": "adaptive", "temperature": 1.0},
        samplers=with_hints,
    ),
    "tiered_hints": Method(title="Tiered hints", samplers=with_tiers),
    "teacher": Method(
        title="The hinted model as teacher",
        config={**GOING_ON, "distillation": "jensen_shannon", "temperature": 1.0},
    ),
    "iterative_rpo": Method(
        title="Iterative RPO",
        config={**SEVERAL, **GOING_ON, "learning_rate": 1e-4},
        trainer_class=IterativeRPOTrainer,
        config_class=IterativeRPOConfig,
    ),
}
GRPO_LEARNING_RATE = 3e-4
TITLES = {**{name: method.title for name, method in METHODS.items()}, "grpo": "GRPO"}


class Budget(TrainerCallback):
    """Ends a run when its CPU time is over, and evaluates after every outer iteration with the clock stopped."""

    def __init__(self, trainer: STaRTrainer, problems: Dataset, seconds: float):
        self.trainer = trainer
        self.problems = problems
        self.limit = seconds
        self.seconds = self.tokens = 0.0
        self.curve: Curve = [self._point()]

    def _point(self) -> dict[str, float]:
        accuracies = self._accuracies(self.trainer.evaluate(self.problems))
        return {"seconds": round(self.seconds, 1), "tokens": self.tokens, **accuracies}

    def _accuracies(self, metrics: dict[str, float]) -> dict[str, float]:
        return {"accuracy": metrics["eval_accuracy"]}

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.started, self.seen = time.process_time(), state.num_input_tokens_seen

    def on_epoch_end(self, args, state, control, **kwargs):
        self.seconds += time.process_time() - self.started
        samples = self.trainer.ledger.read(int(state.epoch))
        self.tokens += sum(len(sample.completion_ids) for sample in samples)
        self.tokens += state.num_input_tokens_seen - self.seen
        chosen = {}
        if self.trainer.args.probes:
            self.tokens += self.trainer.probes.completion_tokens(int(state.epoch))
            chosen = {"temperature": self.trainer.probes.best(int(state.epoch)).temperature}
        self.curve.append({**self._point(), **chosen})
        control.should_training_stop |= self.seconds >= self.limit


def make_start(base_model: Path, seed: int, datasets: list[Dataset]) -> str:
    """Returns the model from which all methods start. It is kept beside the base model."""
    path = base_model.with_name(f"family-start-{seed}")
    if not path.exists():
        base = str(make_base_model(base_model))  # makes the folder as well
        with tempfile.TemporaryDirectory(dir=base_model.parent) as folder:
            Path(warm_up(base, Path(folder), seed, datasets, WARM_UP_STEPS)).rename(path)
    return str(path)


def make_trainer(method: Method, base_model: str, output_dir: str, seed: int, problems: Dataset) -> STaRTrainer:
    return method.trainer_class(
        model=base_model,
        args=method.config_class(**{**CONFIG, **method.config}, output_dir=output_dir, seed=seed),
        reward_funcs=scratchpad_answer_reward,
        samplers=method.samplers(),
        train_dataset=problems,
    )


def run_method(
    method: Method, base_model: str, seed: int, train_dataset: Dataset, eval_dataset: Dataset, seconds: float
) -> Curve:
    """Runs a method until its time is over."""
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = make_trainer(method, base_model, output_dir, seed, train_dataset)
        budget = Budget(trainer, eval_dataset, seconds)
        trainer.add_callback(budget)
        trainer.train()
        return budget.curve


class StepBudget(TrainerCallback):
    """Ends GRPO when its CPU time is over, and evaluates now and then with the clock stopped."""

    def __init__(self, limit: float, evaluate: Callable[[], float], evaluations: int = EVALUATIONS_OF_GRPO):
        self.limit = limit
        self.evaluate = evaluate
        self.evaluations = evaluations
        self.seconds = 0.0
        self.generated = 0
        self.curve: Curve = []

    def count(self, completion_ids: list[list[int]], **columns: Any) -> list[None]:
        """A reward function that only counts the generated tokens."""
        self.generated += sum(map(len, completion_ids))
        return [None] * len(completion_ids)

    def on_train_begin(self, args, state, control, **kwargs):
        self._evaluate(state)

    def _evaluate(self, state) -> None:
        tokens = self.generated + state.num_input_tokens_seen
        self.curve.append({"seconds": round(self.seconds, 1), "tokens": tokens, "accuracy": self.evaluate()})
        self.started = time.process_time()

    def on_step_end(self, args, state, control, **kwargs):
        now = self.seconds + time.process_time() - self.started
        control.should_training_stop = now >= self.limit
        if control.should_training_stop or now >= len(self.curve) * self.limit / self.evaluations:
            self.seconds = now
            self._evaluate(state)


def run_grpo(base_model: str, seed: int, train_dataset: Dataset, eval_dataset: Dataset, seconds: float) -> Curve:
    """Runs TRL's GRPO until its time is over."""
    with tempfile.TemporaryDirectory() as folder:
        judge = make_trainer(METHODS["star"], base_model, f"{folder}/judge", seed, train_dataset)

        def evaluate() -> float:
            judge.model.load_state_dict(trainer.model.state_dict())
            return judge.evaluate(eval_dataset)["eval_accuracy"]

        budget = StepBudget(seconds, evaluate)
        trainer = GRPOTrainer(
            model=base_model,
            args=grpo_config(Path(folder) / "grpo", seed, GRPO_LEARNING_RATE),
            reward_funcs=[scratchpad_answer_reward, budget.count],
            train_dataset=train_dataset.remove_columns(["hinted_prompt", "tier_prompt"]),
            callbacks=[budget],
        )
        trainer.train()
        return budget.curve


def within(curve: Curve, limit: float, cost: str = "seconds") -> dict[str, float]:
    """Returns the last point of a curve within a limit of its cost."""
    return [point for point in curve if point[cost] <= limit][-1]


def on_machine(curves: dict[str, Curve], machine: str) -> dict[str, Curve]:
    """Returns the curves of a machine. CPU seconds of different machines are not comparable."""
    return {seed: curve for seed, curve in curves.items() if seed.endswith(machine) and (machine or "," not in seed)}


def make_table(results: dict[str, dict[str, Curve]], seconds: float) -> str:
    """Returns the table of `docs/comparison.md`, by the accuracy of the longest runs."""
    limits = [("", seconds), (FASTER, seconds / TIMES_AS_FAST), (FASTER, seconds)]
    columns = [
        "method",
        *(f"{limit:g} CPU seconds{machine}" for machine, limit in limits),
        "millions of tokens by then",
    ]
    columns += [f"{TOKENS / 1e6:g} million tokens", "at the start", "seeds"]
    rows = []
    for name in filter(results.__contains__, TITLES):
        points = [
            [within(curve, limit) for curve in on_machine(results[name], machine).values()]
            for machine, limit in limits
        ]
        curves = list(results[name].values())
        cells = [tables.spread([point["accuracy"] for point in found]) if found else "" for found in points]
        cells.append(f"{fmean(point['tokens'] for point in points[-1]) / 1e6:.1f}")
        cells.append(tables.spread([within(curve, TOKENS, "tokens")["accuracy"] for curve in curves]))
        cells.append(tables.spread([curve[0]["accuracy"] for curve in curves]))
        rows.append((fmean(point["accuracy"] for point in points[-1]), [TITLES[name], *cells, str(len(curves))]))
    return tables.markdown_table(columns, [cells for _, cells in sorted(rows, key=lambda row: -row[0])])


def mean_accuracy(curves: dict[str, Curve], seconds: float) -> float:
    return fmean(within(curve, seconds)["accuracy"] for curve in curves.values())


def draw(results: dict[str, dict[str, Curve]], seconds: float) -> None:
    """Draws the accuracy over CPU seconds of the first machine, and over tokens: a line for each seed."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
    for axes, cost, unit in zip(panels, ("seconds", "tokens"), (1, 1e6), strict=True):
        for number, name in enumerate(name for name in TITLES if name in results):
            curves = results[name] if cost == "tokens" else on_machine(results[name], "")
            for index, curve in enumerate(curves.values()):
                axes.plot(
                    [point[cost] / unit for point in curve],
                    [100 * point["accuracy"] for point in curve],
                    color=f"C{number % 10}",
                    linestyle="-" if number < 10 else "--",
                    marker=".",
                    label=TITLES[name] if index == 0 else None,
                )
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    panels[0].axvline(seconds, color="gray", linewidth=0.8)
    panels[0].set(xlabel="CPU seconds", ylabel="accuracy on held-out sums (%)", ylim=(-3, 103))
    panels[1].set(xlabel="generated plus trained tokens (millions)")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(runs.IMAGES / "family.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--methods", nargs="+", choices=TITLES, default=list(TITLES), help="What to run.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds of problems and training.")
    parser.add_argument("--cpu_seconds", type=float, default=CPU_SECONDS, help="CPU time of each run.")
    parser.add_argument("--machine", choices=["", FASTER], default="", help="Is added to the names of the seeds.")
    parser.add_argument("--base_model", type=Path, default=BASE_MODEL, help="Made where it is not.")
    parser.add_argument("--draw", action="store_true", help="Only draw the figure.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in [] if args.draw else args.seeds:
        done = runs.read_results(RESULTS)
        methods = [name for name in args.methods if f"seed {seed}{args.machine}" not in done.get(name, {})]
        if not methods:
            continue
        random.seed(seed)
        train_dataset, eval_dataset, _ = make_datasets(ArithmeticArguments(), seed)
        train_dataset = train_dataset.map(add_tier)
        start = make_start(args.base_model, seed, [train_dataset, eval_dataset])
        for name in methods:
            if name == "grpo":
                curve = run_grpo(start, seed, train_dataset, eval_dataset, args.cpu_seconds)
            else:
                curve = run_method(METHODS[name], start, seed, train_dataset, eval_dataset, args.cpu_seconds)
            runs.merge_results(RESULTS, name, {f"seed {seed}{args.machine}": curve})
    results = runs.read_results(RESULTS)
    draw(results, args.cpu_seconds)
    PAGE.write_text(tables.fill_in(PAGE.read_text(), {"family": make_table(results, args.cpu_seconds)}))
    found = {name: on_machine(results[name], args.machine) for name in TITLES if name in results}
    print(
        json.dumps(
            {name: round(mean_accuracy(curves, args.cpu_seconds), 3) for name, curves in found.items() if curves}
        )
    )


if __name__ == "__main__":
    main()
