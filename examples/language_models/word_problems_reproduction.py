# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,language]"]
# ///
"""
Table 2 of the STaR paper in kind, with a pretrained model on a CPU: SmolLM2 with 135 million parameters, on the word
problems of MAWPS, ASDiv-A and SVAMP, then the calculator, filters of rationales, and other hints. One run is one
setting with one seed. Its results are merged into `docs/results/word_problems.json`, which `word_problems_report.py`
turns into the figures and tables of `docs/word_problems.md`. An interrupted run is resumed when it is started again.

```bash
make reproduce-word-problems DATA=path/to/files                       # the lines of table 2, seed 0
make reproduce-word-problems DATA=path/to/files SETTING=star SEED=1
python examples/language_models/word_problems_reproduction.py --help  # the settings
python examples/language_models/word_problems_reproduction.py --data_dir path/to/files --evaluated 2000 --evaluate \
    runs/word-problems/smollm2 runs/word-problems/operation_all_problems-0/star/iteration-001/checkpoint
```
"""

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from trl import ModelConfig


from cpu_settings import SETTINGS as CPU_SETTINGS  # isort: skip  (it makes the next ones importable)
import runs
import word_problems
from domain import Domain, DomainArguments
from hints import DERIVED_RATIONALIZATIONS, DERIVED_RATIONALIZATIONS_CONFIG, hinted
from paper_runs import RUNS, do_run
from smollm2 import make_smollm2
from star_trl import (
    CalculatorSampler,
    RationalizationSampler,
    Sampler,
    STaRConfig,
    load_history,
    load_ledger,
)
from star_trl.ledger.interval import confidence_interval
from star_trl.rewards import derived_answer_reward


RESULTS = runs.RESULTS / "word_problems.json"

CONFIG: dict[str, Any] = {
    **CPU_SETTINGS,
    "num_iterations": 3,
    "initial_steps": 40,
    "step_growth": 1.2,
    "save_total_limit": 1,
    "disable_tqdm": True,
    "logging_steps": 10,
}

# What the few-shot examples count. A completion that names one of them though its question does not has copied it.
COUNTED = re.compile(r"\b(chair|roll|pen|bottle|box|stamp|grape|friend)(?:e?s)?\b", re.IGNORECASE)
# From the hint that says least to the one that says most
TIERS = ("operands", "operation", "behind")


