# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Follows weightings of tokens, and the model with the hint as the teacher, over a few hundred steps on sums of one and
two digits of the arithmetic example. Every iteration samples two rationales for each of 160 problems at temperature 1
from the current model, and takes 50 steps from it. The runs are smaller than those of `weightings.py`.

    python benchmarks/teachers.py                                       # all, an hour or more on one core
    python benchmarks/teachers.py --methods teacher --num_iterations 8

Merges the metrics of every iteration into `docs/results/teachers.json`. The last line is JSON: the accuracy of each
method after its last iteration.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from star_trl import RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer, load_history
from star_trl.rewards import scratchpad_answer_reward


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
from arithmetic import DEFAULTS, ArithmeticArguments, make_datasets  # noqa: E402
from scratchpads import BASE_MODEL, make_base_model  # noqa: E402


RESULTS = runs.RESULTS / "teachers.json"
WANTED = ("eval_accuracy", "eval_completion_length", "kept/", "rationale/yield", "samples/selected", "train_loss")
CONFIG: dict[str, Any] = {
    **DEFAULTS,
    "initial_steps": 50,
    "step_growth": 1.0,
    "reset_model": False,
    "learning_rate": 2e-3,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 16,
    "max_completion_length": 48,
    "num_problems_per_iteration": 160,
    "num_generations": 2,
    "temperature": 1.0,
    "save_strategy": "no",
    "html_report": False,
    "disable_tqdm": True,
}
WITH_RATIONALIZATION = ("uniform", "clipped_ratio", "policy_shaping")
METHODS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "clipped_ratio": {"sample_weighting": "clipped_ratio"},
    "policy_shaping": {"sample_weighting": "policy_shaping"},
    "teacher": {"sample_weighting": "teacher"},
    "teacher, teacher_clip=1, learning_rate=5e-4": {
        "sample_weighting": "teacher",
        "teacher_clip": 1.0,
        "learning_rate": 5e-4,
    },
    "teacher_advantage": {"sample_weighting": "teacher_advantage"},
    "jensen_shannon": {"distillation": "jensen_shannon"},
    "jensen_shannon, current teacher": {"distillation": "jensen_shannon", "teacher_model": "current"},
}


def run(method: str, seed: int, num_iterations: int, base_model: str) -> list[dict[str, float]]:
    """Returns one row for each iteration."""
    task = ArithmeticArguments(problems_per_digit=400, max_digits=2, eval_problems_per_digit=60)
    train_dataset, eval_dataset, examples = make_datasets(task, seed)
    hinted = [RationalizationSampler()] if method in WITH_RATIONALIZATION else []
    with tempfile.TemporaryDirectory() as output_dir:
        settings = {**CONFIG, **METHODS[method], "num_iterations": num_iterations, "seed": seed}
        trainer = STaRTrainer(
            model=base_model,
            args=STaRConfig(**settings, output_dir=output_dir),
            reward_funcs=scratchpad_answer_reward,
            samplers=[RationaleSampler(), *hinted],
            few_shot_examples=lambda problem: examples[problem["digits"]],
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
        )
        trainer.train()
        return [runs.starting_with(WANTED, metrics) for metrics in load_history(output_dir)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="Seed of problems and training.")
    parser.add_argument("--num_iterations", type=int, default=4, help="Outer iterations of 50 steps.")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="What to run.")
    parser.add_argument("--base_model", type=Path, default=BASE_MODEL, help="Made where it is not.")
    args = parser.parse_args()
    base_model = str(make_base_model(args.base_model))
    last = {}
    for method in args.methods:
        rows = run(method, args.seed, args.num_iterations, base_model)
        runs.merge_results(RESULTS, method, {f"seed {args.seed}": rows})
        last[method] = round(rows[-1]["eval_accuracy"], 3)
    print(json.dumps(last))


if __name__ == "__main__":
    main()
