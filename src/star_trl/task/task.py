# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The task: problems, prompts, samplers and rewards."""

from dataclasses import dataclass

from datasets import Dataset

from ..rewards.scoring import Scorer
from ..samplers import Sampler
from .prompting import PromptBuilder


@dataclass(frozen=True, kw_only=True)
class Task:
    """
    The problems, how the model is prompted with them, and what counts as solved. The stages of the loop take a task
    and not the trainer.

    Args:
        problems ([`~datasets.Dataset`]):
            The training problems.
        evaluation_sets (`dict[str, Dataset]`):
            Held-out problems by the name of their ledger, which is also the prefix of their metrics: `"eval"`, or
            `"eval_<name>"` for each of several sets.
        samplers (`list[Sampler]`):
            Proposal distributions, in their order.
        scorer ([`~star_trl.rewards.scoring.Scorer`]):
            The filter.
        prompt_builder ([`PromptBuilder`]):
            Builds the prompts.
        candidates (`list[int]`):
            Indices of the training problems to sample: those that are not among their own few-shot examples.
        is_stream (`bool`, *optional*, defaults to `False`):
            Whether the training problems were read from a stream, as many as the run needs.
    """

    problems: Dataset
    evaluation_sets: dict[str, Dataset]
    samplers: list[Sampler]
    scorer: Scorer
    prompt_builder: PromptBuilder
    candidates: list[int]
    is_stream: bool = False

    @property
    def prompt_columns(self) -> dict[str, str]:
        """The prompt column of each sampler, by the sampler's name."""
        return {sampler.name: sampler.prompt_column for sampler in self.samplers}

    @property
    def uses_hints(self) -> bool:
        """Whether any sampler uses another column than the plain prompt."""
        return any(column != "prompt" for column in self.prompt_columns.values())


def evaluation_sets(eval_dataset: Dataset | dict[str, Dataset] | None) -> dict[str, Dataset]:
    """Returns a trainer's evaluation sets by the names of their ledgers."""
    if isinstance(eval_dataset, dict):
        return {f"eval_{name}": dataset for name, dataset in eval_dataset.items()}
    return {} if eval_dataset is None else {"eval": eval_dataset}
