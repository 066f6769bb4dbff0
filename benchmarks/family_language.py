# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares the four best methods of `family.py` on a pretrained language model at equal cost: SmolLM2 with 135 million
parameters, word problems with a calculator, few-shot prompts in sampling and in training, and the same CPU seconds on
one thread. The hint is the equation without its result. Each iteration is evaluated once within its time, and once
more with the clock stopped.

    python benchmarks/family_language.py --data_dir path/to/files                     # over an hour
    python benchmarks/family_language.py --data_dir path/to/files --methods star rft

Merges the curves into `docs/results/family_language.json` as each run ends, leaves out runs that the file has, and
fills in the table of `docs/comparison.md`. The last line is JSON: the last accuracy of each method within the time.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from family import PAGE, TITLES, Budget, Curve, within
from star_trl import CalculatorSampler, RationaleSampler, RationalizationSampler, Sampler, STaRConfig, STaRTrainer


sys.path.append(str(Path(__file__).parents[1] / "examples" / "language_models"))
from word_problems_reproduction import CONFIG, TIERS, evaluated_on, use_tiers  # noqa: E402  isort: skip
import runs  # noqa: E402
import tables  # noqa: E402
import word_problems  # noqa: E402
from domain import DomainArguments, load_data  # noqa: E402
from hints import hinted  # noqa: E402
from smollm2 import make_smollm2  # noqa: E402


RESULTS = runs.RESULTS / "family_language.json"
CPU_SECONDS = 550.0
NUM_PROBLEMS, NUM_EVALUATED = 500, 150
HINTS = {"hinted_prompt": "operation", **{f"{hint}_prompt": hint for hint in TIERS}}
SETTINGS = {
    **CONFIG,
    "num_iterations": 12,  # the time ends the run
    "initial_steps": 30,
    "save_strategy": "no",
    "html_report": False,
    "include_num_input_tokens_seen": "non_padding",
}


def without_hints() -> list[Sampler]:
    return [CalculatorSampler(RationaleSampler())]


def with_hints() -> list[Sampler]:
    return [*without_hints(), CalculatorSampler(RationalizationSampler())]


# The fields of its configuration that differ, and its samplers
METHODS: dict[str, tuple[dict[str, Any], Callable[[], list[Sampler]]]] = {
    "star": ({}, with_hints),
    # One iteration, as a second one would not end within the time
    "tiered_hints": ({"num_iterations": 1}, lambda: use_tiers(without_hints())),
    # One iteration, whose samples and steps take about all of the time
    "rft": ({"num_iterations": 1, "num_generations": 4, "temperature": 0.7, "initial_steps": 60}, without_hints),
    "without_rationalization": ({}, without_hints),
}


class GroupBudget(Budget):
    """Also records the accuracy of each source of problems."""

    def _accuracies(self, metrics: dict[str, float]) -> dict[str, float]:
        prefix = "eval_accuracy/"
        groups = {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}
        return {**super()._accuracies(metrics), **groups}


def run_method(name: str, model: Path, data_dir: str, seed: int, seconds: float) -> Curve:
    """Runs a method until its time is over."""
    changes, make_samplers = METHODS[name]
    domain = hinted(word_problems.DOMAIN, HINTS)
    examples, problems, held_out = load_data(
        replace(domain, load=evaluated_on(NUM_EVALUATED, domain.load)),
        DomainArguments(data_dir=data_dir, max_train_problems=NUM_PROBLEMS),
        direct=False,
    )
    train_dataset, eval_dataset = (Dataset.from_list(rows).remove_columns("direct") for rows in (problems, held_out))
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = STaRTrainer(
            model=str(model),
            args=STaRConfig(**{**SETTINGS, **changes, "output_dir": output_dir, "seed": seed}),
            reward_funcs=domain.reward_funcs,
            samplers=make_samplers(),
            few_shot_examples=examples,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
        )
        budget = GroupBudget(trainer, eval_dataset, seconds)
        trainer.add_callback(budget)
        trainer.train()
        return budget.curve


def make_table(results: dict[str, dict[str, Curve]], seconds: float) -> str:
    """Returns the table of `docs/comparison.md`."""
    columns = ["method", "iterations", "CPU seconds", "held out", "SVAMP", "both", "at the start"]
    rows = []
    for name in filter(results.__contains__, METHODS):
        for curve in results[name].values():
            point = within(curve, seconds)
            shown = [point["held out"], point["SVAMP"], point["accuracy"], curve[0]["accuracy"]]
            cells = [TITLES[name], str(curve.index(point)), f"{point['seconds']:.0f}"]
            rows.append(([*cells, *(f"{value:.1%}" for value in shown)], point["accuracy"]))
    return tables.markdown_table(columns, [cells for cells, _ in sorted(rows, key=lambda row: -row[1])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", required=True, help="Folder with train.csv and SVAMP.json.")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="What to run.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of sampling and of the order of training.")
    parser.add_argument("--cpu_seconds", type=float, default=CPU_SECONDS, help="CPU time of each run.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/word-problems"), help="Where the model goes.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = make_smollm2(args.output_dir / "smollm2")
    for name in args.methods:
        if f"seed {args.seed}" not in runs.read_results(RESULTS).get(name, {}):
            curve = run_method(name, model, args.data_dir, args.seed, args.cpu_seconds)
            runs.merge_results(RESULTS, name, {f"seed {args.seed}": curve})
    results = runs.read_results(RESULTS)
    PAGE.write_text(tables.fill_in(PAGE.read_text(), {"family_language": make_table(results, args.cpu_seconds)}))
    last = {name: within(next(iter(curves.values())), args.cpu_seconds) for name, curves in results.items()}
    print(json.dumps({name: round(point["accuracy"], 3) for name, point in last.items()}))


if __name__ == "__main__":
    main()
