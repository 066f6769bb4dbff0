# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
Section 4.3 of the STaR paper in miniature: Figures 4 and 5, the baselines, and the ablations of section 5, on sums of
numbers of one to five digits. One run is one setting with one seed. Its results are merged into
`docs/results/arithmetic.json`, which `arithmetic_report.py` turns into the figures and tables of
`docs/arithmetic_paper.md`. An interrupted run is resumed when it is started again.

```bash
make reproduce-arithmetic                                        # Figure 4 and the baselines, seed 0
make reproduce-arithmetic SETTING=majority_vote SEED=1
python examples/from_scratch/arithmetic_reproduction.py --help   # the settings
```
"""

import argparse
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

import runs
from arithmetic import DEFAULTS, make_dataset, make_problem
from scratchpads import make_base_model, write_scratchpad
from star_trl import (
    Completion,
    LoopState,
    MajorityVoteSampler,
    Prompt,
    RationaleSampler,
    RationalizationSampler,
    Sampler,
    STaRConfig,
    STaRTrainer,
    has_run,
    load_history,
    load_ledger,
)
from star_trl.rewards import exact_match_reward, scratchpad_answer_reward
from star_trl.samplers import Generate


RESULTS = runs.RESULTS / "arithmetic.json"

# The base model knows what scratchpads of up to ten digits look like, and how to use a hint in them; see
# scratchpads.py. (steps, rows, tokens in a row, weights of documents with 1, 2, ... digits)
BASE_PHASES = (
    (120, 32, 32, (1,)),
    (80, 16, 128, (1,)),
    (600, 16, 192, (1, 2, 2, 2, 2)),
    (900, 12, 400, (1, 2, 2, 2, 2, 1, 1, 1, 1, 1)),
)

# As in the paper: 50,000 problems, 10,000 of them in each outer iteration. A tenth of the rationalized samples keep
# their hint in training.
PROBLEMS_PER_DIGIT = 10_000
PROBLEMS_PER_ITERATION = 10_000
P_SHOW_HINT = 0.1
TRAINED_DIGITS = 5
LONGER_DIGITS = 3
# Held-out problems by number of digits. There are only 81 of one digit.
HELD_OUT, HELD_OUT_LONGER = 200, 100

CONFIG: dict[str, Any] = {
    **DEFAULTS,
    "num_iterations": 4,
    "num_problems_per_iteration": PROBLEMS_PER_ITERATION,
    "initial_steps": 2000,
    "step_growth": 1.2,
    "max_completion_length": 140,
    "save_total_limit": 1,
    "disable_tqdm": True,
    "logging_steps": 100,
    "overwrite_output_dir": False,
}


def read_answer(completion: str) -> str | None:
    """Returns what follows the scratchpad, for the majority vote."""
    _, *after = completion.split("</scratch>")
    return after[0].strip() if len(after) == 1 else None


class DigitsAdded:
    """
    A curriculum for a sampler: sums of up to five digits in the first iteration, then one digit more in each, with the
    same number of problems in every iteration (Figure 5 of the paper). A tenth of the problems are longer, of lengths
    that are still to come. Without them, the model forgets in one iteration how to copy such sums, and therefore how
    to use a hint in them.
    """

    def select(self, state: LoopState) -> list[int]:
        self.most_digits = TRAINED_DIGITS + min(state.iteration - 1, LONGER_DIGITS)
        digits = state.problems["digits"]
        longer = [problem for problem in state.candidates if digits[problem] > self.most_digits]
        eligible = [problem for problem in state.candidates if digits[problem] <= self.most_digits]
        # The same problems for both samplers, and in a resumed run
        rng = random.Random(state.iteration)
        ahead = rng.sample(longer, min(PROBLEMS_PER_ITERATION // 10, len(longer)))
        state.candidates = ahead + rng.sample(eligible, PROBLEMS_PER_ITERATION - len(ahead))
        return super().select(state)


class DigitsAddedRationales(DigitsAdded, RationaleSampler):
    """Rationale generation with [`DigitsAdded`]."""


class DigitsAddedRationalizations(DigitsAdded, RationalizationSampler):
    """Rationalization with [`DigitsAdded`]."""


class DigitsAheadHinted(DigitsAddedRationalizations):
    """Like its base class, but all hints stay in training for sums that are longer than those of the iteration."""

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterator[Completion]:
        for completion in super().sample(prompts, generate):
            is_ahead = completion.prompt.columns["digits"] > self.most_digits
            yield replace(completion, hint_shown=completion.hint_shown or is_ahead)


def star(p_show_hint: float = P_SHOW_HINT) -> list[Sampler]:
    return [RationaleSampler(), RationalizationSampler(p_show_hint=p_show_hint)]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    One way to run STaR.

    Args:
        title (`str`):
            Name of the setting, for tables and figures.
        samplers (`Callable[[], list[Sampler]]`, *optional*):
            Makes the samplers. STaR with rationalization by default.
        config (`dict[str, Any]`, *optional*):
            Fields of [`STaRConfig`] that differ from `CONFIG`.
        trained_digits, evaluated_digits (`int`, *optional*):
            Maximum number of digits of a number in training and in the evaluation.
    """

    title: str
    samplers: Callable[[], list[Sampler]] = star
    config: dict[str, Any] = field(default_factory=dict)
    trained_digits: int = TRAINED_DIGITS
    evaluated_digits: int = TRAINED_DIGITS + LONGER_DIGITS


