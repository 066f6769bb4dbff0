# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Implements `log_completions`: prints samples of an iteration, and logs a table of them to trackers with tables."""

import importlib
import random
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pandas as pd
from tqdm.auto import tqdm
from trl.trainer.utils import print_prompt_completions_sample

from ..distributed import get_logger
from ..ledger.ledger import Ledger
from ..ledger.messages import as_completion, as_text
from ..ledger.sample import Sample
from ..seeds import seed_of
from ..star_config import STaRConfig
from ..task.task import Task


logger = get_logger(__name__)

# W&B cuts off tables after this many rows.
MAX_ROWS = 10_000


def log_samples(task: Task, args: STaRConfig, samples: Sequence[Sample], iteration: int, step: int) -> None:
    """
    Prints some samples of an iteration, and logs all as the table `completions`, as [`~trl.GRPOTrainer`] does for each
    step. A tracker that fails does not end the run. Only the main process calls it.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task, for the problems of the samples.
        args ([`STaRConfig`]):
            Configuration.
        samples (`list[Sample]`):
            The samples, from all processes.
        iteration (`int`):
            Outer iteration, counted from 1.
        step (`int`):
            Number of optimizer steps so far.
    """
    if not samples:
        return
    rng = random.Random(seed_of(args.seed, iteration, "log_completions"))
    _print(task, _draw(samples, args.num_completions_to_print, rng), iteration, step)
    table = sample_table(task, args, _draw(samples, MAX_ROWS, rng), step)
    if args.log_unique_prompts:
        table = table[~table["prompt"].duplicated()]
    for backend in _backends(args.report_to):
        try:
            backend.log({"completions": backend.Table(dataframe=table), "train/global_step": step})
        except Exception as error:
            logger.warning(f"The samples of iteration {iteration} did not reach {backend.__name__}: {error!r}.")


def sample_table(task: Task, args: STaRConfig, samples: Sequence[Sample], step: int) -> pd.DataFrame:
    """
    Makes a table of samples.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task, for the problems of the samples.
        args ([`STaRConfig`]):
            Configuration, for `eval_group_column`.
        samples (`list[Sample]`):
            The samples.
        step (`int`):
            Number of optimizer steps so far.

    Returns:
        `pandas.DataFrame`: One row per sample: `iteration`, `step`, `problem_id`, `sampler`, `group` (where the
        problems have the column `eval_group_column`), `prompt` (as the sampler gave it to the model, without few-shot
        examples), `completion`, one column per reward function, one per column of `log_extra`, `kept` and
        `drop_reason`.
    """
    group_column = args.eval_group_column
    rewards, extras = _names(samples)
    columns: dict[str, list[Any]] = {
        "iteration": [sample.iteration for sample in samples],
        "step": [step] * len(samples),
        "problem_id": [sample.problem_id for sample in samples],
        "sampler": [sample.sampler for sample in samples],
    }
    if group_column in task.problems.column_names:
        columns["group"] = [str(task.problems[sample.problem_id][group_column]) for sample in samples]
    columns["prompt"] = [as_text(prompt) for prompt in _prompts(task, samples)]
    columns["completion"] = [sample.completion for sample in samples]
    for name in rewards:
        # NaN where a function does not apply.
        columns[name] = [_number(sample.rewards.get(name)) for sample in samples]
    for name in extras:
        columns[name] = [str(sample.extra.get(name, "")) for sample in samples]
    columns["kept"] = [sample.kept for sample in samples]
    columns["drop_reason"] = [sample.drop_reason or "" for sample in samples]
    return pd.DataFrame(columns)


def _print(task: Task, samples: Sequence[Sample], iteration: int, step: int) -> None:
    rewards, extras = _names(samples)
    with tqdm.external_write_mode():  # hides the bars meanwhile
        # Not exported by TRL, but its trainers print with it.
        print_prompt_completions_sample(
            prompts=_prompts(task, samples),
            completions=[_printable(sample.completion) for sample in samples],
            rewards={name: [_number(sample.rewards.get(name)) for sample in samples] for name in rewards},
            advantages=None,
            step=f"{step}, iteration {iteration}",  # type: ignore[arg-type]  # of the title
            extra={
                "sampler": [sample.sampler for sample in samples],
                "kept": ["yes" if sample.kept else sample.drop_reason for sample in samples],
                **{name: [_printable(str(sample.extra.get(name, ""))) for sample in samples] for name in extras},
            },
        )


def _prompts(task: Task, samples: Sequence[Sample]) -> list[Any]:
    return [task.problems[sample.problem_id][task.prompt_columns[sample.sampler]] for sample in samples]


def _names(samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
    """Returns the names of the reward functions, and of the extra columns."""
    rewards = dict.fromkeys(name for sample in samples for name in sample.rewards)
    return list(rewards), list(dict.fromkeys(name for sample in samples for name in sample.extra))


def _printable(text: str) -> str:
    """Replaces control characters, such as those that steer a terminal, since a model may write any."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _draw(samples: Sequence[Sample], limit: int | None, rng: random.Random) -> list[Sample]:
    """Draws at most `limit` of the samples, and keeps their order."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[index] for index in sorted(rng.sample(range(len(samples)), max(limit, 0)))]


def _backends(report_to: str | list[str] | None) -> list[Any]:
    """Returns the run's trackers that have tables. Their callbacks have already begun a run in them."""
    return [importlib.import_module(name) for name in ("wandb", "trackio") if name in (report_to or ())]


def _number(reward: float | None) -> float:
    return float("nan") if reward is None else reward


def completions_table(ledger: Ledger, task: Task) -> dict[str, Any]:
    """
    Returns the samples of the first sampler in the latest iteration as [`~trl.GRPOTrainer`] keeps its completions in
    `_logs`: `prompt`, `completion`, `rewards` by function, `advantages` (the reward minus the mean of its problem) and
    `extra` by column, each with a value per sample.

    Args:
        ledger ([`~star_trl.ledger.Ledger`]):
            All samples.
        task ([`~star_trl.task.task.Task`]):
            The task.
    """
    iterations = ledger.iterations()
    samples = ledger.read(iterations[-1]) if iterations else []
    samples = [sample for sample in samples if sample.sampler == task.samplers[0].name]
    rewards = defaultdict(list)
    for sample in samples:
        if sample.reward is not None:
            rewards[sample.problem_id].append(sample.reward)
    prompts = [task.problems[sample.problem_id]["prompt"] for sample in samples]
    return {
        "prompt": prompts,
        "completion": [
            as_completion(sample.completion, prompt) for sample, prompt in zip(samples, prompts, strict=True)
        ],
        "rewards": {name: [sample.rewards[name] for sample in samples] for name in task.scorer.names},
        "advantages": [
            0.0 if sample.reward is None else sample.reward - fmean(rewards[sample.problem_id]) for sample in samples
        ],
        "extra": {
            column: [sample.extra.get(column) for sample in samples]
            for column in dict.fromkeys(column for sample in samples for column in sample.extra)
        },
    }
