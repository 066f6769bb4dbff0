# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares STaR, with and without hints, with TRL's `GRPOTrainer` in the console of `examples/datasets/sql_console.py`:
GeoQuery and a pretrained model, SmolLM2 with 135 million parameters, which was not made for tools. All see the same
example conversations before a question, and have the same CPU seconds on one thread. Evaluations are the same for all
and are not counted, nor is the process that runs the queries.

    python benchmarks/console_language.py --data_dir path/to/geoquery --output_dir runs/console-language
    python benchmarks/console_language.py --data_dir path/to/geoquery --output_dir runs/console-language --methods STaR

Merges the curves into `docs/results/console_language.json` as each run ends, leaves out runs that the file has, and
fills in the table of `docs/text_to_sql.md`. A run of STaR is in its folder under `--output_dir`, with its report. The
last line is JSON: the last accuracy of each method within the time.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, chat_template_utils

from family import Budget, Curve, StepBudget, within
from star_trl import STaRConfig, STaRTrainer
from star_trl.ledger.selection import NothingSurvives


sys.path.append(str(Path(__file__).parents[1] / "examples" / "language_models"))
from cpu_settings import ON_A_CPU  # noqa: E402  isort: skip
import runs  # noqa: E402
import sql_console  # noqa: E402
import tables  # noqa: E402
from smollm2 import make_smollm2  # noqa: E402
from sql_console import SqlConsole, make_examples, make_samplers  # noqa: E402


RESULTS = runs.RESULTS / "console_language.json"
PAGE = runs.RESULTS.parent / "text_to_sql.md"
CPU_SECONDS = 600.0
NUM_TRAINING, NUM_HELD_OUT = 128, 80
# SmolLM2's own template drops the calls. This one begins and ends a turn with the same tokens.
CHAT_TEMPLATE = Path(chat_template_utils.__file__).parent / "chat_templates" / "qwen3_instruct_2507.jinja"
# Otherwise the model unlearns to follow the hint.
P_SHOW_HINT = 0.3

SHARED: dict[str, Any] = {
    **ON_A_CPU,
    "bf16": True,
    "max_completion_length": 200,
    "max_tool_calling_iterations": 3,
    "save_strategy": "no",
    "disable_tqdm": True,
}
STAR: dict[str, Any] = {
    **SHARED,
    "chat_template_path": str(CHAT_TEMPLATE),
    "num_iterations": 12,  # the time ends the run
    # The examples are needed for the first samples alone.
    "few_shot_train": False,
    "few_shot_iterations": 1,
    "initial_steps": 24,
    "step_growth": 1.2,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 3,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_length": None,
    "logging_steps": 2,
    "include_num_input_tokens_seen": "non_padding",
    "overwrite_output_dir": True,
}
# Without hints there is no second try, so two completions of a problem are drawn.
WITHOUT_HINTS = {"num_generations": 2, "temperature": 0.7}
GRPO: dict[str, Any] = {
    **SHARED,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant",
    # Two groups in a step
    "num_generations": 8,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 16,
    "max_steps": 1_000_000,  # the time ends the run
    "logging_steps": 1,
}
METHODS = ("STaR", "STaR without hints", "GRPO")


class ConsoleBudget(Budget):
    """Also records what the samplers solved, and how often the console was asked before the answer."""

    def __init__(self, trainer: STaRTrainer, problems: Dataset, seconds: float, start: float | None):
        self.start = start
        super().__init__(trainer, problems, seconds)

    def _point(self) -> dict[str, float]:
        if self.seconds == 0 and self.start is not None:
            return {"seconds": 0.0, "tokens": 0.0, "accuracy": self.start}
        return super()._point()

    def on_epoch_end(self, args, state, control, **kwargs):
        super().on_epoch_end(args, state, control, **kwargs)
        self.curve[-1]["samplers"] = count_samples(self.trainer, int(state.epoch))


def count_samples(trainer: STaRTrainer, iteration: int) -> dict[str, dict[str, int]]:
    """Returns for each sampler the number of its samples, of the kept ones, and of those that asked before."""
    counts: dict[str, Counter] = {}
    for sample in trainer.ledger.read(iteration):
        count = counts.setdefault(sample.sampler, Counter(samples=0, kept=0, asked=0))
        calls = [call for turn in sample.extra["messages"] for call in turn.get("tool_calls") or ()]
        asked = any(call["function"]["name"] == "query" for call in calls)
        count.update({"samples": 1, "kept": sample.kept, "asked": sample.kept and asked})
    return {name: dict(count) for name, count in counts.items()}


def make_datasets(data_dir: str, seed: int) -> tuple[Dataset, Dataset]:
    """Returns some training problems and some held-out ones. The files have similar questions beside each other."""
    sizes = {"train": NUM_TRAINING, "eval": NUM_HELD_OUT}
    train, held_out = (sql_console.load(split, data_dir).shuffle(seed).select(range(n)) for split, n in sizes.items())
    return train, held_out


def make_star(model: str, output_dir: str, seed: int, problems: Dataset, with_hints: bool) -> STaRTrainer:
    args = STaRConfig(**{**STAR, **({} if with_hints else WITHOUT_HINTS), "output_dir": output_dir, "seed": seed})
    limits = {"max_turns": args.max_tool_calling_iterations, "max_environments": NUM_TRAINING}
    samplers = make_samplers(P_SHOW_HINT, **limits)
    return STaRTrainer(
        model=model,
        args=args,
        samplers=samplers if with_hints else samplers[:1],
        few_shot_examples=make_examples(problems[0]["database"]),
        train_dataset=problems,
    )


