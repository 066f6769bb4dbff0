# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Turns selected samples into the token ids and labels that the model is fine-tuned on."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets

from ..ledger.messages import HINTED_PROMPT, as_given
from ..ledger.sample import Sample
from ..samplers.base import PROMPT_IDS, Sampler
from ..star_config import STaRConfig
from ..task.task import Task
from ..token_ids import TokenIds, as_bytes, as_list
from .collators import HINTED, LOSS_WEIGHTS, TOKEN_REFERENCES
from .shared_beginnings import BEGINNING, SharedBeginnings


# Number of samples whose sequences are made together. The dataset takes 8 bytes for each token that a row does not
# share, as do the arrays that it is made of.
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
        prompt) and, with weights, `loss_weights` (the sample's weight, at least at the tokens with a loss). With
        references, `token_references` (NaN on the prompt). With `distillation`, `hinted_input_ids` and
        `hinted_labels`, the same completion behind the hinted prompt. Unless they are packed later, rows hold what
        several prompts begin with once: a transform puts it in front of a row that is read.

    Raises:
        `ValueError`: If a sequence is longer than `max_length` and would be cut.
    """
    parts, longest = [], 0
    beginnings: dict[int, Sequence[int]] = {}  # by their ids, in the order of their numbers
    for start in range(0, len(selected), BATCH_SIZE):
        own = slice(start, start + BATCH_SIZE)
        part, part_weights, part_references = selected[own], weights and weights[own], references and references[own]
        columns = _columns(part, task, args, part_weights, part_references, beginnings)
        sizes = np.array(list(map(len, beginnings.values())))[columns[BEGINNING]]
        longest = max(longest, int((sizes + columns["input_ids"].value_lengths()).max()))
        parts.append(Dataset(pa.table(columns)))
    check_length(longest, args)
    dataset = concatenate_datasets(parts)
    if any(beginnings.values()):
        return dataset.with_transform(SharedBeginnings(list(beginnings.values())))
    return dataset.remove_columns([name for name in dataset.column_names if name.endswith(BEGINNING)])


def _columns(
    selected: Sequence[Sample],
    task: Task,
    args: STaRConfig,
    weights: Sequence[float] | None,
    references: Sequence[list[float]] | None,
    beginnings: dict[int, Sequence[int]],
) -> dict[str, pa.Array]:
    """Returns the columns of [`training_sequences`] for some of the samples, and adds their beginnings."""
    completions = [np.frombuffer(sample.token_bytes, np.int32) for sample in selected]
    trained = [
        np.where(np.asarray(sample.loss_mask, bool), ids, np.int32(-100))
        for sample, ids in zip(selected, completions, strict=True)
    ]
    behind = {"": _training_prompts(selected, task, args.few_shot_train)}
    if args.distillation is not None:
        behind[HINTED] = _teacher_prompts(selected, task, args, "hinted_prompt")
    columns: dict[str, pa.Array] = {}
    for kind, prompts in behind.items():
        heads = {id(prompt.head): as_bytes(prompt.head) for prompt in prompts}
        # Packing needs whole rows. And a row whose own tokens begin as its prompt does would be taken for a whole one.
        prompts = [
            TokenIds(prompt.tolist())
            if prompt.head and (args.packing or (prompt.own + sample.token_bytes).startswith(heads[id(prompt.head)]))
            else prompt
            for prompt, sample in zip(prompts, selected, strict=True)
        ]
        beginnings.update((id(prompt.head), prompt.head) for prompt in prompts)
        numbers = {key: number for number, key in enumerate(beginnings)}
        columns[f"{kind}{BEGINNING}"] = pa.array([numbers[id(prompt.head)] for prompt in prompts])
        own = [np.frombuffer(prompt.own, np.int32) for prompt in prompts]
        columns[f"{kind}input_ids"] = _behind(own, completions)
        columns[f"{kind}labels"] = _behind([np.full(len(ids), -100, np.int32) for ids in own], trained)
    rows = columns["input_ids"]
    lengths = rows.value_lengths().to_numpy()
    if weights is not None:
        columns[LOSS_WEIGHTS] = pa.ListArray.from_arrays(rows.offsets, np.repeat(np.array(weights, float), lengths))
    if references is not None:
        without = [np.full(size, math.nan) for size in lengths - list(map(len, completions))]
        columns[TOKEN_REFERENCES] = _behind(without, references)
    return columns


def _behind(prompts: Sequence[np.ndarray], completions: Sequence[Sequence | np.ndarray]) -> pa.ListArray:
    """Returns a column of lists: the values of a prompt's tokens, and behind them those of its completion."""
    parts = [part for pair in zip(prompts, completions, strict=True) for part in pair]
    ends = np.cumsum(list(map(len, parts)))[1::2]
    return pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), np.concatenate(parts))


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
    return list(map(as_list, _training_prompts(selected, task, args.few_shot_train if few_shot is None else few_shot)))


