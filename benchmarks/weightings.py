# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
`sample_weighting` compared: uniform (the paper), importance and advantage, on the sums of the arithmetic example, with
the same samplers (four rationales for each problem at temperature 1, and four rationalizations of the failed ones) and
steps.

    python benchmarks/weightings.py                             # three seeds, about 15 minutes on two cores
    python benchmarks/weightings.py --seeds 0 --num_iterations 2

Merges accuracy by digits and the numbers of the policy-gradient view, by iteration, into
`docs/results/weightings.json`. The last line is JSON: the mean accuracy of each weighting after its last iteration.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean

from star_trl import RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer
from star_trl.rewards import scratchpad_answer_reward


ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))
from arithmetic import DEFAULTS, ArithmeticArguments, make_datasets  # noqa: E402
from arithmetic_base import make_base_model  # noqa: E402


RESULTS = ROOT / "docs" / "results" / "weightings.json"
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
    """One row for each iteration."""
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
        paths = sorted(Path(output_dir).glob("iteration-*/metrics.json"))
        return [wanted(json.loads(path.read_text())) for path in paths]


def wanted(metrics: dict[str, float]) -> dict[str, float]:
    prefixes = ("eval_accuracy", "policy_gradient/", "importance/", "samples/")
    return {name: value for name, value in metrics.items() if name.startswith(prefixes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="Seeds of problems and training.")
    parser.add_argument("--num_iterations", type=int, default=1, help="Outer iterations.")
    parser.add_argument("--weightings", nargs="+", choices=WEIGHTINGS, default=WEIGHTINGS, help="What to run.")
    parser.add_argument("--base_model", type=Path, default=Path("runs/arithmetic-base"), help="Made where it is not.")
    args = parser.parse_args()
    base_model = str(make_base_model(args.base_model))
    last = {}
    for weighting in args.weightings:
        runs = {}
        for seed in args.seeds:
            runs[f"seed {seed}"] = run(weighting, seed, args.num_iterations, base_model)
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            results[weighting] = {**results.get(weighting, {}), **runs}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        last[weighting] = round(mean(rows[-1]["eval_accuracy"] for rows in runs.values()), 3)
    print(json.dumps(last))


if __name__ == "__main__":
    main()
