# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Detects signs that a run will not teach the model to reason, and describes them for the log."""

import math
from collections import Counter
from collections.abc import Sequence

from datasets import Dataset

from ..ledger.ledger import Sample
from ..samplers import Sampler


# An answer dominates if its share of the kept samples is this much larger than its share of the true answers.
DOMINANCE = 0.2
# Minimum number of kept samples for a check of the answers.
MIN_KEPT = 20
# Number of epochs over the same samples beyond which a model learns them by heart.
MAX_EPOCHS = 10


def chance_level(problems: Dataset) -> float:
    """
    Returns the accuracy that takes no reasoning. It is the higher one of two: that of guessing among the `choices`, if
    the problems have such a column of lists, and that of always giving the most common `answer`.

    Args:
        problems ([`~datasets.Dataset`]):
            Problems.

    Returns:
        `float`: Between 0 and 1; 0 where all answers differ, or none is known.

    Example:
    ```python
    >>> from datasets import Dataset
    >>> from star_trl.monitoring.diagnosis import chance_level

    >>> chance_level(Dataset.from_dict({"answer": ["yes", "no", "yes", "yes", "yes"]}))
    0.75
    >>> chance_level(Dataset.from_dict({"answer": ["a", "b"], "choices": [["red", "blue", "green", "pink"]] * 2}))
    0.25
    ```
    """
    guess = constant = 0.0
    if "choices" in problems.column_names:
        counts = [len(choices) for choices in problems["choices"] if isinstance(choices, list)]
        guess = sum(1 / count for count in counts if count) / len(problems)
    if "answer" in problems.column_names and len(problems) > 1:
        # Each problem is compared with the others only: among a few problems with different answers, none is common.
        constant = (max(Counter(map(str, problems["answer"])).values()) - 1) / (len(problems) - 1)
    return max(guess, constant)


def signs_of_chance(accuracy: float, problems: Dataset) -> list[str]:
    """
    Returns a warning if the original model's accuracy is not above chance, by two standard errors of an accuracy at
    chance.

    Args:
        accuracy (`float`):
            Accuracy of the original model, or the share of its samples that is kept.
        problems ([`~datasets.Dataset`]):
            The problems that it was measured on.
    """
    chance = chance_level(problems)
    if accuracy > chance + 2 * math.sqrt(chance * (1 - chance) / len(problems)):
        return []
    return [
        f"The model is right on {accuracy:.1%} of {len(problems)} problems, which is not above chance ({chance:.1%}). "
        "What the filter keeps of such a model are lucky guesses, whose rationales teach nothing. Before training it, "
        "improve the few-shot examples, use a stronger model, or take a task with more possible answers."
    ]


def signs_of_repetition(epochs: float, iteration: int, length: str) -> list[str]:
    """
    Returns a warning if an inner loop repeats its samples too often.

    Args:
        epochs (`float`):
            Number of epochs.
        iteration (`int`):
            Outer iteration.
        length (`str`):
            Description of the length in steps and epochs.
    """
    if epochs <= MAX_EPOCHS:
        return []
    return [
        f"The fine-tuning of iteration {iteration} repeats its samples very often: {length}. The model learns them by "
        f"heart beyond some {MAX_EPOCHS} epochs. Lower `initial_steps`, set `initial_steps=None` and "
        "`num_train_epochs`, or keep more samples: more problems, or a higher `num_generations`."
    ]


def signs_in_samples(
    samples: Sequence[Sample], samplers: Sequence[Sampler], problems: Dataset, candidates: Sequence[int]
) -> list[str]:
    """
    Returns warnings about samples: that no sample of a sampler with hints is kept, and that an answer is far more
    common among the kept samples than among the true answers.

    Args:
        samples (`list[Sample]`):
            Samples of one iteration.
        samplers (`list[Sampler]`):
            The samplers.
        problems ([`~datasets.Dataset`]):
            The training problems.
        candidates (`list[int]`):
            Indices of the iteration's problems.
    """
    messages = []
    for sampler in samplers:
        own = [sample for sample in samples if sample.sampler == sampler.name]
        if own and sampler.prompt_column != "prompt" and not any(sample.kept for sample in own):
            messages.append(
                f"None of {len(own)} samples of `{sampler.name}` is kept, although they were shown a hint. Does the "
                f"hint in `{sampler.prompt_column}` give the answer, and do the few-shot examples show how it is "
                f"used? The first sample ends with {own[0].completion[-100:]!r}."
            )
    kept = [sample.problem_id for sample in samples if sample.kept]
    if "answer" in problems.column_names and len(kept) >= MIN_KEPT:
        answers = list(problems["answer"])
        true_answers = Counter(str(answers[index]) for index in candidates)
        answer, count = Counter(str(answers[index]) for index in kept).most_common(1)[0]
        share, true_share = count / len(kept), true_answers[answer] / len(candidates)
        if share >= true_share + DOMINANCE:
            messages.append(
                f"The answer {answer!r} is that of {share:.0%} of the kept samples, but only of {true_share:.0%} of "
                "the problems. The model mostly gives this answer, and training on these samples makes that worse. "
                "Balance the answers of the few-shot examples, or cap or weight the samples."
            )
    return messages
