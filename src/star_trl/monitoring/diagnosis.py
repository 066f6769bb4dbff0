# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Detects signs that a run will not teach the model to reason, and describes them for the log."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from ..ledger.interval import confidence_interval
from ..ledger.sample import Sample
from ..rewards.text import before_next_question, normalize_spaces
from ..samplers import Sampler
from ..star_config import STaRConfig
from ..task.task import Task


# An answer dominates if its share of the kept samples is this much larger than its share of the true answers.
DOMINANCE = 0.2
# Minimum number of kept samples for a check of the answers.
MIN_KEPT = 20
# Minimum number of problems for a comparison of the accuracy with chance.
MIN_PROBLEMS = 30
# Mean number of problems per answer from which answers count as classes, so that one may be guessed. A number that is
# the answer of a few problems is no class.
PROBLEMS_PER_CLASS = 5
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
        counts = [len(choices) for choices in problems["choices"][:] if isinstance(choices, list)]
        guess = sum(1 / count for count in counts if count) / len(problems)
    if "answer" in problems.column_names and len(problems) > 1:
        # Each problem is compared with the others only: among a few problems with different answers, none is common.
        constant = (max(Counter(map(str, problems["answer"][:])).values()) - 1) / (len(problems) - 1)
    return max(guess, constant)


def signs_of_chance(samples: Sequence[Sample], problems: Dataset, args: STaRConfig) -> list[str]:
    """
    Returns a warning if the original model's accuracy is not above chance, by its confidence interval. It is not given
    for a few problems, nor where an answer cannot be guessed. If most completions were cut, the warning is about that.

    Args:
        samples (`list[Sample]`):
            Samples of the original model, from one sampler.
        problems ([`~datasets.Dataset`]):
            The problems, addressed by `problem_id`.
        args ([`STaRConfig`]):
            Configuration, for the advice.
    """
    indices = sorted({sample.problem_id for sample in samples})
    if len(indices) < MIN_PROBLEMS:
        return []
    cut = [sample for sample in samples if sample.drop_reason == "truncated"]
    if len(cut) > len(samples) / 2:
        return [f"{len(cut):,} of {len(samples):,} completions were cut, and count as wrong. {_advice(cut, args)}"]
    measured = problems.select(indices)
    chance = chance_level(measured) if _can_be_guessed(measured) else 0.0
    accuracy = sum(sample.kept for sample in samples) / len(samples)
    low, high = confidence_interval(accuracy, len(indices))
    if not chance or low > chance:
        return []
    return [
        f"The model is right on {accuracy:.1%} of {len(indices):,} problems (95% interval {low:.1%} to {high:.1%}), "
        f"which is not above chance ({chance:.1%}). What the filter keeps of such a model are lucky guesses, whose "
        "rationales teach nothing. Before training it, improve the few-shot examples, use a stronger model, or take a "
        "task with more possible answers."
    ]


def _can_be_guessed(problems: Dataset) -> bool:
    """Returns whether problems have choices, or answers that occur often enough to be classes."""
    if "choices" in problems.column_names:
        return True
    if "answer" not in problems.column_names:
        return False
    return len(set(map(str, problems["answer"][:]))) <= len(problems) / PROBLEMS_PER_CLASS


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


