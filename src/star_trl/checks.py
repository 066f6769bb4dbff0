# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks of what the user gave, before any work is spent."""

import math
from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedConfig

from .prompting import PromptBuilder
from .samplers import RationaleSampler, RationalizationSampler, Sampler
from .star_config import STaRConfig


logger = get_logger(__name__)

# Prompts that are tokenized together when their lengths are checked: a large dataset's do not fit in memory.
BATCH_SIZE = 1000
# Most tokens that a tokenizer puts around a text.
NUM_SPECIAL = 2


def check_problems(dataset: Any, name: str, columns: Sequence[str]) -> None:
    """
    Raises where a dataset cannot serve as problems.

    Args:
        dataset ([`~datasets.Dataset`]):
            What the user gave.
        name (`str`):
            How the argument is called in messages.
        columns (`list[str]`):
            Columns that are read.

    Raises:
        `TypeError`: If it is not a [`~datasets.Dataset`].
        `ValueError`: If it is empty, a column is missing or has an empty row, or a hinted prompt equals the plain one.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"`{name}` must be a `datasets.Dataset`, got `{type(dataset).__name__}`. Problems are addressed by their "
            "index, in the ledger and over the iterations, so a stream does not do: load it without `streaming=True`."
        )
    if len(dataset) == 0:
        raise ValueError(f"`{name}` is empty. Check the split and the filters that made it.")
    for column in columns:
        if column not in dataset.column_names:
            raise ValueError(
                f"`{name}` has no column `{column}`; its columns are {dataset.column_names}. Problems need a "
                "`prompt`, and a `hinted_prompt` for rationalization."
            )
        empty = next((index for index, value in enumerate(dataset[column]) if not value), None)
        if empty is not None and column in ("prompt", "hinted_prompt"):
            raise ValueError(f"Row {empty} of `{name}` has an empty `{column}`. Fill it in, or leave the row out.")
    if "hinted_prompt" in columns:
        for index, (prompt, hinted) in enumerate(zip(dataset["prompt"], dataset["hinted_prompt"], strict=True)):
            if prompt == hinted:
                raise ValueError(
                    f"Row {index} of `{name}` has the same text in `prompt` and `hinted_prompt`. Either the hint is "
                    "missing, or it is in the plain prompt as well, where it would leak into training and sampling."
                )


def named_datasets(eval_dataset: Dataset | dict[str, Dataset] | None) -> dict[str, Dataset]:
    """The evaluation sets with the names that they have in messages."""
    if isinstance(eval_dataset, dict):
        return {f"eval_dataset[{name!r}]": dataset for name, dataset in eval_dataset.items()}
    return {} if eval_dataset is None else {"eval_dataset": eval_dataset}


def check_samplers(samplers: list[Sampler] | None, args: STaRConfig, has_hints: bool) -> tuple[list[Sampler], bool]:
    """
    The samplers to use.

    Args:
        samplers (`list[Sampler]`, *optional*):
            What the user gave.
        args ([`STaRConfig`]):
            Configuration.
        has_hints (`bool`):
            Whether the problems have a `hinted_prompt`.

    Returns:
        `tuple[list[Sampler], bool]`: The samplers, and whether rationalization was left out for want of hints.

    Raises:
        `ValueError`: If there are none, two have the same name, several completions are to be drawn greedily, or the
        weighting of samples needs another way of drawing them.
    """
    without_hints = samplers is None and not has_hints
    if samplers is None:
        samplers = [RationaleSampler(), *([RationalizationSampler()] if has_hints else [])]
    names = [sampler.name for sampler in samplers]
    if not samplers or len(set(names)) < len(names):
        raise ValueError(f"`samplers` must be a list of samplers with different names, got {names}.")
    for sampler in samplers:
        num_generations = sampler.num_generations or args.num_generations
        check_draws(sampler, args)
        if args.sample_weighting == "advantage" and num_generations < 2:
            raise ValueError(
                "`sample_weighting='advantage'` compares a problem's samples, but the sampler "
                f"`{sampler.name}` draws one. Set `num_generations` to 2 or more, and a `temperature`."
            )
        if args.sample_weighting == "importance" and not draws_from_model(sampler, args):
            temperature, top_p, top_k = (sampler.setting(name, args) for name in ("temperature", "top_p", "top_k"))
            raise ValueError(
                "`sample_weighting='importance'` divides by the probability with which a completion was drawn, which "
                f"is the model's own only at temperature 1 without truncation. The sampler `{sampler.name}` draws "
                f"with temperature={temperature} (0 is greedy), top_p={top_p}, top_k={top_k}, min_p={args.min_p}, "
                f"generation_kwargs={args.generation_kwargs}. Set `temperature=1.0` and leave the others out."
            )
    return samplers, without_hints


def draws_from_model(sampler: Sampler, args: STaRConfig) -> bool:
    """Whether a sampler draws with the model's own probabilities: at temperature 1 without truncation."""
    return (
        sampler.setting("temperature", args) == 1
        and sampler.setting("top_p", args) == 1
        and not sampler.setting("top_k", args)
        and args.min_p is None
        and not args.generation_kwargs
    )