def use_tiers(samplers: list[Sampler]) -> list[Sampler]:
    """Replaces rationalization by one sampler for each tier. Each tries the problems that no earlier one solved."""
    tiers = [RationalizationSampler(prompt_column=f"{hint}_prompt") for hint in TIERS]
    return [samplers[0], *map(CalculatorSampler, tiers)]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    One way to run STaR, or a baseline.

    Args:
        title (`str`):
            Name of the setting, for tables and figures.
        run (`str`, *optional*, defaults to `"star_zero_shot_train"`):
            Which of `paper_runs.RUNS` it is. Training without the few-shot examples takes half of the time.
        domain ([`Domain`], *optional*):
            The word problems, with other hints, samplers or reward functions.
        calculator (`bool`, *optional*, defaults to `True`):
            Whether calculator marks are computed.
        config (`dict[str, Any]`, *optional*):
            Fields of [`~star_trl.STaRConfig`] that differ from `CONFIG`.
    """

    title: str
    run: str = "star_zero_shot_train"
    domain: Domain = word_problems.DOMAIN
    calculator: bool = True
    config: dict[str, Any] = field(default_factory=dict)


TABLE_2 = {name: Setting(title=run.title, run=name) for name, run in RUNS.items()}
ONE_ITERATION = {"num_iterations": 1}
SETTINGS = {
    **TABLE_2,
    "no_calculator_few_shot": Setting(title="Few-shot, no calculator", run="few_shot_cot", calculator=False),
    "no_calculator": Setting(title="STaR, no calculator", calculator=False),
    "derived_rationalizations": Setting(
        title="STaR, rationalizations kept if their answer is derived",
        domain=replace(word_problems.DOMAIN, reward_funcs=DERIVED_RATIONALIZATIONS),
        config=DERIVED_RATIONALIZATIONS_CONFIG,
    ),
    "derived_samples": Setting(
        title="STaR, samples kept if their answer is derived", config={"reward_threshold": [1.0, 1.0]}
    ),
    **{
        f"learning_rate_{rate:g}": Setting(
            title=f"Learning rate {rate:g}", config={**ONE_ITERATION, "learning_rate": rate}
        )
        for rate in (2e-5, 3e-4)
    },
    **{
        f"steps_{steps}": Setting(title=f"{steps} steps", config={**ONE_ITERATION, "initial_steps": steps})
        for steps in (20, 80)
    },
    **{
        f"hint_{hint}": Setting(
            title=f"Hint: {hint.replace('_', ' ')}",
            domain=hinted(word_problems.DOMAIN, {"hinted_prompt": hint}),
            config=config,
        )
        for hint, config in {"before": ONE_ITERATION, "at_the_head": ONE_ITERATION, "equation": {}}.items()
    },
    **{
        f"{hint}_few_shot_train": Setting(
            title=f"Hint: {hint}, few-shot prompts in training",
            run="star",
            domain=hinted(word_problems.DOMAIN, {"hinted_prompt": hint}),
        )
        for hint in ("equation", "operation")
    },
    "operation_derived": Setting(
        title="Hint: operation, few-shot prompts in training, samples kept if their answer is derived",
        run="star",
        domain=hinted(word_problems.DOMAIN, {"hinted_prompt": "operation"}),
        config={"reward_threshold": [1.0, 1.0]},
    ),
    # To be run with `--max_train_problems 1857`, all that there are
    "operation_all_problems": Setting(
        title="Hint: operation, few-shot prompts in training, all problems",
        run="star",
        domain=hinted(word_problems.DOMAIN, {"hinted_prompt": "operation"}),
        config={**ONE_ITERATION, "initial_steps": 150},
    ),
    "hint_tiered": Setting(
        title="Hint: tiered",
        domain=replace(hinted(word_problems.DOMAIN, {f"{hint}_prompt": hint for hint in TIERS}), equip=use_tiers),
        config=ONE_ITERATION,
    ),
}


def evaluated_on(number: int, load: Callable[[str, str | None], list[dict]]) -> Callable[..., list[dict]]:
    """Returns a function that loads at most this many evaluation problems of each source."""

    def load_some(split: str, data_dir: str | None) -> list[dict]:
        rows = load(split, data_dir)
        if split == "train":
            return rows
        sources = dict.fromkeys(row["source"] for row in rows)
        return [row for source in sources for row in [row for row in rows if row["source"] == source][:number]]

    return load_some


def config(args: argparse.Namespace) -> dict[str, Any]:
    """Returns `CONFIG`, which computes in bf16 where the processor has it, or the same in fp32."""
    return {**CONFIG, "bf16": False} if args.fp32 else CONFIG


def do_setting(name: str, args: argparse.Namespace) -> list[dict]:
    """Runs or resumes a setting, and summarizes every iteration."""
    setting = SETTINGS[name]
    run = RUNS[setting.run]
    output_dir = args.output_dir / f"{name}-{args.seed}{'-fp32' if args.fp32 else ''}"
    star_args = STaRConfig(**{**config(args), "seed": args.seed, "output_dir": str(output_dir), **setting.config})
    total_steps = sum(star_args.inner_steps(number) for number in range(1, star_args.num_iterations + 1))
    if run.train == "answers":
        star_args.max_steps = total_steps
    metrics = do_run(
        setting.run,
        replace(setting.domain, load=evaluated_on(args.evaluated, setting.domain.load)),
        DomainArguments(
            data_dir=args.data_dir, calculator=setting.calculator, max_train_problems=args.max_train_problems
        ),
        star_args,
        ModelConfig(model_name_or_path=str(make_smollm2(args.output_dir / "smollm2")), dtype="float32"),
    )
    if run.train != "star":
        return [summarize({"iteration": 0, **metrics}, steps=total_steps if run.train == "answers" else 0)]
    problems = word_problems.load("train", args.data_dir)
    samplers = judge_samples(output_dir / setting.run, {row["prompt"]: row["steps"] for row in problems})
    return [
        summarize(row, star_args.inner_steps(row["iteration"]) if row["iteration"] else 0, samplers)
        for row in load_history(output_dir / setting.run)
    ]


def summarize(row: dict[str, Any], steps: int, samplers: dict[int, dict] | None = None) -> dict[str, Any]:
    """Returns what the results keep of an iteration's metrics."""
    prefix = "eval_accuracy/"
    judged = (samplers or {}).get(row["iteration"], {})
    names = [key.removesuffix("/yield") for key in row if key.endswith("/yield")] if samplers is not None else []
    return {
        "iteration": row["iteration"],
        "steps": steps,
        "accuracy": {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)},
        # Where a filter asks for derived answers, accuracy counts only those.
        "right": row["eval_rewards/numeric_reward/mean"],
        "derived": row["eval_rewards/derived_answer_reward/mean"],
        **{key: row[key] for key in ("train_data_used", "seconds") if row.get(key) is not None},
        "samplers": {
            name: {"solved": row[f"{name}/solved"], "yield": row[f"{name}/yield"], **judged.get(name, {})}
            for name in names
        },
    }