def sampling_prompts(samples: Sequence[Sample], task: Task, args: STaRConfig) -> list[list[int]]:
    """Returns the token ids of the prompts that samples of one iteration were drawn with."""
    few_shot = bool(samples) and args.samples_few_shot(samples[0].iteration)
    return list(map(as_list, _prompts(samples, [True] * len(samples), task, few_shot)))


def teacher_prompts(
    samples: Sequence[Sample], task: Task, args: STaRConfig, column: str = "hinted_prompt"
) -> list[list[int]]:
    """
    Returns the token ids of the prompts of the teacher, which differ from those in training by the hint. Few-shot
    examples have their right hints, also before the wrong hint of another `column`.
    """
    return list(map(as_list, _teacher_prompts(samples, task, args, column)))


def _training_prompts(selected: Sequence[Sample], task: Task, few_shot: bool) -> list[TokenIds]:
    return _prompts(selected, [sample.hint_shown for sample in selected], task, few_shot)


def _teacher_prompts(samples: Sequence[Sample], task: Task, args: STaRConfig, column: str) -> list[TokenIds]:
    rows = task.problems.select([sample.problem_id for sample in samples]).to_list()
    hinted = [{**row, "hinted_prompt": row[column]} for row in rows]
    return task.prompt_builder.encode_packed(hinted, "hinted_prompt", args.few_shot_train)


def _prompts(samples: Sequence[Sample], hint_shown: Sequence[bool], task: Task, few_shot: bool) -> list[TokenIds]:
    """Returns the token ids of the prompts of samples, each with the hint of its sampler or without it."""
    builder = task.prompt_builder
    of_problems = partial(builder.encode_problems, task.problems)
    rows = task.problems.select([sample.problem_id for sample in samples]).to_list()
    by_name = {sampler.name: sampler for sampler in task.samplers}
    no_sampler = Sampler()  # of the solutions of a dataset
    prompts: dict[int, TokenIds] = {}
    # Prompts that are encoded together: their indices, their problems or rows, and their tools
    groups: dict[tuple[Callable, str], list[tuple[int, Any, list[Callable] | None]]] = defaultdict(list)
    for index, (sample, row, shown) in enumerate(zip(samples, rows, hint_shown, strict=True)):
        sampler = by_name.get(sample.sampler, no_sampler)
        column = by_name[sample.sampler].shown_column if shown else "prompt"
        if not sampler.makes_prompts:
            groups[of_problems, column].append((index, sample.problem_id, sampler.tools_of(row)))
        elif (ids := sample.extra.get(PROMPT_IDS)) is not None:
            prompts[index] = TokenIds(ids)
        else:
            text = sample.extra.get(HINTED_PROMPT, sample.prompt) if shown else sample.prompt
            row = {**row, column: as_given(text)}
            groups[builder.encode_packed, column].append((index, row, sampler.tools_of(row)))
    for (encode, column), found in groups.items():
        indices, given, tools = zip(*found, strict=True)
        prompts.update(zip(indices, encode(given, column, few_shot, tools), strict=True))
    return [prompts[index] for index in range(len(samples))]
