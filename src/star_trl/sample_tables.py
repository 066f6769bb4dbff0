# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`log_completions`: an iteration's samples in the terminal, and as a table of the trackers that have tables."""

import importlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from accelerate.logging import get_logger
from tqdm.auto import tqdm
from trl.trainer.utils import print_prompt_completions_sample

from .generator import seed_of
from .ledger import Sample
from .prompting import as_text


if TYPE_CHECKING:
    from .star_trainer import STaRTrainer


logger = get_logger(__name__)

# W&B cuts tables off behind so many rows.
MAX_ROWS = 10_000


def log_samples(trainer: "STaRTrainer", samples: Sequence[Sample], iteration: int) -> None:
    """
    Prints some samples of an iteration, and logs all as the table `completions`, as [`~trl.GRPOTrainer`] does with
    those of a step. A tracker that fails does not end the run.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer.
        samples (`list[Sample]`):
            The samples, from all processes.
        iteration (`int`):
            Outer iteration, counted from 1.
    """
    if not (trainer.args.log_completions and samples and trainer.is_world_process_zero()):
        return
    rng = random.Random(seed_of(trainer.args.seed, iteration, "log_completions"))
    _print(trainer, _draw(samples, trainer.args.num_completions_to_print, rng), iteration)
    table = sample_table(trainer, _draw(samples, MAX_ROWS, rng))
    if trainer.args.log_unique_prompts:
        table = table[~table["prompt"].duplicated()]
    for backend in _backends(trainer.args.report_to):
        try:
            backend.log(
                {"completions": backend.Table(dataframe=table), "train/global_step": trainer.state.global_step}
            )
        except Exception as error:
            logger.warning(f"The samples of iteration {iteration} did not reach {backend.__name__}: {error!r}.")


def sample_table(trainer: "STaRTrainer", samples: Sequence[Sample]) -> pd.DataFrame:
    """
    Samples as a table.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer, whose problems they are of.
        samples (`list[Sample]`):
            The samples.

    Returns:
        `pandas.DataFrame`: One row per sample: `iteration`, `step`, `problem_id`, `sampler`, `group` (where the
        problems have the column `eval_group_column`), `prompt` (as the sampler gave it to the model, without few-shot
        examples), `completion`, one column per reward function, what these recorded with `log_extra`, `kept` and
        `drop_reason`.
    """
    group_column = trainer.args.eval_group_column
    rewards, extras = _names(samples)
    columns: dict[str, list[Any]] = {
        "iteration": [sample.iteration for sample in samples],
        "step": [trainer.state.global_step] * len(samples),
        "problem_id": [sample.problem_id for sample in samples],
        "sampler": [sample.sampler for sample in samples],
    }
    if group_column in trainer.problems.column_names:
        columns["group"] = [str(trainer.problems[sample.problem_id][group_column]) for sample in samples]
    columns["prompt"] = [as_text(prompt) for prompt in _prompts(trainer, samples)]
    columns["completion"] = [sample.completion for sample in samples]
    for name in rewards:
        # A function that does not apply gives no number.
        columns[name] = [_number(sample.rewards.get(name)) for sample in samples]
    for name in extras:
        columns[name] = [str(sample.extra.get(name, "")) for sample in samples]
    columns["kept"] = [sample.kept for sample in samples]
    columns["drop_reason"] = [sample.drop_reason or "" for sample in samples]
    return pd.DataFrame(columns)


def _print(trainer: "STaRTrainer", samples: Sequence[Sample], iteration: int) -> None:
    rewards, extras = _names(samples)
    with tqdm.external_write_mode():  # takes the bars away meanwhile
        # Not exported by TRL, but what its trainers print with.
        print_prompt_completions_sample(
            prompts=_prompts(trainer, samples),
            completions=[_printable(sample.completion) for sample in samples],
            rewards={name: [_number(sample.rewards.get(name)) for sample in samples] for name in rewards},
            advantages=None,
            step=f"{trainer.state.global_step}, iteration {iteration}",  # type: ignore[arg-type]  # of the title
            extra={
                "sampler": [sample.sampler for sample in samples],
                "kept": ["yes" if sample.kept else sample.drop_reason for sample in samples],
                **{name: [_printable(str(sample.extra.get(name, ""))) for sample in samples] for name in extras},
            },
        )


def _prompts(trainer: "STaRTrainer", samples: Sequence[Sample]) -> list[Any]:
    return [trainer.problems[sample.problem_id][trainer.prompt_columns[sample.sampler]] for sample in samples]


def _names(samples: Sequence[Sample]) -> tuple[list[str], list[str]]:
    """Of the reward functions, and of what they recorded."""
    rewards = dict.fromkeys(name for sample in samples for name in sample.rewards)
    return list(rewards), list(dict.fromkeys(name for sample in samples for name in sample.extra))


def _printable(text: str) -> str:
    """Without control characters, such as those that steer a terminal: what a model wrote may hold any."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def _draw(samples: Sequence[Sample], limit: int | None, rng: random.Random) -> list[Sample]:
    """At most so many of the samples, in their order."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[index] for index in sorted(rng.sample(range(len(samples)), max(limit, 0)))]


def _backends(report_to: str | list[str] | None) -> list[Any]:
    """Those of the run's trackers that have tables. Their callbacks have begun a run in them."""
    return [importlib.import_module(name) for name in ("wandb", "trackio") if name in (report_to or ())]


def _number(reward: float | None) -> float:
    return float("nan") if reward is None else reward
