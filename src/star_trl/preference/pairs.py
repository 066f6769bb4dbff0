# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Draws pairs of a chosen and a rejected completion of the same problem, and turns them into token ids."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from datasets import Dataset

from ..fine_tuning.sequences import check_length, training_prompts
from ..ledger.sample import Sample
from ..seeds import seed_of
from ..star_config import STaRConfig
from ..task.task import Task


# Name of the sampler of a dataset's own solution, which stands beside the samples as one of them
SOLUTION = "solution"


@dataclass(frozen=True)
class Pair:
    """
    Two completions of the same prompt.

    Args:
        chosen ([`Sample`]):
            The completion that becomes more likely.
        rejected ([`Sample`]):
            The completion that becomes less likely.
    """

    chosen: Sample
    rejected: Sample


@dataclass(frozen=True, kw_only=True)
class DrawnPairs:
    """
    The pairs of some samples, and what is in none.

    Args:
        pairs (`list[Pair]`):
            The pairs.
        dropped (`Counter[str]`):
            Number of samples in no pair, by reason: the `drop_reason` of a sample that is neither right nor wrong,
            `"duplicate"` (the same token ids for the same problem), `"cap"` (the problem has other pairs) or
            `"unpaired"`.
        metrics (`dict[str, float]`):
            `pairs`, and the number of problems with pairs, without a right completion, and without a wrong one for
            their right ones: `problems_with_pairs`, `problems_without_right` and `problems_without_wrong`.
    """

    pairs: list[Pair]
    dropped: Counter[str]
    metrics: dict[str, float]


def draw_pairs(
    samples: Sequence[Sample],
    max_pairs_per_problem: int | None,
    seed: int,
    solutions: Mapping[int, Sample] | None = None,
    self_play: bool = False,
) -> DrawnPairs:
    """
    Draws pairs of a right and a wrong completion of the same training prompt. A sample is right if it was kept, and
    wrong if its `drop_reason` is `"wrong"`. Each completion of a problem counts once, and one that was judged both
    right and wrong is in no pair.

    Args:
        samples (`list[Sample]`):
            Samples, kept or not.
        max_pairs_per_problem (`int`, *optional*):
            Maximum number of pairs per problem, drawn from all combinations. `None` for all combinations.
        seed (`int`):
            Seed of the draw. The pairs of a problem depend on it and on the problem's own samples only.
        solutions (`dict[int, Sample]`, *optional*):
            Solutions of the dataset by problem, which are right as well.
        self_play (`bool`, *optional*, defaults to `False`):
            Whether the solution alone is chosen, and every sample that differs from it is rejected, whatever its
            reward, as in SPIN.
    """
    solutions = solutions or {}
    right: dict[int, dict[tuple, Sample]] = defaultdict(dict)
    wrong: dict[int, dict[tuple, Sample]] = defaultdict(dict)
    for problem in dict.fromkeys(sample.problem_id for sample in samples):
        if problem in solutions:
            right[problem][_content(solutions[problem])] = solutions[problem]
    for sample in samples:
        if self_play or sample.drop_reason == "wrong":
            wrong[sample.problem_id].setdefault(_content(sample), sample)
        elif sample.kept:
            right[sample.problem_id].setdefault(_content(sample), sample)

    pairs: list[Pair] = []
    counts: Counter[str] = Counter()
    for problem in dict.fromkeys(sample.problem_id for sample in samples):
        own, missing = _pairs(right[problem], wrong[problem], solutions.get(problem))
        if max_pairs_per_problem is not None and len(own) > max_pairs_per_problem:
            rng = random.Random(seed_of(seed, problem))
            own = rng.sample(own, max_pairs_per_problem)
        pairs += own
        counts["problems_with_pairs" if own else f"problems_without_{missing}"] += 1
    names = ("problems_with_pairs", "problems_without_right", "problems_without_wrong")
    return DrawnPairs(
        pairs=pairs,
        dropped=_dropped(samples, pairs, self_play),
        metrics={"pairs": len(pairs), **{name: counts[name] for name in names}},
    )


def _content(sample: Sample) -> tuple:
    """Returns what two samples of a problem must have in common to be the same: training prompt and token ids."""
    return sample.hint_shown and sample.sampler, tuple(sample.completion_ids)


def _pairs(
    right: Mapping[tuple, Sample], wrong: Mapping[tuple, Sample], solution: Sample | None
) -> tuple[list[Pair], str]:
    """Returns all pairs of a problem whose completions have the same training prompt, and what is missing if none."""
    both = right.keys() & wrong.keys()
    chosen = [sample for content, sample in right.items() if content not in both or sample is solution]
    rejected = [sample for content, sample in wrong.items() if content not in both]
    pairs = [Pair(*pair) for pair in product(chosen, rejected) if _content(pair[0])[0] == _content(pair[1])[0]]
    return pairs, "wrong" if chosen else "right"


def _dropped(samples: Iterable[Sample], pairs: Sequence[Pair], self_play: bool) -> Counter[str]:
    paired = {(sample.iteration, sample.key) for sample in unpair(pairs)}
    with_pairs = {pair.rejected.problem_id for pair in pairs}
    dropped: Counter[str] = Counter()
    seen: set[tuple] = set()
    for sample in samples:
        content = sample.problem_id, *_content(sample)
        if (sample.iteration, sample.key) in paired:
            pass
        elif not self_play and sample.drop_reason not in (None, "wrong"):
            dropped[sample.drop_reason] += 1
        elif content in seen:
            dropped["duplicate"] += 1
        else:
            dropped["cap" if sample.problem_id in with_pairs else "unpaired"] += 1
        seen.add(content)
    return dropped


