# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Exports right and wrong samples of the ledger as training data for TRL's other trainers."""

import json
import os
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import product
from typing import Any

from datasets import Dataset

from ..output_dir import encodable
from .ledger import read_samples
from .messages import Messages, as_completion, as_given, as_text, turns_of
from .sample import Sample


# A completion as text, and whether it is a conversation, whose text is JSON
Written = tuple[str, bool]


def sft_dataset(
    output_dir: str | os.PathLike,
    iterations: Collection[int] | None = None,
    samplers: Collection[str] | None = None,
) -> Dataset:
    """
    Exports the kept samples of a run as prompts and completions for [`~trl.SFTTrainer`].

    The prompt is the problem's, without few-shot examples and always without the hint. Each completion of a prompt is
    included once. A completion that was judged both right and wrong, which can happen with pseudo-labels, is left out.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        iterations (`Collection[int]`, *optional*):
            Outer iterations to take samples of, counted from 1. All by default.
        samplers (`Collection[str]`, *optional*):
            Names of the samplers to take samples of, such as `"rationale"`. All by default.

    Returns:
        [`~datasets.Dataset`]: `prompt` and `completion`: text, or lists of messages where the prompts are messages.

    Raises:
        `FileNotFoundError`: If there are no samples under `output_dir`.
        `ValueError`: If no sample is of these iterations and samplers, or none of those was kept.
    """
    samples = _chosen(output_dir, iterations, samplers)
    rows = [_row(prompt, completion=each) for prompt, right, _ in _by_prompt(samples) for each in right]
    return _dataset(rows, samples, "No sample was kept")


def preference_dataset(
    output_dir: str | os.PathLike,
    iterations: Collection[int] | None = None,
    samplers: Collection[str] | None = None,
    max_pairs_per_problem: int | None = 8,
    seed: int = 0,
) -> Dataset:
    """
    Exports pairs of a right and a wrong completion of the same problem for [`~trl.DPOTrainer`] and
    [`~trl.RewardTrainer`] (V-STaR, [Hosseini et al., 2024](https://huggingface.co/papers/2402.06457), section 3).

    A sample is right if it was kept, and wrong if its `drop_reason` is `"wrong"`. Samples that were cut, could not be
    verified or whose reward failed are in no pair. Prompts and duplicates are as in [`sft_dataset`].

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        iterations (`Collection[int]`, *optional*):
            Outer iterations to take samples of, counted from 1. All by default.
        samplers (`Collection[str]`, *optional*):
            Names of the samplers to take samples of, such as `"rationale"`. All by default.
        max_pairs_per_problem (`int`, *optional*, defaults to `8`):
            Maximum number of pairs per prompt, drawn from all combinations. The limit keeps problems with many samples
            from filling the dataset. `None` for all combinations.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draw. The pairs of a prompt depend on it and on the prompt's own samples only.

    Returns:
        [`~datasets.Dataset`]: `prompt`, `chosen` and `rejected`: text, or lists of messages where the prompts are
        messages.

    Raises:
        `FileNotFoundError`: If there are no samples under `output_dir`.
        `ValueError`: If no sample is of these iterations and samplers, or those make no pair.
    """
    if max_pairs_per_problem is not None and max_pairs_per_problem < 1:
        raise ValueError(f"`max_pairs_per_problem` must be positive or None, got {max_pairs_per_problem}.")
    samples = _chosen(output_dir, iterations, samplers)
    rows = []
    for prompt, right, wrong in _by_prompt(samples):
        pairs = list(product(right, wrong))
        if max_pairs_per_problem is not None and len(pairs) > max_pairs_per_problem:
            pairs = random.Random(f"{seed} {prompt}").sample(pairs, max_pairs_per_problem)
        rows += [_row(prompt, chosen=chosen, rejected=rejected) for chosen, rejected in pairs]
    return _dataset(rows, samples, "No problem has both a right and a wrong sample")


