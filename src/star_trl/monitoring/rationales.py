# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Finds kept samples whose rationale does not lead to their answer. The filter judges the answer only."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..ledger.sample import Sample
from ..output_dir import RATIONALES_NAME, iteration_dir, write_json
from ..rewards.answers.derived import derived_answer_reward
from ..rewards.answers.numeric import gold_number
from ..rewards.text import CompletionLike, before_next_question
from ..task.rows import read_rows
from ..task.task import Task


# Doubts about a kept sample, with what the log says of them
NO_RATIONALE, NOT_DERIVED = "no rationale", "not derived"
DOUBTS = {
    NO_RATIONALE: "have no rationale, only an answer",
    NOT_DERIVED: "end in a number that no calculation in them leads to",
}
# Minimum number of words besides the answer and the phrases below that make a rationale. A Chinese or Japanese
# character counts as a word.
MIN_WORDS = 3
# Number of characters of a completion that mostly suffice to find a rationale, and the most words that a phrase below
# can have
BEGINNING, MAX_PHRASE = 100, 6
# Share of the kept samples from which on doubts are a warning
MAX_DOUBTFUL = 0.2

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_PHRASES = re.compile(
    r"\b(?:so|thus|hence|therefore)?,?\s{0,3}(?:the)?\s{0,3}(?:final|correct|right)?\s{0,3}answer(?:\s{1,3}is)?\b"
    r"|</?(?:think|answer)>|\\boxed",
    re.IGNORECASE,
)
_WORDS_OF_PHRASES = ("answer", "think", "boxed")  # Each phrase has one of them.


def doubts(samples: Sequence[Sample], task: Task) -> dict[str, list[Sample]]:
    """
    Finds the kept samples that are doubtful.

    Args:
        samples (`list[Sample]`):
            Samples of one iteration.
        task ([`~star_trl.task.task.Task`]):
            The task, for the problems and the few-shot examples.

    Returns:
        `dict[str, list[Sample]]`: The samples with `"no rationale"`, and those of the others that are `"not derived"`
        as [`~star_trl.rewards.derived_answer_reward`] reads them. The latter is missing where it cannot be read: where
        no answer is a number, or neither a few-shot example nor a kept sample has an answer that is derived, so that
        calculations are not written as equations.
    """
    kept = [sample for sample in samples if sample.kept]
    if not kept:
        return {}
    ids = sorted({sample.problem_id for sample in kept})
    problems = dict(zip(ids, read_rows(task.problems.select(ids)), strict=True))
    found: dict[str, list[Sample]] = {NO_RATIONALE: [], NOT_DERIVED: []}
    has_numbers = has_derived = False
    for sample in kept:
        problem = problems[sample.problem_id]
        is_number = _is_number(str(problem.get("answer")))
        is_derived = is_number and _is_derived([problem["prompt"]], [sample.completion])
        has_numbers, has_derived = has_numbers or is_number, has_derived or is_derived
        if is_derived:
            continue
        if not _has_rationale(sample, 1 if is_number else _num_words(str(problem.get("answer")))):
            found[NO_RATIONALE].append(sample)
        elif is_number:
            found[NOT_DERIVED].append(sample)
    if not has_derived and not (has_numbers and _examples_are_derived(task, problems[ids[0]])):
        del found[NOT_DERIVED]
    return found


def doubt_metrics(found: dict[str, list[Sample]]) -> dict[str, float]:
    """Returns the number of kept samples with each doubt, as `kept/no_rationale` and `kept/not_derived`."""
    return {f"kept/{doubt.replace(' ', '_')}": len(samples) for doubt, samples in found.items()}


def signs_of_doubt(found: dict[str, list[Sample]], num_kept: int) -> list[str]:
    """
    Returns a warning if many of the kept samples are doubtful.

    Args:
        found (`dict[str, list[Sample]]`):
            The doubtful samples, from [`doubts`].
        num_kept (`int`):
            Number of all kept samples.
    """
    if sum(map(len, found.values())) <= num_kept * MAX_DOUBTFUL:
        return []
    counts = " and ".join(f"{len(samples):,} {DOUBTS[doubt]}" for doubt, samples in found.items() if samples)
    example = next(samples[0] for samples in found.values() if samples)
    return [
        f"Of {num_kept:,} kept samples {counts}. Their answers are right, but such samples do not teach to reason. "
        "The report marks them. `derived_answer_reward` as a second reward function can drop them where answers are "
        f"numbers, and hints that give less away make fewer of them. One ends with {example.completion[-100:]!r}."
    ]


def write_doubts(output_dir: str, iteration: int, found: dict[str, list[Sample]]) -> None:
    """Writes which samples of an iteration are doubtful, for the report."""
    keys = {doubt: [list(sample.key) for sample in samples] for doubt, samples in found.items()}
    write_json(iteration_dir(output_dir, iteration) / RATIONALES_NAME, keys)


def _has_rationale(sample: Sample, answer_words: int) -> bool:
    """Returns whether a completion says anything besides its answer, which has so many words."""
    text, enough = before_next_question(sample.completion), answer_words + MIN_WORDS
    beginning = _num_words(_without_phrases(text[:BEGINNING]))
    return beginning >= enough + MAX_PHRASE or _num_words(_without_phrases(text)) >= enough


def _without_phrases(text: str) -> str:
    lowered = text.lower()  # The search for a word is much faster than that for the phrases.
    return _PHRASES.sub(" ", text) if any(word in lowered for word in _WORDS_OF_PHRASES) else text


def _num_words(text: str) -> int:
    return len(_WORD.findall(text))


@lru_cache(100_000)  # The same problems come back in each iteration.
def _is_number(answer: str) -> bool:
    try:
        gold_number(answer)
    except ValueError:
        return False
    return True


def _examples_are_derived(task: Task, problem: dict[str, Any]) -> bool:
    examples = task.prompt_builder.examples(problem)
    return _is_derived([each["prompt"] for each in examples], [each["completion"] for each in examples])


def _is_derived(prompts: list[CompletionLike], completions: list[CompletionLike]) -> bool:
    """Returns whether any of the completions has an answer that follows from its calculations."""
    return any(derived_answer_reward(prompts=prompts, completions=completions))
