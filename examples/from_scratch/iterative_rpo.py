# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
Iterative RPO (Pang et al., 2024, arXiv 2404.19733) and SPIN (Chen et al., 2024, arXiv 2401.01335) on the sums of
`arithmetic.py`, from the same base model. SPIN reads the true scratchpads, which Iterative RPO and STaR never see.
docs/preference.md has the results.

```bash
python examples/from_scratch/iterative_rpo.py rpo --output_dir runs/rpo
python examples/from_scratch/iterative_rpo.py spin --output_dir runs/spin
```
"""

import argparse
import random
from pathlib import Path

from datasets import Dataset
from transformers import HfArgumentParser

from arithmetic import ArithmeticArguments, make_problems, report
from runs import SETTINGS
from scratchpads import make_base_model
from star_trl import RationaleSampler, RationalizationSampler
from star_trl.preference import IterativeRPOConfig, IterativeRPOTrainer, SPINConfig, SPINTrainer
from star_trl.rewards import scratchpad_answer_reward


METHODS = {"rpo": (IterativeRPOTrainer, IterativeRPOConfig), "spin": (SPINTrainer, SPINConfig)}
# Values that differ from the defaults of the configurations. Any field can be given on the command line.
DEFAULTS = {
    **SETTINGS,
    "num_iterations": 2,
    "num_generations": 4,
    "temperature": 1.0,
    "max_pairs_per_problem": 2,
    "initial_steps": 200,
    "step_growth": 1.0,
    "learning_rate": 3e-4,
    "per_device_train_batch_size": 16,
    "max_completion_length": 120,
    "eval_group_column": "digits",
    "overwrite_output_dir": True,
}


def make_datasets(args: ArithmeticArguments, seed: int) -> tuple[Dataset, Dataset]:
    """Makes training problems, with their true scratchpads as `solution`, and held-out problems."""
    rng = random.Random(seed)
    train, held_out = [], []
    for digits in range(1, args.max_digits + 1):
        held_out += make_problems(rng, digits, args.eval_problems_per_digit, without=set())
        known = set() if digits == 1 else {problem["prompt"] for problem in held_out}
        train += make_problems(rng, digits, args.problems_per_digit, without=known)
    return tuple(Dataset.from_list(rows).rename_column("completion", "solution") for rows in (train, held_out))


def main() -> None:
    methods = argparse.ArgumentParser(add_help=False)
    methods.add_argument("method", choices=METHODS)
    method, rest = methods.parse_known_args()
    trainer_class, config_class = METHODS[method.method]
    parser = HfArgumentParser([ArithmeticArguments, config_class])
    parser.set_defaults(**DEFAULTS, problems_per_digit=400)
    args, config = parser.parse_args_into_dataclasses(rest)

    samplers = [RationaleSampler()]
    if args.rationalization and method.method == "rpo":
        # Right completions of the problems that the model does not solve, of which pairs need one
        samplers.append(RationalizationSampler(num_generations=1))
    problems, held_out = make_datasets(args, config.seed)
    if method.method == "rpo":
        problems = problems.remove_columns("solution")
    trainer = trainer_class(
        model=str(make_base_model(Path(args.base_model))),
        args=config,
        reward_funcs=scratchpad_answer_reward,
        samplers=samplers,
        train_dataset=problems,
        eval_dataset=held_out,
    )
    trainer.train()
    report(Path(str(config.output_dir)), args.max_digits)


if __name__ == "__main__":
    main()