def verifier_dataset(
    output_dir: str | os.PathLike,
    iterations: Collection[int] | None = None,
    samplers: Collection[str] | None = None,
    balanced: bool = False,
    seed: int = 0,
) -> Dataset:
    """
    Exports every right and wrong completion with its label, for a classifier (an outcome reward model) or
    [`~trl.KTOTrainer`]. Right and wrong are defined as in [`preference_dataset`].

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        iterations (`Collection[int]`, *optional*):
            Outer iterations to take samples of, counted from 1. All by default.
        samplers (`Collection[str]`, *optional*):
            Names of the samplers to take samples of, such as `"rationale"`. All by default.
        balanced (`bool`, *optional*, defaults to `False`):
            Whether to draw as many right as wrong completions of every problem, so that the problem alone says nothing
            about the label. Problems with only one kind are then left out.
        seed (`int`, *optional*, defaults to `0`):
            Seed of that draw.

    Returns:
        [`~datasets.Dataset`]: `prompt`, `completion` (text, or lists of messages where the prompts are messages) and
        `label` (`bool`).

    Raises:
        `FileNotFoundError`: If there are no samples under `output_dir`.
        `ValueError`: If no sample is of these iterations and samplers, or none of those is exported.
    """
    samples = _chosen(output_dir, iterations, samplers)
    rows = []
    for prompt, right, wrong in _by_prompt(samples):
        if balanced:
            rng, count = random.Random(f"{seed} {prompt}"), min(len(right), len(wrong))
            right, wrong = rng.sample(right, count), rng.sample(wrong, count)
        rows += [{**_row(prompt, completion=each), "label": True} for each in right]
        rows += [{**_row(prompt, completion=each), "label": False} for each in wrong]
    missing = "No problem has both a right and a wrong sample" if balanced else "No sample is right or wrong"
    return _dataset(rows, samples, missing)


def _chosen(
    output_dir: str | os.PathLike, iterations: Collection[int] | None, samplers: Collection[str] | None
) -> list[Sample]:
    samples = read_samples(output_dir)
    chosen = [
        sample
        for sample in samples
        if (iterations is None or sample.iteration in iterations) and (samplers is None or sample.sampler in samplers)
    ]
    if not chosen:
        raise ValueError(
            f"No sample under {os.fspath(output_dir)} has iterations={iterations} and samplers={samplers}. There are "
            f"the iterations {sorted({sample.iteration for sample in samples})} and the samplers "
            f"{sorted({sample.sampler for sample in samples})}."
        )
    return chosen


def _by_prompt(samples: Iterable[Sample]) -> Iterator[tuple[str, list[Written], list[Written]]]:
    """
    Yields each prompt with its right and its wrong completions, without duplicates, in the order of the ledger. The
    prompt identifies a problem, and not its index, since datasets repeat problems.
    """
    verdicts: dict[str, dict[Written, set[bool]]] = {}
    for sample in samples:
        if sample.kept or sample.drop_reason == "wrong":
            verdicts.setdefault(sample.prompt, {}).setdefault(_written(sample), set()).add(sample.kept)
    for prompt, written in verdicts.items():
        right, wrong = ([each for each, found in written.items() if found == {verdict}] for verdict in (True, False))
        yield prompt, right, wrong


def _written(sample: Sample) -> Written:
    turns = turns_of(sample.extra)
    if turns is None:
        return encodable(sample.completion), False
    text = as_text([{**turn, "content": _content(turn)} for turn in turns])
    return text.encode(errors="replace").decode(), True  # JSON would read an escape as what it stands for


def _content(turn: dict[str, Any]) -> Any:
    """Returns the content of a turn, with the result of a tool as the model saw it."""
    content = turn.get("content")
    if content is None:
        return ""
    is_parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    return content if is_parts else str(content)


def _row(prompt: str, **completions: Written) -> dict[str, Any]:
    given = as_given(prompt)
    rows: dict[str, str | Messages] = {
        column: json.loads(text) if is_conversation else as_completion(text, given)
        for column, (text, is_conversation) in completions.items()
    }
    return {"prompt": given, **rows}


def _dataset(rows: list[dict[str, Any]], samples: list[Sample], missing: str) -> Dataset:
    if not rows:
        found = Counter(sample.drop_reason or "kept" for sample in samples)
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(found.items()))
        raise ValueError(
            f"{missing}: there are {counts}. Take more iterations or samplers, or draw more samples of a "
            "problem, with `num_generations` and a `temperature`."
        )
    # The arguments of tools differ between calls, so a column of conversations may need the type `Json`.
    return Dataset.from_list(rows, on_mixed_types="use_json")
