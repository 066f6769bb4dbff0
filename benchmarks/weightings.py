# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares values of `sample_weighting`: uniform (the paper), importance and advantage, on the sums of the arithmetic
example. All have the same steps and samplers (four rationales for each problem at temperature 1, and four
rationalizations of the failed ones).

    python benchmarks/weightings.py                             # three seeds, about 15 minutes on two cores
    python benchmarks/weightings.py --seeds 0 --num_iterations 2

Merges accuracy by digits and the metrics of the policy-gradient view, by iteration, into
`docs/results/weightings.json`. The last line is JSON: the mean accuracy of each weighting after its last iteration.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean

from star_trl import RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer, load_history
from star_trl.rewards import scratchpad_answer_reward


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
from arithmetic import DEFAULTS, ArithmeticArguments, make_datasets  # noqa: E402
from scratchpads import BASE_MODEL, make_base_model  # noqa: E402


RESULTS = runs.RESULTS / "weightings.json"
WANTED = ("eval_accuracy", "policy_gradient/", "importance/", "samples/")
WEIGHTINGS = ("uniform", "importance", "advantage")
CONFIG = {
    **DEFAULTS,
    "step_growth": 1.0,
    "max_completion_length": 64,
    "num_generations": 4,
    "temperature": 1.0,
    "gradient_view_samples": 64,
    "save_strategy": "no",
    "disable_tqdm": True,
}


def run(weighting: str, seed: int, num_iterations: int, base_model: str) -> list[dict[str, float]]:
    """Returns one row for each iteration."""
    train_dataset, eval_dataset, examples = make_datasets(ArithmeticArguments(problems_per_digit=600), seed)
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = STaRTrainer(
            model=base_model,
            args=STaRConfig(
                **{**CONFIG, "num_iterations": num_iterations},
                output_dir=output_dir,
                sample_weighting=weighting,
                seed=seed,
            ),
            reward_funcs=scratchpad_answer_reward,
            samplers=[RationaleSampler(), RationalizationSampler()],
            few_shot_examples=lambda problem: examples[problem["digits"]],
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
        )
        trainer.train()
        return [runs.starting_with(WANTED, metrics) for metrics in load_history(output_dir)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds of problems and training.")
    parser.add_argument("--num_iterations", type=int, default=1, help="Outer iterations.")
    parser.add_argument("--weightings", nargs="+", choices=WEIGHTINGS, default=WEIGHTINGS, help="What to run.")
    parser.add_argument("--base_model", type=Path, default=BASE_MODEL, help="Made where it is not.")
    args = parser.parse_args()
    base_model = str(make_base_model(args.base_model))
    last = {}
    for weighting in args.weightings:
        accuracies = []
        for seed in args.seeds:
            rows = run(weighting, seed, args.num_iterations, base_model)
            runs.merge_results(RESULTS, weighting, {f"seed {seed}": rows})
            accuracies.append(rows[-1]["eval_accuracy"])
        last[weighting] = round(mean(accuracies), 3)
    print(json.dumps(last))


if __name__ == "__main__":
    main()