SETTINGS = {
    "rationalization": Setting(title="STaR with rationalization"),
    "no_rationalization": Setting(
        title="STaR without rationalization", samplers=lambda: [RationaleSampler()], config={"num_iterations": 6}
    ),
    "many_first_steps": Setting(
        title="without rationalization, four times the first steps",
        samplers=lambda: [RationaleSampler()],
        config={"initial_steps": 4 * CONFIG["initial_steps"], "num_iterations": 1},
    ),
    "temperature": Setting(
        title="4 samples at temperature 0.7 in place of rationalization",
        samplers=lambda: [RationaleSampler(num_generations=4, temperature=0.7)],
        config={"num_iterations": 2},
    ),
    "majority_vote": Setting(
        title="majority of 8 samples in place of the ground truth",
        samplers=lambda: [MajorityVoteSampler(read_answer, num_generations=8, temperature=0.7)],
        config={"max_samples_per_problem": 1, "num_iterations": 2},
    ),
    "few_shot_first": Setting(
        title="few-shot example in the first iteration only, in no training sequence",
        config={"few_shot_iterations": 1, "few_shot_train": False, "num_iterations": 3},
    ),
    "few_shot_untrained": Setting(
        title="few-shot example in every iteration, in no training sequence",
        config={"few_shot_train": False, "num_iterations": 2},
    ),
    "continued": Setting(
        title="training goes on from the last model", config={"reset_model": False, "num_iterations": 3}
    ),
    "no_hints_left": Setting(
        title="no hints left in training",
        samplers=lambda: star(p_show_hint=0.0),
        config={"num_iterations": 3},
    ),
    "digits_added": Setting(
        title="digits added during training",
        samplers=lambda: [DigitsAddedRationales(), DigitsAddedRationalizations(p_show_hint=P_SHOW_HINT)],
        config={"num_problems_per_iteration": None, "max_completion_length": 180},
        trained_digits=TRAINED_DIGITS + LONGER_DIGITS,
        evaluated_digits=10,
    ),
}
SETTINGS["digits_added_hinted"] = replace(
    SETTINGS["digits_added"],
    title="digits added, hints left in what is still to come",
    samplers=lambda: [DigitsAddedRationales(), DigitsAheadHinted(p_show_hint=P_SHOW_HINT)],
)
BASELINES = {"direct": "direct answers, fine-tuned", "few_shot": "few-shot direct answers, not trained"}
FIGURE_4 = ("rationalization", "no_rationalization", "direct", "few_shot")


def draw_problems(rng: random.Random, digits: int, count: int, without: set[str] = frozenset()) -> list[dict]:
    """Draws random problems, which repeat if there are few. None has its prompt in `without`."""
    problems: list[dict] = []
    while len(problems) < count:
        problem = make_problem(*(rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2)))
        if problem["prompt"] not in without:
            problems.append(problem)
    return problems


