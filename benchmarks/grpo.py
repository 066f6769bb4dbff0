# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares STaR with TRL's `GRPOTrainer`: the same base model, problems, reward function and wall time, in one run. The
task is that of the arithmetic example (sums of one to three digits with scratchpads, without few-shot examples). GRPO
gets as many seconds as STaR with rationalization took. Evaluations are the same for all and stop the clock.

    python benchmarks/grpo.py                          # about 15 minutes on two cores
    python benchmarks/grpo.py --warm_up_steps 400      # all start from a model that solves some of the longer sums

Merges the curves (accuracy over seconds of training) into `docs/results/grpo.json` and draws all curves of that file
in `docs/images/grpo.png`. The last line is JSON: where each method ended.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from star_trl import RationaleSampler, RationalizationSampler, Sampler, STaRConfig, STaRTrainer, load_history
from star_trl.rewards import scratchpad_answer_reward


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
from arithmetic import DEFAULTS, ArithmeticArguments, make_datasets  # noqa: E402
from scratchpads import BASE_MODEL, make_base_model  # noqa: E402


RESULTS = runs.RESULTS / "grpo.json"
# The best two of the learning rates that were tried for GRPO: 1e-3 collapses, 3e-5 does not move.
GRPO_LEARNING_RATES = (1e-4, 3e-4)
MAX_COMPLETION_LENGTH = 64
EVALUATIONS = 8
ACCURACY = ("eval_accuracy",)

Curve = list[dict[str, float]]


def make_star(
    base_model: str, output_dir: Path, seed: int, datasets: list[Dataset], samplers: list[Sampler], **changes: int
) -> STaRTrainer:
    train_dataset, eval_dataset = datasets
    settings = {**DEFAULTS, "max_completion_length": MAX_COMPLETION_LENGTH, "disable_tqdm": True, **changes}
    return STaRTrainer(
        model=base_model,
        args=STaRConfig(output_dir=str(output_dir), save_strategy="no", seed=seed, **settings),
        reward_funcs=scratchpad_answer_reward,
        samplers=samplers,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
    )


def with_hints() -> list[Sampler]:
    return [RationaleSampler(), RationalizationSampler(p_show_hint=0.1)]


def warm_up(base_model: str, folder: Path, seed: int, datasets: list[Dataset], steps: int) -> str:
    """Takes some steps of STaR, after which the model solves some of the longer sums, and returns the model's path."""
    settings = {"num_iterations": 1, "initial_steps": steps}
    trainer = make_star(base_model, folder / "warm-up", seed, datasets, with_hints(), **settings)
    trainer.train()
    trainer.save_model(folder / "base")
    return str(folder / "base")


def run_star(trainer: STaRTrainer) -> Curve:
    trainer.train()
    curve, seconds = [], 0.0
    for metrics in load_history(trainer.args.output_dir):
        seconds += metrics["seconds"] - metrics["eval_runtime"]
        curve.append({"seconds": seconds, **runs.starting_with(ACCURACY, metrics)})
    return curve


class Clock(TrainerCallback):
    """Evaluates regularly, with the clock stopped, and ends the run when its time is over."""

    def __init__(self, limit: float, evaluate: Callable[[], dict[str, float]]):
        self.limit = limit
        self.evaluate = evaluate
        self.seconds = 0.0
        self.curve: Curve = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.curve.append({"seconds": 0.0, "steps": 0, **self.evaluate()})
        self.started = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        now = self.seconds + time.perf_counter() - self.started
        over = now >= self.limit
        if over or now >= len(self.curve) * self.limit / EVALUATIONS:
            self.seconds = now
            self.curve.append({"seconds": now, "steps": state.global_step, **self.evaluate()})
            self.started = time.perf_counter()
        control.should_training_stop = over


def grpo_config(output_dir: Path, seed: int, learning_rate: float) -> GRPOConfig:
    """Returns the settings of GRPO. The run ends by its time."""
    return GRPOConfig(
        output_dir=str(output_dir),
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        adam_beta2=DEFAULTS["adam_beta2"],
        per_device_train_batch_size=64,
        num_generations=8,
        temperature=1.0,
        max_completion_length=MAX_COMPLETION_LENGTH,
        max_steps=1_000_000,
        save_strategy="no",
        logging_steps=20,
        disable_tqdm=True,
        seed=seed,
        **runs.ON_A_CPU,
    )


def run_grpo(
    base_model: str,
    output_dir: Path,
    seed: int,
    learning_rate: float,
    problems: Dataset,
    judge: STaRTrainer,
    limit: float,
) -> Curve:
    trainer = GRPOTrainer(
        model=base_model,
        args=grpo_config(output_dir, seed, learning_rate),
        reward_funcs=scratchpad_answer_reward,
        train_dataset=problems,
    )

    def evaluate() -> dict[str, float]:
        judge.model.load_state_dict(trainer.model.state_dict())
        return runs.starting_with(ACCURACY, judge.evaluate())

    clock = Clock(limit, evaluate)
    trainer.add_callback(clock)
    trainer.train()
    return clock.curve


def draw(results: dict[str, dict[str, Curve]]) -> None:
    """Draws one panel for each start."""
    figure, panels = plt.subplots(1, len(results), figsize=(5 * len(results), 4), sharey=True, squeeze=False)
    for axes, (title, curves) in zip(panels[0], results.items(), strict=True):
        for name, curve in curves.items():
            seconds = [point["seconds"] for point in curve]
            accuracies = [100 * point["eval_accuracy"] for point in curve]
            axes.plot(seconds, accuracies, marker=".", linestyle="--" if "GRPO" in name else "-", label=name)
        axes.set(title=title, xlabel="seconds of training", ylim=(-3, 103))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    panels[0][0].set_ylabel("accuracy on held-out sums (%)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.set_layout_engine("constrained")
    figure.savefig(runs.IMAGES / "grpo.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="Seed of the problems and of the training.")
    parser.add_argument("--warm_up_steps", type=int, default=0, help="Steps of STaR before, from which all start.")
    parser.add_argument("--base_model", type=Path, default=BASE_MODEL, help="Made where it is not.")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    base_model = str(make_base_model(args.base_model))
    random.seed(args.seed)
    *datasets, _ = make_datasets(ArithmeticArguments(), args.seed)

    curves: dict[str, Curve] = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.warm_up_steps:
            base_model = warm_up(base_model, Path(folder), args.seed, datasets, args.warm_up_steps)
        for name, samplers in {"STaR": with_hints(), "STaR without rationalization": [RationaleSampler()]}.items():
            trainer = make_star(base_model, Path(folder) / name, args.seed, datasets, samplers)
            curves[name] = run_star(trainer)
        limit = curves["STaR"][-1]["seconds"]
        judge = make_star(base_model, Path(folder) / "judge", args.seed, datasets, [RationaleSampler()])
        for learning_rate in GRPO_LEARNING_RATES:
            name = f"GRPO, learning rate {learning_rate:g}"
            problems = datasets[0].remove_columns("hinted_prompt")
            curves[name] = run_grpo(base_model, Path(folder) / name, args.seed, learning_rate, problems, judge, limit)

    runs.merge_results(RESULTS, f"seed {args.seed}, {args.warm_up_steps} steps of warm-up", curves)
    draw(runs.read_results(RESULTS))
    last = {name: {key: round(value, 3) for key, value in curve[-1].items()} for name, curve in curves.items()}
    print(json.dumps(last))


if __name__ == "__main__":
    main()