def check_draws(sampler: Sampler, args: STaRConfig) -> None:
    """Raises `ValueError` where a sampler is to draw several completions greedily."""
    num_generations = sampler.num_generations or args.num_generations
    if num_generations > 1 and sampler.setting("temperature", args) == 0:
        raise ValueError(
            f"The sampler `{sampler.name}` draws {num_generations} completions per problem at temperature 0, where "
            "all of them are the same. Set a `temperature`, or `num_generations=1`."
        )


def check_lengths(
    dataset: Dataset,
    name: str,
    columns: Sequence[str],
    builder: PromptBuilder,
    args: STaRConfig,
    config: PreTrainedConfig,
    is_trained: bool,
) -> None:
    """
    Raises where few-shot examples do not suit a problem, or where prompts and completions do not fit the model's
    context or, in training, `max_length`. Every prompt is looked at: a function may choose long examples for a short
    problem.

    Args:
        dataset ([`~datasets.Dataset`]):
            Problems.
        name (`str`):
            How the argument is called in messages.
        columns (`list[str]`):
            Prompt columns that are read.
        builder ([`PromptBuilder`]):
            Builds the prompts.
        args ([`STaRConfig`]):
            Configuration.
        config ([`~transformers.PreTrainedConfig`]):
            The model's configuration.
        is_trained (`bool`):
            Whether the model is trained on what it writes for these problems.

    Raises:
        `ValueError`: Naming the length that is needed.
    """
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    # EOS takes the place of a stop string, but stands behind a token that holds something before that.
    completion_length = args.max_completion_length + bool(args.stop_strings)
    for column in dict.fromkeys(columns):
        for few_shot in {args.samples_few_shot(1), *([args.few_shot_train] if is_trained else [])}:
            max_length = args.max_length if is_trained and few_shot == args.few_shot_train else None
            room = min([limit for limit in (context, max_length) if limit is not None], default=math.inf)
            prompt_length = _longest_prompt(dataset, column, builder, few_shot, room - completion_length)
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


def _longest_prompt(dataset: Dataset, column: str, builder: PromptBuilder, few_shot: bool, room: float) -> int:
    """
    Length in tokens of the longest prompt that does not fit into `room` tokens for sure: tokenizing is slow, and a
    text has no more tokens than bytes. Raises `ValueError` where few-shot examples do not suit a problem.
    """
    longest = 0
    for start in range(0, len(dataset), BATCH_SIZE):
        problems = dataset.select(range(start, min(start + BATCH_SIZE, len(dataset)))).to_list()
        for problem in problems:
            builder.check(problem, [column])
        prompts = [(problem, builder.render(problem, column, few_shot)) for problem in problems]
        long = [
            problem
            for problem, text in prompts
            if not isinstance(text, str) or len(text.encode()) + NUM_SPECIAL > room
        ]
        longest = max([longest, *map(len, builder.encode(long, column, few_shot))])
    return longest


def check_examples(dataset: Dataset, name: str, builder: PromptBuilder) -> list[int]:
    """
    The problems that are not among their own few-shot examples, where a prompt would hold its own solution.

    Args:
        dataset ([`~datasets.Dataset`]):
            Problems.
        name (`str`):
            How the argument is called in messages.
        builder ([`PromptBuilder`]):
            Chooses the examples.

    Returns:
        `list[int]`: Their indices. A warning says how many of the others there are.

    Raises:
        `ValueError`: If there is none.
    """
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


def check_sharding(accelerator: Accelerator, args: STaRConfig) -> None:
    """
    Raises `ValueError` under FSDP 1, which cannot hold the parameters whole while a model generates, and where
    gradients are wanted of parameters that are sharded.
    """
    fsdp = getattr(accelerator.state, "fsdp_plugin", None)
    if fsdp is not None and fsdp.fsdp_version == 1:
        raise ValueError(
            "FSDP 1 gathers parameters in every forward pass, for which processes that generate different numbers of "
            "tokens would wait forever. Set `fsdp_version: 2` in the accelerate config."
        )
    deepspeed = getattr(accelerator.state, "deepspeed_plugin", None)
    if args.gradient_view_samples and (fsdp is not None or (deepspeed is not None and deepspeed.zero_stage == 3)):
        raise ValueError(
            f"`gradient_view_samples={args.gradient_view_samples}` takes gradients of the whole model in every "
            "process, but its parameters are sharded. Set it to 0, or train with DDP or ZeRO 1 or 2."
        )