def make_datasets(seed: int, trained_digits: int, evaluated_digits: int) -> tuple[Dataset, Dataset, dict[int, dict]]:
    """
    Makes training problems, held-out problems and one solved example for each number of digits. No held-out problem is
    a training problem, except those of one digit, of which there are only 81.
    """
    train, held_out, examples = [], [], {}
    for digits in range(1, evaluated_digits + 1):
        rng = random.Random(f"{seed} {digits}")
        (examples[digits],) = draw_problems(rng, digits, 1)
        count = HELD_OUT if digits <= TRAINED_DIGITS else HELD_OUT_LONGER
        problems = draw_problems(rng, digits, count, {examples[digits]["prompt"]})
        problems = list({problem["prompt"]: problem for problem in problems}.values())
        held_out += problems
        if digits <= trained_digits:
            known = {problem["prompt"] for problem in problems} if digits > 1 else set()
            train += draw_problems(rng, digits, PROBLEMS_PER_DIGIT, known)
    return make_dataset(train), make_dataset(held_out), examples


def run_star(name: str, seed: int, base_model: Path, output_dir: Path) -> list[dict]:
    """Runs or resumes STaR, and summarizes every iteration."""
    setting = SETTINGS[name]
    train_dataset, eval_dataset, examples = make_datasets(seed, setting.trained_digits, setting.evaluated_digits)
    trainer = STaRTrainer(
        model=str(base_model),
        args=STaRConfig(**{**CONFIG, "seed": seed, "output_dir": str(output_dir), **setting.config}),
        reward_funcs=scratchpad_answer_reward,
        samplers=setting.samplers(),
        few_shot_examples=lambda problem: [examples[problem["digits"]]],
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
    )
    trainer.train(resume_from_checkpoint=has_run(output_dir))
    scratchpads = judge_scratchpads(output_dir)
    iterations: list[dict] = [
        {
            "iteration": row["iteration"],
            "steps": trainer.args.inner_steps(row["iteration"]) if row["iteration"] else 0,
            "accuracy": accuracy_by_digits(row),
            **{name: row[name] for name in ("train_data_used", "seconds") if name in row},
            "samplers": {
                sampler.name: {
                    "solved": row[f"{sampler.name}/solved"],
                    "yield": row.get(f"{sampler.name}/yield"),
                    **scratchpads.get((row["iteration"], sampler.name), {}),
                }
                for sampler in trainer.task.samplers
                if row["iteration"]
            },
        }
        for row in load_history(output_dir)
    ]
    iterations[-1]["operands_copied"] = operands_copied(trainer, eval_dataset)
    return iterations


def operands_copied(trainer: STaRTrainer, problems: Dataset) -> dict[str, float]:
    """Share of the problems whose numbers the model copies correctly in its first line, by digits."""
    copied: dict[str, list[bool]] = {}
    for sample in trainer.sample_problems(problems):
        numbers = sample.prompt.split("\n")[1]
        digits = str(problems["digits"][sample.problem_id])
        copied.setdefault(digits, []).append(sample.completion.startswith(f"<scratch>\n{numbers} , C: 0\n"))
    return {digits: sum(values) / len(values) for digits, values in copied.items()}


def accuracy_by_digits(metrics: dict[str, float]) -> dict[str, float]:
    prefix = "eval_accuracy/"
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def judge_scratchpads(output_dir: Path) -> dict[tuple[int, str], dict]:
    """
    Returns the quality of the kept samples, by iteration and sampler: their number, and the shares with the right
    answer (a majority may be wrong), with the true scratchpad, and with the layout of the examples, whatever the
    digits are.
    """
    ledger = load_ledger(str(output_dir)).select_columns(["iteration", "sampler", "prompt", "completion", "kept"])
    judged: dict[tuple[int, str], list[tuple[bool, bool, bool]]] = {}
    for row in ledger.filter(lambda kept: kept, input_columns="kept"):
        first, second = re.search(r"\n([\d ]+) \+ ([\d ]+)\n", row["prompt"]).groups()
        first, second = first.replace(" ", ""), second.replace(" ", "")
        true, answer = write_scratchpad(first, second, str(int(first) + int(second))[-len(first) :])
        written = row["completion"].strip()
        verdict = (read_answer(written) == answer, written == true, layout(written) == layout(true))
        judged.setdefault((row["iteration"], row["sampler"]), []).append(verdict)
    names = ("right_answer", "true_scratchpad", "examples_layout")
    return {
        key: {
            "kept": len(verdicts),
            **{
                name: sum(values) / len(verdicts)
                for name, values in zip(names, zip(*verdicts, strict=True), strict=True)
            },
        }
        for key, verdicts in judged.items()
    }


