# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Turns selected samples into the token ids and labels that the model is fine-tuned on."""

import math
from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets

from ..ledger.ledger import Sample
from ..ledger.messages import HINTED_PROMPT, as_given
from ..samplers.base import PROMPT_IDS
from ..star_config import STaRConfig
from ..task.task import Task
from .collators import LOSS_WEIGHTS, TEACHER_IDS, TEACHER_LABELS, TOKEN_REFERENCES


# Number of samples whose sequences are made together. The lists that they are made of take 24 bytes a token, and the
# dataset takes 12.
BATCH_SIZE = 1000


def training_sequences(
    selected: Sequence[Sample],
    task: Task,
    args: STaRConfig,
    weights: Sequence[float] | None = None,
    references: Sequence[list[float]] | None = None,
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
        references (`list[list[float]]`, *optional*):
            Number that each token of each completion is compared with in the loss.

    Returns:
        [`~datasets.Dataset`]: One row per sample, neither padded nor packed: `input_ids`, `labels` (-100 on the
        prompt) and, with weights, `loss_weights` (the sample's weight at every token). With references,
        `token_references` (NaN on the prompt). With `distillation`, `hinted_input_ids` and `hinted_labels`, the same
        completion behind the hinted prompt.

    Raises:
        `ValueError`: If a sequence is longer than `max_length` and would be cut.
    """
    parts, longest = [], 0
    for start in range(0, len(selected), BATCH_SIZE):
        own = slice(start, start + BATCH_SIZE)
        columns = _columns(selected[own], task, args, weights and weights[own], references and references[own])
        longest = max(longest, *map(len, columns["input_ids"]))
        parts.append(Dataset.from_dict(columns))
    check_length(longest, args)
    return concatenate_datasets(parts)


def _columns(
    selected: Sequence[Sample],
    task: Task,
    args: STaRConfig,
    weights: Sequence[float] | None,
    references: Sequence[list[float]] | None,
) -> dict[str, list]:
    """Returns the columns of [`training_sequences`] for some of the samples."""
    prompts = training_prompts(selected, task, args)
    input_ids, labels = [], []
    for prompt, sample in zip(prompts, selected, strict=True):
        input_ids.append(prompt + sample.completion_ids)
        trained = zip(sample.completion_ids, sample.loss_mask, strict=True)
        labels.append([-100] * len(prompt) + [token if is_trained else -100 for token, is_trained in trained])
    columns: dict[str, list] = {"input_ids": input_ids, "labels": labels}
    if weights is not None:
        columns[LOSS_WEIGHTS] = [[weight] * len(ids) for weight, ids in zip(weights, input_ids, strict=True)]
    if references is not None:
        columns[TOKEN_REFERENCES] = [
            [math.nan] * len(prompt) + values for prompt, values in zip(prompts, references, strict=True)
        ]
    if args.distillation is not None:
        hinted = teacher_prompts(selected, task, args)
        columns[TEACHER_IDS] = [ids + sample.completion_ids for ids, sample in zip(hinted, selected, strict=True)]
        columns[TEACHER_LABELS] = [
            [-100] * len(ids) + row[len(prompt) :] for ids, row, prompt in zip(hinted, labels, prompts, strict=True)
        ]
    return columns


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
    columns = [task.prompt_columns[sample.sampler] if sample.hint_shown else "prompt" for sample in selected]
    return _prompts(selected, columns, task, args.few_shot_train if few_shot is None else few_shot)


def sampling_prompts(samples: Sequence[Sample], task: Task, args: STaRConfig) -> list[list[int]]:
    """Returns the token ids of the prompts that samples of one iteration were drawn with."""
    columns = [task.prompt_columns[sample.sampler] for sample in samples]
    return _prompts(samples, columns, task, bool(samples) and args.samples_few_shot(samples[0].iteration))


def teacher_prompts(
    samples: Sequence[Sample], task: Task, args: STaRConfig, column: str = "hinted_prompt"
) -> list[list[int]]:
    """
    Returns the token ids of the prompts of the teacher, which differ from those in training by the hint. Few-shot
    examples have their right hints, also before the wrong hint of another `column`.
    """
    rows = task.problems.select([sample.problem_id for sample in samples]).to_list()
    hinted = [{**row, "hinted_prompt": row[column]} for row in rows]
    return task.prompt_builder.encode(hinted, "hinted_prompt", args.few_shot_train)


def _prompts(samples: Sequence[Sample], columns: Sequence[str], task: Task, few_shot: bool) -> list[list[int]]:
    """Returns the token ids of the prompts of samples, each from its own column of the problems."""
    rows = task.problems.select([sample.problem_id for sample in samples]).to_list()
    by_name = {sampler.name: sampler for sampler in task.samplers}
    # The solutions of a dataset are samples without a sampler.
    samplers, columns = [by_name.get(sample.sampler) for sample in samples], list(columns)
    for index, (sample, sampler) in enumerate(zip(samples, samplers, strict=True)):
        if sampler is not None and sampler.makes_prompts:
            hinted, shown = sample.extra.get(HINTED_PROMPT), sample.prompt
            if not sample.hint_shown or hinted is None:
                columns[index] = "prompt"
            else:
                shown = hinted
                if columns[index] == "prompt":  # the environment gives the hint
                    columns[index] = HINTED_PROMPT
            rows[index] = {**rows[index], columns[index]: as_given(shown)}
    tools = [None if sampler is None else sampler.tools_of(row) for sampler, row in zip(samplers, rows, strict=True)]
    prompts: list[list[int]] = [[] for _ in samples]
    for column in set(columns):
        indices = [index for index, own in enumerate(columns) if own == column]
        encoded = task.prompt_builder.encode(
            [rows[index] for index in indices], column, few_shot, [tools[index] for index in indices]
        )
        for index, prompt in zip(indices, encoded, strict=True):
            sampler = samplers[index]
            own = samples[index].extra.get(PROMPT_IDS) if sampler is not None and sampler.makes_prompts else None
            prompts[index] = prompt if own is None else own
    return prompts
