# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Selected samples -> the token ids and labels that the model is fine-tuned on."""

from collections.abc import Mapping, Sequence

from datasets import Dataset

from .ledger import Sample
from .prompting import PromptBuilder
from .star_config import STaRConfig
from .weighted_sft import COLUMN


def training_sequences(
    selected: Sequence[Sample],
    problems: Dataset,
    builder: PromptBuilder,
    args: STaRConfig,
    prompt_columns: Mapping[str, str],
    weights: Sequence[float] | None = None,
) -> Dataset:
    """
    Token ids and labels of samples: the very ids that were sampled, behind the hint-free prompt, or behind the hinted
    one where the sampler chose to leave the hint in. The loss is on what the model wrote.

    Labels are given, and not a completion mask, because [`~trl.SFTTrainer`] decides how to read a mask from the first
    row of the dataset that it was made with, which here holds problems.

    Args:
        selected (`list[Sample]`):
            Samples to train on.
        problems ([`~datasets.Dataset`]):
            The training problems.
        builder ([`PromptBuilder`]):
            Builds the prompts.
        args ([`STaRConfig`]):
            Configuration, for `few_shot_train` and `max_length`.
        prompt_columns (`dict[str, str]`):
            The column that each sampler is conditioned on, for the samples that keep their hint.
        weights (`list[float]`, *optional*):
            Weight of each sample in the loss.

    Returns:
        [`~datasets.Dataset`]: `input_ids`, `labels` (-100 on the prompt) and, with weights, `loss_weights` (the
        sample's at every token), one row per sample, neither padded nor packed.

    Raises:
        `ValueError`: If a sequence is longer than `max_length`, at which it would be cut.
    """
    prompts = training_prompts(selected, problems, builder, args, prompt_columns)
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
    longest = max(map(len, input_ids))
    if args.max_length is not None and longest > args.max_length:
        raise ValueError(
            f"A training sequence has {longest} tokens, more than `max_length={args.max_length}`, and would be cut. "
            f"Set `max_length={longest}` or more, or None without packing."
        )
    columns: dict[str, list] = {"input_ids": input_ids, "labels": labels}
    if weights is not None:
        columns[COLUMN] = [[weight] * len(ids) for weight, ids in zip(weights, input_ids, strict=True)]
    return Dataset.from_dict(columns)


def training_prompts(
    selected: Sequence[Sample],
    problems: Dataset,
    builder: PromptBuilder,
    args: STaRConfig,
    prompt_columns: Mapping[str, str],
    few_shot: bool | None = None,
) -> list[list[int]]:
    """
    Token ids that stand before the samples in training: without the hint, but for those that keep it by choice, which
    stand behind what their sampler was conditioned on. The few-shot examples come first where `few_shot`, or by
    default `few_shot_train`, says so.
    """
    few_shot = args.few_shot_train if few_shot is None else few_shot
    rows = problems.select([sample.problem_id for sample in selected]).to_list()
    prompts = builder.encode(rows, "prompt", few_shot)
    for column in set(prompt_columns.values()):
        shown = [
            index
            for index, sample in enumerate(selected)
            if sample.hint_shown and prompt_columns[sample.sampler] == column
        ]
        hinted = builder.encode([rows[index] for index in shown], column, few_shot)
        for index, prompt in zip(shown, hinted, strict=True):
            prompts[index] = prompt
    return prompts
