# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Picks questions that every source answers rightly, and the rationales to compare."""

import hashlib
import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..ledger.ledger import ledger_names, read_samples
from ..ledger.messages import as_plain
from ..output_dir import UNENCODABLE


@dataclass(frozen=True, kw_only=True)
class Question:
    """
    A question that every source answers rightly.

    Args:
        prompt (`str`):
            The prompt, without few-shot examples and without a hint.
        rationales (`list[str]`):
            The rationale of each source.
        order (`list[int]`):
            The order in which a page shows the sources, by their numbers.
    """

    prompt: str
    rationales: list[str]
    order: list[int]

    @property
    def id(self) -> str:
        """A text that identifies the question in results, whichever page they are from."""
        return _digest(self.prompt)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    Rationales of several sources for the same questions.

    Args:
        sources (`list[str]`):
            The sources. A run is its path with the iteration, such as `runs/gsm8k@5`, also if it was given without.
        questions (`list[Question]`):
            The questions that were drawn.
        num_common (`int`):
            Number of questions that every source answers rightly.
        num_alike (`int`):
            Number of those for which all rationales are the same. They are not drawn, since there is nothing to rank.
    """

    sources: list[str]
    questions: list[Question]
    num_common: int
    num_alike: int

    @property
    def id(self) -> str:
        """A text that identifies the comparison: its sources, questions and orders."""
        parts = [[question.prompt, question.rationales, question.order] for question in self.questions]
        return _digest(json.dumps([self.sources, parts]))


def pick_questions(
    sources: Sequence[str | os.PathLike], num_questions: int = 50, seed: int = 0, ledger: str = "eval"
) -> Comparison:
    """
    Picks questions that every source answers rightly, with the rationale of each source (section 4.4 of
    [STaR](https://huggingface.co/papers/2203.14465)).

    Args:
        sources (`list[str]`):
            Two or more sources. Each is the output directory of a run, optionally with an iteration
            (`"runs/gsm8k@0"` is the base model with the few-shot prompt, and the last one is the default), or a
            `.jsonl` file with a `prompt` and a `completion` in each line, which are taken to be right.
        num_questions (`int`, *optional*, defaults to `50`):
            Maximum number of questions, drawn at random. The paper has 50.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the draw and of the order of the rationales.
        ledger (`str`, *optional*, defaults to `"eval"`):
            The problems that are compared: `"eval"`, `"eval_<name>"` of one of several evaluation sets, or
            `"samples"` for the training problems. Of those, only samples of the sampler `"rationale"` are taken, which
            saw no hint.

    Returns:
        `Comparison`: The questions and their rationales.

    Raises:
        `FileNotFoundError`: If there is no such run or file.
        `ValueError`: If a source has no such samples, or no question is answered rightly by all.
    """
    found_sources = [read_source(os.fspath(source), ledger) for source in sources]
    names, answers = [name for name, _ in found_sources], [right for _, right in found_sources]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"A comparison needs two or more different sources, got {names}. A run is one of several by its "
            "iterations, such as `runs/gsm8k@0` and `runs/gsm8k@5`."
        )
    if num_questions < 1:
        raise ValueError(f"`num_questions` must be at least 1, got {num_questions}.")
    common = [prompt for prompt in answers[0] if all(prompt in others for others in answers)]
    if not common:
        counts = ", ".join(f"{len(found)} of {name}" for name, found in zip(names, answers, strict=True))
        raise ValueError(
            f"No question is answered rightly by every source. Right answers: {counts}. Questions are the same if "
            "their prompts are: compare runs on the same problems, and give a file the prompts of the runs."
        )
    different = [prompt for prompt in common if len({found[prompt] for found in answers}) > 1]
    if not different:
        raise ValueError(f"All {len(common)} common questions have the same rationale from every source.")
    drawn = random.Random(seed).sample(different, min(num_questions, len(different)))
    questions = [
        Question(
            prompt=prompt,
            rationales=[found[prompt] for found in answers],
            # A shuffle of its own, so that the order says nothing about the sources, also not over the questions.
            order=random.Random(f"{seed} {prompt}").sample(range(len(names)), len(names)),
        )
        for prompt in drawn
    ]
    return Comparison(
        sources=names, questions=questions, num_common=len(common), num_alike=len(common) - len(different)
    )


def read_source(source: str, ledger: str) -> tuple[str, dict[str, str]]:
    """
    Returns the name of a source, and its right rationales by their prompts. The name of a run has its iteration. The
    last one may be another model later, whose results are not to be pooled with those of this one.
    """
    if source.endswith(".jsonl"):
        return source, _read_file(Path(source))
    path, iteration = source, None
    if (parts := re.fullmatch(r"(.+)@(\d+)", source)) and not Path(source).exists():
        path, iteration = parts[1], int(parts[2])
    names = ledger_names(path)
    if ledger not in names:
        raise FileNotFoundError(
            f"{Path(path).resolve()} has no samples {ledger!r}. It has {', '.join(sorted(names)) or 'no run'}. Give "
            "the `output_dir` of a run, and one of its kinds of samples as `ledger`."
        )
    samples = read_samples(path, ledger)
    iterations = sorted({sample.iteration for sample in samples})
    number = iterations[-1] if iteration is None else iteration
    if number not in iterations:
        raise ValueError(
            f"{Path(path).resolve()} has samples {ledger!r} of iterations {iterations}, but not of {number}."
        )
    right: dict[str, str] = {}
    for sample in samples:
        if sample.iteration == number and sample.kept and (ledger != "samples" or sample.sampler == "rationale"):
            right.setdefault(as_plain(sample.prompt).strip(), sample.completion.strip())
    return f"{Path(path)}@{number}", right


def _read_file(path: Path) -> dict[str, str]:
    right: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompt, completion = row["prompt"], row["completion"]
            if not isinstance(prompt, str) or not isinstance(completion, str):
                raise TypeError("they are not texts")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                f"Line {number} of {path} is not an object with the texts `prompt` and `completion` ({error!r}). "
                'Write one in each line, such as {"prompt": "Q: 1+1?\\nA:", "completion": "One more than 1.\\n2"}.'
            ) from error
        right.setdefault(prompt.strip(), completion.strip())
    return right


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", UNENCODABLE)).hexdigest()[:16]