def signs_of_too_few(samples: Sequence[Sample], num_problems: int, wanted: int | None) -> list[str]:
    """
    Returns a warning if all problems were sampled and too few samples were kept.

    Args:
        samples (`list[Sample]`):
            Samples of the iteration.
        num_problems (`int`):
            Number of problems that were sampled.
        wanted (`int`, *optional*):
            Number of kept samples with which sampling ends, `num_kept_per_iteration`.
    """
    kept = sum(sample.kept for sample in samples)
    if wanted is None or kept >= wanted:
        return []
    return [
        f"Only {kept:,} samples are kept, of `num_kept_per_iteration={wanted}`, and all {num_problems:,} problems of "
        "the iteration were sampled. Give more problems, raise `num_generations`, or lower `num_kept_per_iteration`."
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
        reasons = Counter(sample.drop_reason for sample in own)
        # Samples that were cut or could not be judged say nothing about the hint.
        if own and sampler.prompt_column != "prompt" and reasons["wrong"] > len(own) / 2 and not reasons[None]:
            messages.append(
                f"None of {len(own)} samples of `{sampler.name}` is kept, although they were shown a hint. Does the "
                f"hint in `{sampler.prompt_column}` give the answer, and do the few-shot examples show how it is "
                f"used? The first sample ends with {own[0].completion[-100:]!r}."
            )
    kept = [sample.problem_id for sample in samples if sample.kept]
    if "answer" in problems.column_names and len(kept) >= MIN_KEPT:
        answers = problems["answer"][:]
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


def why_nothing_survives(
    samples: Sequence[Sample], dropped: Counter[str], iteration: int, task: Task, args: STaRConfig
) -> str:
    """
    Explains why no sample of an iteration is selected: the numbers by drop reason, and for the most frequent one a
    sample and what to do.

    Args:
        samples (`list[Sample]`):
            Samples of the iteration.
        dropped (`Counter[str]`):
            Number of samples by drop reason.
        iteration (`int`):
            Outer iteration.
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
    """
    message = f"No sample of iteration {iteration} survives the filter"
    if not dropped:
        return f"{message}: the samplers proposed none. Check which problems their `select` chooses."
    found = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common())
    ((reason, _),) = dropped.most_common(1)
    if dropped["threshold"]:
        return (
            f"{message}: {found}. The {dropped['threshold']:,} are right, but do not reach the threshold that was "
            f"chosen. Give lower values than `adaptive_thresholds={args.adaptive_thresholds}`."
        )
    own = [sample for sample in samples if sample.drop_reason == reason]
    if reason == "wrong":
        advice = _advice_on_wrong(own, task, args)
    elif reason == "unverified":
        advice = (
            f"For these the reward functions ({', '.join(task.scorer.names)}) returned None, which says that they do "
            "not apply. Check the columns that they read: is the `answer` filled in?"
        )
    elif reason == "error":
        advice = f"For these a reward function failed. The first error is {own[0].extra.get('error')!r:.300}."
    else:
        advice = _advice(own, args)
    return f"{message}: {found}. {advice} The first {reason} one ends with {own[0].completion[-200:]!r}."


def _advice(cut: Sequence[Sample], args: STaRConfig) -> str:
    """Explains why completions were cut, and what to do."""
    if sum(sample.finish_reason == "pause" for sample in cut) > len(cut) / 2:
        return "The sampler did not continue them after a pause, such as a call of its tool. Check the tool."
    return _advice_on_stop_strings(cut, args) or (
        f"They are longer than `max_completion_length={args.max_completion_length}`. Set it higher: models that think "
        "need thousands of tokens. `mask_truncated_completions=False` keeps those of them that the reward functions "
        "accept."
    )


def _advice_on_wrong(wrong: Sequence[Sample], task: Task, args: STaRConfig) -> str:
    advice = _advice_on_stop_strings(wrong, args)
    if advice is not None:
        return advice
    if "answer" in task.problems.column_names:
        answers = task.problems["answer"][:]
        near = sum(_holds(sample.completion, answers[sample.problem_id]) for sample in wrong)
        if near > len(wrong) / 2:
            return (
                f"{near:,} of the wrong ones hold the right answer, but not where the reward functions "
                f"({', '.join(task.scorer.names)}) read it. Show the form that they read in the few-shot examples, or "
                "use a reward function that reads the form of the completions."
            )
    return (
        "The model does not solve these problems, or does not understand the task. Improve the few-shot examples, "
        "add hints, begin with easier problems, or use a stronger model."
    )


def _advice_on_stop_strings(samples: Sequence[Sample], args: STaRConfig) -> str | None:
    """Returns advice if most of the samples go on with another question."""
    going_on = sum(_goes_on(sample) for sample in samples)
    if going_on <= len(samples) / 2:
        return None
    found = f"{going_on:,} of them go on with another question after their answer."
    if args.stop_strings:
        return f"{found} Add the text between an answer and the next question to `stop_strings={args.stop_strings}`."
    return f"{found} Set `stop_strings=['\\n\\n']`, which ends a completion where the next question would begin."


def _goes_on(sample: Sample) -> bool:
    """Returns whether a completion continues with another question, in the form of its prompt or in a common one."""
    start = sample.prompt.split(maxsplit=1)[0] if sample.prompt.strip() else ""
    lines = sample.completion.splitlines()[1:]
    return before_next_question(sample.completion) != sample.completion or (
        start.endswith(":") and any(line.lstrip().startswith(start) for line in lines)
    )


def _holds(text: str, answer: Any) -> bool:
    """Returns whether a text holds an answer as a word of its own."""
    words = re.escape(normalize_spaces(str(answer)))
    return bool(words) and re.search(rf"(?<!\w){words}(?!\w)", normalize_spaces(text)) is not None
