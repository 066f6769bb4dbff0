# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Turns selected samples into the token ids and labels that the model is fine-tuned on."""

from collections.abc import Sequence

from datasets import Dataset

from ..ledger.ledger import Sample
from ..star_config import STaRConfig
from ..task.task import Task
from .collators import LOSS_WEIGHTS


def training_sequences(
    selected: Sequence[Sample],
    task: Task,
    args: STaRConfig,
    weights: Sequence[float] | None = None,
) -> Dataset:
    """
    Builds token ids and labels of samples. The completion has the very ids that were sampled. It follows the prompt
    without the hint, or the hinted prompt where the sampler chose to leave the hint in. Only tokens that the model
    wrote have a loss.

    The dataset has labels and no completion mask, because [`~trl.SFTTrainer`] decides how to read a mask from the
    first row of the dataset that it was created with, which here holds problems.

    Args:
        selected (`list[Sample]`):
            Samples to train on.
        task ([`~star_trl.task.task.Task`]):
            The task, for the problems and the prompt builder.
        args ([`STaRConfig`]):
            Configuration, for `few_shot_train` and `max_length`.
        weights (`list[float]`, *optional*):
            Weight of each sample in the loss.

    Returns:
        [`~datasets.Dataset`]: One row per sample, neither padded nor packed: `input_ids`, `labels` (-100 on the
        prompt) and, with weights, `loss_weights` (the sample's weight at every token).

    Raises:
        `ValueError`: If a sequence is longer than `max_length` and would be cut.
    """
    prompts = training_prompts(selected, task, args)
    input_ids, labels = [], []
    for index, sample in enumerate(selected):
        input_ids.append(prompts[index] + sample.completion_ids)
        labels.append(
            [-100] * len(prompts[index])
            + [
                token if trained else -100
                for token, trained in zip(sample.completion_ids, sample.loss_mask, strict=True)
            ]
        )
    check_length(max(map(len, input_ids)), args)
    columns: dict[str, list] = {"input_ids": input_ids, "labels": labels}
    if weights is not None:
        columns[LOSS_WEIGHTS] = [[weight] * len(ids) for weight, ids in zip(weights, input_ids, strict=True)]
    return Dataset.from_dict(columns)


def check_length(longest: int, args: STaRConfig) -> None:
    """Raises `ValueError` if the longest training sequence is longer than `max_length`."""
    if args.max_length is not None and longest > args.max_length:
        raise ValueError(
            f"A training sequence has {longest} tokens, more than `max_length={args.max_length}`, and would be cut. "
            f"Set `max_length={longest}` or more, or None without packing."
        )


def training_prompts(
    selected: Sequence[Sample],
    task: Task,
    args: STaRConfig,
    few_shot: bool | None = None,
) -> list[list[int]]:
    """
    Returns the token ids of the prompts of samples in training. They have no hint, except for samples with
    `hint_shown`, whose prompt is the one that their sampler was conditioned on. `few_shot`, by default
    `few_shot_train`, decides whether the few-shot examples come first.
    """
    few_shot = args.few_shot_train if few_shot is None else few_shot
    rows = task.problems.select([sample.problem_id for sample in selected]).to_list()
    prompts = task.prompt_builder.encode(rows, "prompt", few_shot)
    for column in set(task.prompt_columns.values()):
        shown = [
            index
            for index, sample in enumerate(selected)
            if sample.hint_shown and task.prompt_columns[sample.sampler] == column
        ]
        hinted = task.prompt_builder.encode([rows[index] for index in shown], column, few_shot)
        for index, prompt in zip(shown, hinted, strict=True):
            prompts[index] = prompt
    return prompts