def judge_samples(output_dir: Path, reference_steps: dict[str, int]) -> dict[int, dict[str, dict]]:
    """
    Returns the quality of the kept samples, by iteration and sampler: their number, the share whose answer is derived,
    the shares with as many calculations as the reference solution and with fewer, and the share that names what a
    few-shot example counts and the question does not.
    """
    judged: dict[tuple[int, str], list[tuple[bool, ...]]] = defaultdict(list)
    ledger = load_ledger(str(output_dir))
    for row in ledger.filter(lambda kept: kept, input_columns="kept", load_from_cache_file=False):
        difference = row["completion"].count("<<") - reference_steps[row["prompt"]]
        (derived,) = derived_answer_reward([row["prompt"]], [row["completion"]])
        asked, counted = (set(map(str.lower, COUNTED.findall(row[column]))) for column in ("prompt", "completion"))
        verdict = (derived == 1.0, difference == 0, difference < 0, not counted <= asked)
        judged[row["iteration"], row["sampler"]].append(verdict)
    result: dict[int, dict[str, dict]] = defaultdict(dict)
    for (iteration, sampler), verdicts in judged.items():
        shares = [sum(values) / len(verdicts) for values in zip(*verdicts, strict=True)]
        names = ("derived", "steps_equal", "steps_fewer", "copied")
        result[iteration][sampler] = {"kept": len(verdicts), **dict(zip(names, shares, strict=True))}
    return result


def evaluate(model: Path, args: argparse.Namespace) -> None:
    """Evaluates a model behind the few-shot examples and prints its accuracies with their 95% intervals."""
    name = "-".join([*model.parts[-4:], *(["without-calculator"] if args.without_calculator else [])])
    output_dir = args.output_dir / "evaluations" / name.strip("/")
    metrics = do_run(
        "few_shot_cot",
        replace(word_problems.DOMAIN, load=evaluated_on(args.evaluated, word_problems.DOMAIN.load)),
        DomainArguments(data_dir=args.data_dir, calculator=not args.without_calculator),
        STaRConfig(**{**config(args), "output_dir": str(output_dir)}),
        ModelConfig(model_name_or_path=str(model), dtype="float32"),
    )
    rows = evaluated_on(args.evaluated, word_problems.load)("eval", args.data_dir)
    for source, count in Counter(row["source"] for row in rows).items():
        accuracy = metrics[f"eval_accuracy/{source}"]
        low, high = confidence_interval(accuracy, count)
        print(f"{model}, {source}: {accuracy:.1%} ({low:.1%} to {high:.1%}) of {count:,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--setting",
        nargs="+",
        choices=SETTINGS,
        default=list(TABLE_2),
        help="What to run. " + "; ".join(f"{name}: {setting.title}" for name, setting in SETTINGS.items()),
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the order of the training sequences.")
    parser.add_argument("--data_dir", required=True, help="Folder with train.csv and SVAMP.json.")
    parser.add_argument("--max_train_problems", type=int, default=500, help="Training problems.")
    parser.add_argument("--evaluated", type=int, default=150, help="Evaluation problems of each source.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/word-problems"), help="Where the runs go.")
    parser.add_argument("--fp32", action="store_true", help="Compute in fp32, also where the processor has bf16.")
    parser.add_argument("--evaluate", type=Path, nargs="+", help="Models to evaluate, and nothing else.")
    parser.add_argument("--without_calculator", action="store_true", help="Evaluate them without the calculator.")
    args = parser.parse_args()
    for model in args.evaluate or ():
        evaluate(model, args)
    for name in [] if args.evaluate else args.setting:
        print(f"{name}, seed {args.seed}", flush=True)
        iterations = do_setting(name, args)
        sizes = {"max_train_problems": args.max_train_problems, "evaluated": args.evaluated}
        bf16 = STaRConfig(args.output_dir, **config(args)).bf16
        run = {"torch": torch.__version__, "bf16": bf16, **sizes, "iterations": iterations}
        runs.merge_results(RESULTS, name, {f"seed {args.seed}{', fp32' if args.fp32 else ''}": run})
        print(f"{name}, seed {args.seed}: {iterations[-1]['accuracy']}, in {RESULTS}", flush=True)


if __name__ == "__main__":
    main()