def unpair(pairs: Iterable[Pair]) -> list[Sample]:
    """Returns the samples of pairs, chosen and rejected in turn."""
    return [sample for pair in pairs for sample in (pair.chosen, pair.rejected)]


def repair(samples: Sequence[Sample]) -> list[Pair]:
    """Returns the pairs of which [`unpair`] made a list."""
    return [Pair(*pair) for pair in zip(samples[::2], samples[1::2], strict=True)]


def pair_rows(
    pairs: Sequence[Pair],
    task: Task,
    args: STaRConfig,
    logprobs: Callable[[Sequence[Sample]], list[float]],
) -> Dataset:
    """
    Builds the rows of [`PairTrainer`]. The completions have the very ids that were sampled, after the prompt that the
    samples are trained with.

    Args:
        pairs (`list[Pair]`):
            The pairs.
        task ([`~star_trl.task.task.Task`]):
            The task, for the problems and the prompt builder.
        args ([`STaRConfig`]):
            Configuration, for `few_shot_train` and `max_length`.
        logprobs (`Callable[[list[Sample]], list[float]]`):
            Returns log-probabilities (in nats) of samples under the reference model.

    Returns:
        [`~datasets.Dataset`]: One row per pair: `prompt_ids`; `chosen_ids`, `chosen_mask` (whether each token is
        trained on) and `ref_chosen_logps`; the same three for `rejected`; and the length of the longer sequence, by
        which rows can be grouped.

    Raises:
        `ValueError`: If a sequence is longer than `max_length`.
    """
    prompts = training_prompts([pair.chosen for pair in pairs], task, args)
    # A sample may be in several pairs.
    distinct = {(sample.iteration, sample.key): sample for sample in unpair(pairs)}
    values = dict(zip(distinct, logprobs(list(distinct.values())), strict=True))
    rows = []
    for prompt, pair in zip(prompts, pairs, strict=True):
        row: dict = {"prompt_ids": prompt}
        for name, sample in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            row[f"{name}_ids"] = sample.completion_ids
            row[f"{name}_mask"] = sample.loss_mask
            row[f"ref_{name}_logps"] = values[sample.iteration, sample.key]
        row[args.length_column_name] = len(prompt) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        rows.append(row)
    check_length(max(row[args.length_column_name] for row in rows), args)
    return Dataset.from_list(rows)


def solution_samples(task: Task, args: STaRConfig, column: str, eos_token_ids: Collection[int]) -> dict[int, Sample]:
    """
    Turns the solutions of a dataset into samples, which end with EOS as sampled completions do.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task. Problems whose solution is None have none.
        args ([`STaRConfig`]):
            Configuration, for `few_shot_train` and `max_length`.
        column (`str`):
            Column with the solutions: text, or after messages also a list with one message.
        eos_token_ids (`Collection[int]`):
            Tokens that end a completion.

    Returns:
        `dict[int, Sample]`: The solutions by problem, with `0` as their iteration.

    Raises:
        `ValueError`: If a solution is neither text nor one message, if the chat template does not write it after the
            prompt, or if it does not fit into `max_length`.
    """
    problems = [problem for problem in task.candidates if task.problems[column][problem] is not None]
    rows = task.problems.select(problems).to_list()
    prompts = task.prompt_builder.encode(rows, "prompt", args.few_shot_train)
    samples = {}
    for problem, row, prompt in zip(problems, rows, prompts, strict=True):
        text = _solution_text(row[column], problem, column)
        whole = _encode_with_solution(row, text, task, args)
        if whole[: len(prompt)] == prompt:
            ids = whole[len(prompt) :]
        elif isinstance(row["prompt"], str):  # a token reaches over the seam, which no sampled one does
            ids = task.prompt_builder.tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            raise ValueError(
                f"The chat template does not write the solution of row {problem} (`{column}`) right after the prompt "
                "that the model continues. Give a template that does with `chat_template_path`, or make the prompts "
                "text."
            )
        end = next((index for index, token in enumerate(ids) if token in eos_token_ids), len(ids))
        ids = [*ids[:end], ids[end] if end < len(ids) else task.prompt_builder.tokenizer.eos_token_id]
        check_length(len(prompt) + len(ids), args)
        samples[problem] = Sample(
            iteration=0,
            problem_id=problem,
            sampler=SOLUTION,
            sample_index=0,
            prompt="",
            hint_shown=False,
            completion=text,
            completion_ids=ids,
            loss_mask=[True] * len(ids),
            finish_reason="eos",
            rewards={},
            reward=None,
            kept=True,
        )
    return samples


def _solution_text(solution: object, problem: int, column: str) -> str:
    """Returns a solution as text: itself, or the content of its only message."""
    if isinstance(solution, list) and len(solution) == 1:
        solution = solution[0].get("content")
    if not isinstance(solution, str) or not solution:
        raise ValueError(
            f"The solution of row {problem} (`{column}`) is {solution!r:.80}, expected text, or a list with one "
            "message of the assistant. Change the column, or make it None where a problem has no solution."
        )
    return solution


def _encode_with_solution(row: dict, text: str, task: Task, args: STaRConfig) -> list[int]:
    builder = task.prompt_builder
    if isinstance(row["prompt"], str):
        return builder.encode([{**row, "prompt": row["prompt"] + text}], "prompt", args.few_shot_train)[0]
    messages: Any = builder.render(row, "prompt", args.few_shot_train)
    encoded: Any = builder.tokenizer.apply_chat_template(
        [*messages, {"role": "assistant", "content": text}],
        tokenize=True,
        return_dict=True,
        **builder.chat_template_kwargs,
    )
    return encoded["input_ids"]
