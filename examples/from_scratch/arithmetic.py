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

A hint puts the answer after `Target:`. The base model is made on the spot, see `scratchpads.py`.

```bash
python examples/from_scratch/arithmetic.py --output_dir runs/demo
python examples/from_scratch/arithmetic.py --output_dir runs/without --rationalization false --num_iterations 4
```
"""

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

from plots import accuracy_axes, legend_beside
from runs import SETTINGS, SamplerArguments
from scratchpads import BASE_MODEL, make_base_model, write_problem, write_scratchpad
from star_trl import STaRConfig, STaRTrainer, load_history
from star_trl.rewards import scratchpad_answer_reward


@dataclass
class ArithmeticArguments(SamplerArguments):
    """
    Arguments of this example, besides those of [`SamplerArguments`].

    Args:
        base_model (`str`, *optional*, defaults to `"runs/arithmetic-base"`):
            Where the base model is, or is saved once it is made.
        max_digits (`int`, *optional*, defaults to `3`):
            Maximum number of digits of a number.
        problems_per_digit (`int`, *optional*, defaults to `1200`):
            Training problems for each number of digits.
        eval_problems_per_digit (`int`, *optional*, defaults to `100`):
            Held-out problems for each number of digits.
    """

    base_model: str = field(default=str(BASE_MODEL), metadata={"help": "Where the base model is, or is put."})
    max_digits: int = field(default=3, metadata={"help": "Most digits of a number."})
    problems_per_digit: int = field(default=1200, metadata={"help": "Training problems by number of digits."})
    eval_problems_per_digit: int = field(default=100, metadata={"help": "Held-out problems by number of digits."})


# Values that differ from the defaults of STaRConfig. Any of its fields can be given on the command line.
DEFAULTS = {
    **SETTINGS,
    "num_iterations": 2,
    "initial_steps": 550,
    "step_growth": 1.8,
    "max_completion_length": 120,
    "eval_group_column": "digits",
    "overwrite_output_dir": True,
}


def make_problem(first: int, second: int) -> dict:
    """Makes one row: `prompt`, `hinted_prompt`, `answer` and `digits`, and the true scratchpad as `completion`."""
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
    """
    Makes different problems whose prompts are not in `without`. There may be fewer than `count`, if no more exist.
    """
    numbers = range(10 ** (digits - 1), 10**digits)
    problems: dict[str, dict] = {}
    for _ in range(20 * count):
        problem = make_problem(rng.choice(numbers), rng.choice(numbers))
        if problem["prompt"] not in without and len(problems) < count:
            problems[problem["prompt"]] = problem
    return list(problems.values())


def make_datasets(args: ArithmeticArguments, seed: int) -> tuple[Dataset, Dataset, dict[int, list[dict]]]:
    """
    Makes training problems, held-out problems and few-shot examples by number of digits. No held-out problem is a
    training problem, except those of one digit, of which there are only 81.
    """
    rng = random.Random(seed)
    train, held_out, examples = [], [], {}
    for digits in range(1, args.max_digits + 1):
        examples[digits] = make_problems(rng, digits, 1, without=set())
        shown = {example["prompt"] for example in examples[digits]}
        held_out += make_problems(rng, digits, args.eval_problems_per_digit, without=shown)
        known = shown if digits == 1 else shown | {problem["prompt"] for problem in held_out}
        train += make_problems(rng, digits, args.problems_per_digit, without=known)
    return make_dataset(train), make_dataset(held_out), examples


def make_dataset(problems: list[dict]) -> Dataset:
    """
    Returns the problems without their true scratchpads. The trainer does not need these, and without them they cannot
    end up in a training sequence.
    """
    return Dataset.from_list(problems).remove_columns("completion")


@cache
def default_datasets() -> tuple[Dataset, Dataset, dict[int, list[dict]]]:
    """Returns the datasets of the default arguments, which are made once."""
    return make_datasets(ArithmeticArguments(), seed=42)


def load(split: str) -> Dataset:
    """Returns the problems for training or for the `test`: the `dataset_name` of the recipe."""
    train, held_out, _ = default_datasets()
    return train if split == "train" else held_out


def choose_examples(problem: dict) -> list[dict]:
    """Returns the examples with as many digits: the `few_shot_examples` of the recipe."""
    return default_datasets()[2][problem["digits"]]


def report(output_dir: Path, max_digits: int) -> None:
    """Prints the accuracy by digits and iteration, draws it as `accuracy.png`, and prints a few rationales."""
    history = load_history(output_dir)
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
    accuracy_axes(axes, len(history), what="held-out sums")
    legend_beside(axes)
    figure.savefig(output_dir / "accuracy.png", dpi=150)
    print(f"Figure: {output_dir / 'accuracy.png'}\nEvery sample: {output_dir / 'report.html'}\n")


def main() -> None:
    parser = HfArgumentParser([ArithmeticArguments, STaRConfig])
    parser.set_defaults(**DEFAULTS)
    args, star_args = parser.parse_args_into_dataclasses()
    output_dir = Path(star_args.output_dir)

    base_model = make_base_model(Path(args.base_model))
    train_dataset, eval_dataset, examples = make_datasets(args, star_args.seed)
    trainer = STaRTrainer(
        model=str(base_model),
        args=star_args,
        reward_funcs=scratchpad_answer_reward,
        samplers=args.make_samplers(),
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
