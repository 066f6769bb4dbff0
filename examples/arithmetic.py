# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
n-digit addition with the scratchpads of the STaR paper (section 4.3). Problems look like this, and a scratchpad is a
rationale:

    Input:                                <scratch>
    6 2 4 + 2 5 9                         6 2 4 + 2 5 9 , C: 0
    Target:                               2 + 5 , 3 C: 1
                                          6 + 2 , 8 3 C: 0
                                          , 8 8 3 C: 0
                                          0 8 8 3
                                          </scratch>
                                          8 8 3

A hint puts the answer behind `Target:`. The base model is made on the spot, see `arithmetic_base.py`.

```bash
python examples/arithmetic.py --output_dir runs/demo
python examples/arithmetic.py --output_dir runs/without --rationalization false --num_iterations 4
```
"""

import json
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
from datasets import Dataset
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import HfArgumentParser

from arithmetic_base import make_base_model, write_problem, write_scratchpad
from star_trl import RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer
from star_trl.rewards import scratchpad_answer_reward


@dataclass
class ArithmeticArguments:
    """
    Arguments of this example.

    Args:
        base_model (`str`, *optional*, defaults to `"runs/arithmetic-base"`):
            Where the base model is, or is put once it is made.
        max_digits (`int`, *optional*, defaults to `3`):
            Most digits of a number.
        problems_per_digit (`int`, *optional*, defaults to `1200`):
            Training problems for each number of digits.
        eval_problems_per_digit (`int`, *optional*, defaults to `100`):
            Held-out problems for each number of digits.
        rationalization (`bool`, *optional*, defaults to `True`):
            Whether failed problems are tried again with a hint.
        p_show_hint (`float`, *optional*, defaults to `0.1`):
            Share of the rationalized samples that are trained on with the hint left in.
    """

    base_model: str = field(default="runs/arithmetic-base", metadata={"help": "Where the base model is, or is put."})
    max_digits: int = field(default=3, metadata={"help": "Most digits of a number."})
    problems_per_digit: int = field(default=1200, metadata={"help": "Training problems by number of digits."})
    eval_problems_per_digit: int = field(default=100, metadata={"help": "Held-out problems by number of digits."})
    rationalization: bool = field(default=True, metadata={"help": "Try failed problems again with a hint."})
    p_show_hint: float = field(default=0.1, metadata={"help": "Share of rationalized samples trained with the hint."})


# Settings that suit a model of half a million parameters on two cores. Any of them can be given on the command line.
DEFAULTS = {
    "num_iterations": 2,
    "initial_steps": 550,
    "step_growth": 1.8,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    "warmup_steps": 20,
    "adam_beta2": 0.99,
    "per_device_train_batch_size": 32,
    "train_sampling_strategy": "group_by_length",
    "max_completion_length": 120,
    "max_length": None,
    "stop_strings": ["\n\n"],
    "eval_group_column": "digits",
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": "none",
    "logging_steps": 20,
    "overwrite_output_dir": True,
}


def make_problem(first: int, second: int) -> dict:
    """One row: `prompt`, `hinted_prompt`, `answer` and `digits`; and the true scratchpad as `completion`."""
    digits = len(str(first))
    completion, answer = write_scratchpad(str(first), str(second), str(first + second)[-digits:])
    return {
        "prompt": write_problem(str(first), str(second)),
        "hinted_prompt": write_problem(str(first), str(second), hint=answer),
        "completion": completion,
        "answer": answer,
        "digits": digits,
    }


def make_problems(rng: random.Random, digits: int, count: int, without: set[str]) -> list[dict]:
    """Different problems, none of whose prompts is in `without`; fewer where there are not so many."""
    numbers = range(10 ** (digits - 1), 10**digits)
    problems: dict[str, dict] = {}
    for _ in range(20 * count):
        problem = make_problem(rng.choice(numbers), rng.choice(numbers))
        if problem["prompt"] not in without and len(problems) < count:
            problems[problem["prompt"]] = problem
    return list(problems.values())


def make_datasets(args: ArithmeticArguments, seed: int) -> tuple[Dataset, Dataset, dict[int, list[dict]]]:
    """
    Training problems, held-out problems and few-shot examples by number of digits. No held-out problem is a training
    problem, but for those of one digit, of which there are only 81.
    """
    rng = random.Random(seed)
    train, held_out, examples = [], [], {}
    for digits in range(1, args.max_digits + 1):
        examples[digits] = make_problems(rng, digits, 1, without=set())
        shown = {example["prompt"] for example in examples[digits]}
        held_out += make_problems(rng, digits, args.eval_problems_per_digit, without=shown)
        known = shown if digits == 1 else shown | {problem["prompt"] for problem in held_out}
        train += make_problems(rng, digits, args.problems_per_digit, without=known)
    # The trainer has no use for true scratchpads. Without them they cannot end up in a training sequence.
    return (
        Dataset.from_list(train).remove_columns("completion"),
        Dataset.from_list(held_out).remove_columns("completion"),
        examples,
    )


@cache
def default_datasets() -> tuple[Dataset, Dataset, dict[int, list[dict]]]:
    """Those of the default arguments, made once."""
    return make_datasets(ArithmeticArguments(), seed=42)


def load(split: str) -> Dataset:
    """The problems for training or for the `test`: the `dataset_name` of the recipe."""
    train, held_out, _ = default_datasets()
    return train if split == "train" else held_out


def choose_examples(problem: dict) -> list[dict]:
    """The examples with as many digits: the `few_shot_examples` of the recipe."""
    return default_datasets()[2][problem["digits"]]


def report(output_dir: Path, max_digits: int) -> None:
    """Prints the accuracy by digits and iteration, draws it as `accuracy.png`, and prints a few rationales."""
    history = [json.loads(path.read_text()) for path in sorted(output_dir.glob("iteration-*/metrics.json"))]
    digits = range(1, max_digits + 1)
    table = Table(title="Accuracy on held-out sums, by number of digits", box=box.SIMPLE_HEAD)
    for title in ("iteration", *map(str, digits), "all"):
        table.add_column(title, justify="right")
    for row in history:
        values = [row[f"eval_accuracy/{number}"] for number in digits] + [row["eval_accuracy"]]
        table.add_row(str(row["iteration"]), *(f"{value:.0%}" for value in values))
    Console().print(table)

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    colors = plt.get_cmap("viridis")
    for number in digits:
        accuracy = [100 * row[f"eval_accuracy/{number}"] for row in history]
        label = f"{number} digit{'s' if number > 1 else ''}"
        color = colors((number - 1) / max(max_digits - 1, 1) * 0.9)
        axes.plot([row["iteration"] for row in history], accuracy, marker="o", label=label, color=color)
    axes.set(xlabel="outer iteration (0: base model)", ylabel="accuracy on held-out sums (%)", ylim=(-3, 103))
    axes.set_xticks([row["iteration"] for row in history])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))  # beside the lines, which end at the top
    figure.savefig(output_dir / "accuracy.png", dpi=150)
    print(f"Figure: {output_dir / 'accuracy.png'}\nEvery sample: {output_dir / 'report.html'}\n")


def main() -> None:
    parser = HfArgumentParser([ArithmeticArguments, STaRConfig])
    parser.set_defaults(**DEFAULTS)
    args, star_args = parser.parse_args_into_dataclasses()
    output_dir = Path(star_args.output_dir)

    base_model = make_base_model(Path(args.base_model))
    train_dataset, eval_dataset, examples = make_datasets(args, star_args.seed)
    samplers = [RationaleSampler()]
    if args.rationalization:
        samplers.append(RationalizationSampler(p_show_hint=args.p_show_hint))
    trainer = STaRTrainer(
        model=str(base_model),
        args=star_args,
        reward_funcs=scratchpad_answer_reward,
        samplers=samplers,
        few_shot_examples=lambda problem: examples[problem["digits"]],
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
    )
    trainer.train()
    report(output_dir, args.max_digits)

    print("Some rationales of the final model, for held-out problems:\n")
    shown = [list(eval_dataset["digits"]).index(digits) for digits in range(1, args.max_digits + 1)]
    for sample in trainer.sample_problems(eval_dataset.select(shown)):
        print(f"{sample.prompt}{sample.completion}\n[{'right' if sample.kept else 'wrong'}]\n")


if __name__ == "__main__":
    main()