def run_star(
    model: str,
    output_dir: str,
    seed: int,
    datasets: tuple[Dataset, Dataset],
    with_hints: bool,
    seconds: float,
    start: float | None,
) -> Curve:
    """Runs STaR until its time is over, or until no sample is kept. `start` is the accuracy of the model, if known."""
    trainer = make_star(model, output_dir, seed, datasets[0], with_hints)
    budget = ConsoleBudget(trainer, datasets[1], seconds, start)
    trainer.add_callback(budget)
    try:
        trainer.train()
    except NothingSurvives as error:
        print(error, flush=True)
        seconds = round(time.process_time() - budget.started, 1)
        samplers = count_samples(trainer, len(budget.curve))
        budget.curve.append({**budget.curve[-1], "seconds": seconds, "samplers": samplers})
    return budget.curve


def run_grpo(model: str, seed: int, datasets: tuple[Dataset, Dataset], seconds: float, start: float | None) -> Curve:
    """Runs TRL's GRPO in the same console until its time is over. `start` is the accuracy of the model, if known."""
    with tempfile.TemporaryDirectory() as folder:
        judge = make_star(model, f"{folder}/judge", seed, datasets[0], with_hints=False)
        builder = judge.task.prompt_builder
        # The example conversations are a part of GRPO's prompts.
        problems = [{**row, "prompt": builder.render(row, "prompt", few_shot=True)} for row in datasets[0]]

        accuracies = [] if start is None else [start]

        def evaluate() -> float:
            weights = trainer.model.state_dict()
            # Without a right completion there is no gradient, and nothing new to evaluate.
            same = all(torch.equal(weights[name], value) for name, value in judge.model.state_dict().items())
            if not (same and accuracies):
                judge.model.load_state_dict(weights)
                accuracies.append(judge.evaluate(datasets[1])["eval_accuracy"])
            return accuracies[-1]

        budget = StepBudget(seconds, evaluate, evaluations=1)
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.chat_template = CHAT_TEMPLATE.read_text()
        trainer = GRPOTrainer(
            model=model,
            args=GRPOConfig(**GRPO, output_dir=f"{folder}/grpo", seed=seed),
            reward_funcs=[budget.count],
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(problems),
            environment_factory=SqlConsole,
            callbacks=[budget],
        )
        trainer.train()
        rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
        per_step = GRPO["per_device_train_batch_size"] * GRPO["gradient_accumulation_steps"]
        samples, kept = per_step * len(rewards), round(per_step * sum(rewards))
        budget.curve[-1]["samplers"] = {"rationale": {"samples": samples, "kept": kept}}
        return budget.curve


def make_table(results: dict[str, dict[str, Any]]) -> str:
    """Returns the table of `docs/text_to_sql.md`: every measurement of every method."""
    columns = ["method", "CPU seconds", "held out", "right without a hint", "with the hint", "of these asked before"]
    rows = []
    for name in filter(results.__contains__, METHODS):
        for run in results[name].values():
            for point in run["curve"]:
                samplers = point.get("samplers", {})
                plain, hinted = (samplers.get(key, {}) for key in ("rationale", "rationalization"))
                shares = [f"{each['kept']} of {each['samples']}" if each else "" for each in (plain, hinted)]
                asked = str(plain["asked"] + hinted.get("asked", 0)) if "asked" in plain else ""
                rows.append([name, f"{point['seconds']:.0f}", f"{point['accuracy']:.1%}", *shares, asked])
    return tables.markdown_table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", required=True, help="Folder with geography.json and geography.sqlite.")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="What to run.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the problems and of the training.")
    parser.add_argument("--cpu_seconds", type=float, default=CPU_SECONDS, help="CPU time of each run.")
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the model and the runs go.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = str(make_smollm2(args.output_dir / "smollm2"))
    datasets = make_datasets(args.data_dir, args.seed)
    seed = f"seed {args.seed}"
    for name in args.methods:
        if seed in runs.read_results(RESULTS).get(name, {}):
            continue
        curves = [found[seed]["curve"] for found in runs.read_results(RESULTS).values() if seed in found]
        start = curves[0][0]["accuracy"] if curves else None  # all start from the same model
        if name == "GRPO":
            curve = run_grpo(model, args.seed, datasets, args.cpu_seconds, start)
        else:
            folder = str(args.output_dir / f"{name.replace(' ', '-')}-{args.seed}")
            curve = run_star(model, folder, args.seed, datasets, name == "STaR", args.cpu_seconds, start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        runs.merge_results(RESULTS, name, {seed: {"curve": curve, "peak_mib": peak}})
    results = runs.read_results(RESULTS)
    PAGE.write_text(tables.fill_in(PAGE.read_text(), {"console_language": make_table(results)}))
    last = {name: within(next(iter(found.values()))["curve"], args.cpu_seconds) for name, found in results.items()}
    print(json.dumps({name: round(point["accuracy"], 3) for name, point in last.items()}))


if __name__ == "__main__":
    main()
