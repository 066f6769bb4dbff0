# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks the user's datasets and prompts before a run starts."""

import math
from collections.abc import Sequence
from typing import Any

from datasets import Dataset, DatasetDict, IterableDatasetDict
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

from ..distributed import get_logger
from ..ledger.paired_groups import PAIR_COLUMN, as_texts, repeated_pair
from ..rewards.scoring import Scorer
from ..samplers import Sampler
from ..star_config import STaRConfig
from ..user_input import nearest
from .prompting import PromptBuilder


logger = get_logger(__name__)

# Number of prompts that are tokenized together for the length check. All prompts of a large dataset would not fit in
# memory.
BATCH_SIZE = 1000
# Maximum number of special tokens that a tokenizer adds to a text.
NUM_SPECIAL = 2


def check_problems(dataset: Any, name: str, columns: Sequence[str]) -> None:
    """
    Raises an error if a dataset cannot serve as problems.

    Args:
        dataset ([`~datasets.Dataset`]):
            The user's dataset.
        name (`str`):
            Name of the argument in messages.
        columns (`list[str]`):
            Columns that are read.

    Raises:
        `TypeError`: If it is not a [`~datasets.Dataset`].
        `ValueError`: If it is empty, a column is missing or has an empty row, or a hinted prompt equals the plain one.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"`{name}` must be a `datasets.Dataset`, got `{type(dataset).__name__}`. {_as_dataset(dataset, name)}"
        )
    if len(dataset) == 0:
        raise ValueError(f"`{name}` is empty. Check the split and the filters that made it.")
    for column in columns:
        if column not in dataset.column_names:
            others = [other for other in dataset.column_names if other not in columns]
            raise ValueError(
                f"`{name}` has no column `{column}`; its columns are {dataset.column_names}.{nearest(column, others)} "
                "Problems need a `prompt`, and a `hinted_prompt` for rationalization and where the model with the "
                "hint is the teacher."
            )
        empty = next((index for index, value in enumerate(dataset[column][:]) if not value), None)
        if empty is not None and column.endswith("prompt"):
            raise ValueError(f"Row {empty} of `{name}` has an empty `{column}`. Fill it in, or leave the row out.")
    if "hinted_prompt" in columns:
        pairs = zip(dataset["prompt"][:], dataset["hinted_prompt"][:], strict=True)
        for index, (prompt, hinted) in enumerate(pairs):
            if prompt == hinted:
                raise ValueError(
                    f"Row {index} of `{name}` has the same text in `prompt` and `hinted_prompt`. Either the hint is "
                    "missing, or it is in the plain prompt as well, where it would leak into training and sampling."
                )


def check_wrong_hints(dataset: Dataset, args: STaRConfig) -> None:
    """Raises `ValueError` if a prompt with a wrong hint is missing, of another kind or the one with the right hint."""
    column = args.wrong_hint_column
    if column is None:
        return
    for index, (right, wrong) in enumerate(zip(dataset["hinted_prompt"][:], dataset[column][:], strict=True)):
        if not wrong or isinstance(right, str) != isinstance(wrong, str) or right == wrong:
            raise ValueError(
                f"Row {index} of `train_dataset` has {wrong!r:.80} in `{column}` and {right!r:.80} in "
                f"`hinted_prompt`. `wrong_hint_column={column!r}` needs the same prompt with another, wrong hint, of "
                "the same kind (text or messages)."
            )


def _as_dataset(given: Any, name: str) -> str:
    """Explains how a dataset is made of something else."""
    if isinstance(given, (DatasetDict, IterableDatasetDict)):
        return f"Choose a split, such as `{name}=dataset[{next(iter(given), 'train')!r}]`."
    if isinstance(given, (list, tuple)):
        return f"Make one of the rows: `{name}=Dataset.from_list(rows)`."
    if isinstance(given, dict):
        return f"Make one of the columns: `{name}=Dataset.from_dict(columns)`."
    if isinstance(given, str):
        return f"Load it: `{name}=load_dataset({given!r}, split='train')`."
    return (
        "Problems are addressed by their index, in the ledger and over the iterations. Make a dataset of the rows: "
        "`Dataset.from_list(rows)`."
    )


def check_eos_token(tokenizer: PreTrainedTokenizerBase | ProcessorMixin) -> None:
    """Raises `ValueError` if a tokenizer has no EOS token, with which the model ends a completion."""
    own = tokenizer.tokenizer if isinstance(tokenizer, ProcessorMixin) else tokenizer
    if own.eos_token_id is None:
        raise ValueError(
            f"The tokenizer (`{type(own).__name__}`) has no EOS token, with which the model ends a completion. Set "
            "`eos_token` in `STaRConfig` to one of its tokens, such as '</s>'."
        )


def check_dataset(
    dataset: Any, name: str, samplers: Sequence[Sampler], scorer: Scorer, group_column: str | None = None
) -> None:
    """
    Raises an error if a dataset lacks a column that the samplers, the reward functions or the groups of an evaluation
    read.

    Args:
        dataset ([`~datasets.Dataset`]):
            The user's dataset.
        name (`str`):
            Name of the argument in messages.
        samplers (`list[Sampler]`):
            The samplers that propose for it.
        scorer ([`~star_trl.rewards.scoring.Scorer`]):
            The reward functions.
        group_column (`str`, *optional*):
            Column whose values are the groups.

    Raises:
        `TypeError`: If it is not a [`~datasets.Dataset`].
        `ValueError`: If a column is missing or does not fit.
    """
    check_problems(dataset, name, ["prompt", *(sampler.prompt_column for sampler in samplers)])
    supplied = name == "train_dataset" and all(sampler.supplies_answer for sampler in samplers)
    has_more = any(sampler.adds_columns for sampler in samplers)
    scorer.check_columns([*dataset.column_names, *(["answer"] if supplied else [])], has_more)
    if not supplied and not has_more:
        scorer.check_problems(dataset)
    if group_column is not None:
        check_problems(dataset, name, [group_column])
        if name != "train_dataset" and PAIR_COLUMN in dataset.column_names:
            pairs, groups = as_texts(dataset[PAIR_COLUMN]), as_texts(dataset[group_column])
            if (repeated := repeated_pair(pairs, groups)) is not None:
                raise ValueError(
                    f"`{name}` has several problems with `{PAIR_COLUMN}` {repeated[0]!r} and `{group_column}` "
                    f"{repeated[1]!r}. The problems of a pair must differ in their group: give each pair a value of "
                    f"its own, or rename the column `{PAIR_COLUMN}` if it means something else."
                )


def named_datasets(eval_dataset: Dataset | dict[str, Dataset] | None) -> dict[str, Dataset]:
    """Returns the evaluation sets by their names in messages."""
    if isinstance(eval_dataset, dict):
        return {f"eval_dataset[{name!r}]": dataset for name, dataset in eval_dataset.items()}
    return {} if eval_dataset is None else {"eval_dataset": eval_dataset}


def check_prompts(
    dataset: Dataset,
    name: str,
    samplers: Sequence[Sampler],
    builder: PromptBuilder,
    args: STaRConfig,
    config: PreTrainedConfig,
    is_trained: bool = False,
) -> list[int]:
    """
    Raises an error if few-shot examples do not suit a problem, or if prompts and completions do not fit into the
    model's context or, in training, into `max_length`. Every prompt is checked, since a function may choose long
    examples for a short problem.

    Args:
        dataset ([`~datasets.Dataset`]):
            Problems.
        name (`str`):
            Name of the argument in messages.
        samplers (`list[Sampler]`):
            The samplers that propose for it.
        builder ([`PromptBuilder`]):
            Builds the prompts.
        args ([`STaRConfig`]):
            Configuration.
        config ([`~transformers.PreTrainedConfig`]):
            The model's configuration.
        is_trained (`bool`, *optional*, defaults to `False`):
            Whether the model is trained on its completions of these problems.

    Returns:
        `list[int]`: Indices of the problems that are not among their own few-shot examples. The prompts of the others
        would hold their solutions; a warning says how many there are.

    Raises:
        `ValueError`: If something does not fit, with the length that is needed, or if every problem is among its own
            examples.
    """
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    # EOS replaces a stop string. Where a token holds the stop string and text before it, EOS is an additional token.
    completion_length = args.max_completion_length + bool(args.stop_strings)
    columns = {sampler.prompt_column: sampler for sampler in samplers}
    # The prompt with a wrong hint is built like that with the right one, and is about as long.
    columns |= dict.fromkeys(args.teacher_columns[:1] if is_trained else [], samplers[0])
    for column, sampler in columns.items():
        for few_shot in {args.samples_few_shot(1), *([args.few_shot_train] if is_trained else [])}:
            max_length = args.max_length if is_trained and few_shot == args.few_shot_train else None
            room = min([limit for limit in (context, max_length) if limit is not None], default=math.inf)
            prompt_length = _longest_prompt(dataset, column, sampler, builder, few_shot, room - completion_length)
            needed = prompt_length + completion_length
            if context is not None and needed > context:
                raise ValueError(
                    f"The longest `{column}` of `{name}` has {prompt_length} tokens; with "
                    f"`max_completion_length={args.max_completion_length}` that can be {needed}, but the model's "
                    f"context is {context}. Use fewer few-shot examples, shorter problems or fewer completion tokens."
                )
            if max_length is not None and needed > max_length:
                raise ValueError(
                    f"Training sequences of `{name}` can reach {needed} tokens (the longest `{column}` and "
                    f"`max_completion_length={args.max_completion_length}`), but `max_length={max_length}`. Set "
                    f"`max_length={needed}` or more, or None without packing."
                )
    return _without_examples(dataset, name, builder)


def _longest_prompt(
    dataset: Dataset, column: str, sampler: Sampler, builder: PromptBuilder, few_shot: bool, room: float
) -> int:
    """
    Returns the length in tokens of the longest prompt that may not fit into `room` tokens. Prompts that fit for sure
    are not tokenized, since that is slow: a text has no more tokens than bytes. The builder remembers the token ids of
    the others for the sampling. Raises `ValueError` if few-shot examples do not suit a problem.
    """
    longest = 0
    for start in range(0, len(dataset), BATCH_SIZE):
        long: dict[int, dict[str, Any]] = {}
        indices = range(start, min(start + BATCH_SIZE, len(dataset)))
        for index, problem in zip(indices, dataset.select(indices).to_list(), strict=True):
            builder.check(problem, [column])
            text = builder.render(problem, column, few_shot)
            if not isinstance(text, str) or len(text.encode()) + NUM_SPECIAL > room:
                long[index] = problem
        tools = list(map(sampler.tools_of, long.values()))
        longest = max([longest, *map(len, builder.encode_problems(dataset, list(long), column, few_shot, tools))])
    return longest


def _without_examples(dataset: Dataset, name: str, builder: PromptBuilder) -> list[int]:
    indices = builder.without_examples(dataset)
    if not indices:
        raise ValueError(
            f"All {len(dataset)} problems of `{name}` are among their own few-shot examples, which are left out, so "
            "there is none left. Give more problems, or other `few_shot_examples`."
        )
    if len(indices) < len(dataset):
        logger.warning(
            f"{len(dataset) - len(indices)} of the {len(dataset):,} problems of `{name}` are few-shot examples and "
            "are left out: their prompts hold their solutions."
        )
    return indices