def layout(scratchpad: str) -> str:
    return re.sub(r"\d", "0", scratchpad)


def run_few_shot(seed: int, base_model: Path, output_dir: Path) -> list[dict]:
    """
    Evaluates the base model, shown an answer without a scratchpad. With one, it is iteration 0 of the other runs.
    """
    return [{"iteration": 0, "steps": 0, "accuracy": evaluate_direct(seed, base_model, output_dir, few_shot=True)}]


def run_direct(seed: int, base_model: Path, output_dir: Path) -> list[dict]:
    """
    Fine-tunes on 10,000 problems with their answers and no rationale, for as many steps as STaR with rationalization
    took in all its iterations.
    """
    star_run = runs.read_results(RESULTS).get("rationalization", {}).get(f"seed {seed}")
    if star_run is None:
        raise SystemExit(
            f"The direct baseline takes as many steps as the setting `rationalization` with seed {seed}, of which "
            f"{RESULTS} has no run. Run that first."
        )
    steps = sum(row["steps"] for row in star_run["iterations"])
    problems = (
        make_datasets(seed, TRAINED_DIGITS, TRAINED_DIGITS)[0].shuffle(seed=seed).select(range(PROBLEMS_PER_ITERATION))
    )
    names = {config_field for config_field in SFTConfig.__dataclass_fields__ if config_field in DEFAULTS}
    trainer = SFTTrainer(
        model=str(base_model),
        args=SFTConfig(
            **{name: DEFAULTS[name] for name in names},
            output_dir=str(output_dir),
            max_steps=steps,
            save_steps=1000,
            save_total_limit=1,
            seed=seed,
            disable_tqdm=True,
        ),
        train_dataset=problems.select_columns(["prompt", "answer"]).rename_column("answer", "completion"),
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output_dir)) if output_dir.exists() else None)
    trainer.save_model(str(output_dir / "model"))
    accuracy = evaluate_direct(seed, output_dir / "model", output_dir / "evaluation", few_shot=False)
    return [{"iteration": 1, "steps": steps, "accuracy": accuracy}]


def evaluate_direct(seed: int, model: Path, output_dir: Path, few_shot: bool) -> dict[str, float]:
    """Accuracy of answers without a scratchpad, by digits."""
    train_dataset, eval_dataset, examples = make_datasets(
        seed, TRAINED_DIGITS, SETTINGS["rationalization"].evaluated_digits
    )
    trainer = STaRTrainer(
        model=str(model),
        args=STaRConfig(**{**CONFIG, "output_dir": str(output_dir)}),
        reward_funcs=exact_match_reward,
        few_shot_examples=(
            (lambda problem: [{**examples[problem["digits"]], "completion": examples[problem["digits"]]["answer"]}])
            if few_shot
            else None
        ),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
    )
    return accuracy_by_digits(trainer.evaluate())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--setting",
        nargs="+",
        choices=[*SETTINGS, *BASELINES],
        default=FIGURE_4,
        help="What to run. " + "; ".join(f"{name}: {setting.title}" for name, setting in SETTINGS.items()),
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the problems, the examples and the training.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/reproduction"), help="Where the runs go.")
    args = parser.parse_args()

    base_model = make_base_model(args.output_dir / "base", phases=BASE_PHASES)
    for name in args.setting:
        output_dir = args.output_dir / f"{name}-{args.seed}"
        print(f"{name}, seed {args.seed}: {output_dir}", flush=True)
        if name == "direct":
            iterations = run_direct(args.seed, base_model, output_dir)
        elif name == "few_shot":
            iterations = run_few_shot(args.seed, base_model, output_dir)
        else:
            iterations = run_star(name, args.seed, base_model, output_dir)
        run = {"torch": torch.__version__, "iterations": iterations}
        runs.merge_results(RESULTS, name, {f"seed {args.seed}": run})
        print(f"{name}, seed {args.seed}: {iterations[-1]['accuracy']}, in {RESULTS}", flush=True)


if __name__ == "__main__":
    main()
