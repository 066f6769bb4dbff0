# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Detects likely mistakes in the problems that raise nothing, but make a run or its accuracy pointless."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from datasets import Dataset

from ..ledger.messages import as_text
from ..rewards.answers.exact_match import exact_match_reward
from ..rewards.answers.math_verify import math_verify_reward
from ..rewards.answers.scratchpad import scratchpad_answer_reward
from ..rewards.scoring import Scorer
from ..rewards.text import normalize_spaces
from ..samplers import Sampler
from ..user_input import nearest
from .prompting import FewShotExamples
from .rows import read_rows


# Share of the rows from which repeated problems are warned of. Small random tasks repeat a few by chance.
REPEATED = 0.1


class HintsForgotten(ValueError):
    """
    Raised when hints are meant to be used, since the few-shot examples have a `hinted_prompt`, but the problems have
    none.

    Args:
        problems ([`~datasets.Dataset`]):
            The training problems.
    """

    def __init__(self, problems: Dataset):
        super().__init__(
            f"{_no_hints(problems)} The few-shot examples have a `hinted_prompt`, so hints are meant to be used. "
            "Rename or add the column, or set `samplers=[RationaleSampler()]` to do without hints."
        )


def signs_in_problems(dataset: Dataset, name: str, samplers: Sequence[Sampler], scorer: Scorer) -> list[str]:
    """
    Returns warnings about the rows of a dataset. Each names a row.

    Args:
        dataset ([`~datasets.Dataset`]):
            The user's dataset, with the columns that the samplers and reward functions read.
        name (`str`):
            Name of the argument in messages.
        samplers (`list[Sampler]`):
            The samplers that propose for it.
        scorer ([`~star_trl.rewards.scoring.Scorer`]):
            The reward functions.

    Raises:
        `ValueError`: If a reward function of this package cannot read any of the answers.
    """
    # A column is read as a whole, which is a hundred times faster than row by row.
    columns = {column: dataset[column][:] for column in ("prompt", *(sampler.prompt_column for sampler in samplers))}
    messages = [
        message
        for column in dict.fromkeys(sampler.prompt_column for sampler in samplers)
        for message in _ends_in_space(columns[column], name, column)
    ]
    messages += _repeated(_identities(dataset, samplers), name)
    if "answer" in dataset.column_names:
        answers = dataset["answer"][:]
        # With choices, a hint may mark one of them, and an answer may be its index.
        if "hinted_prompt" in columns and "choices" not in dataset.column_names:
            messages += _hints_without_answer(columns["hinted_prompt"], answers, name)
        if not all(sampler.supplies_answer for sampler in samplers):
            messages += _missing_answers(answers, name)
            messages += _float_answers(answers, name, scorer)
            messages += [message for func in scorer.reward_funcs for message in _unreadable(dataset, name, func)]
    return messages


def signs_of_overlap(problems: Dataset, held_out: Dataset, name: str, samplers: Sequence[Sampler]) -> list[str]:
    """
    Returns a warning if problems of an evaluation set are trained on.

    Args:
        problems ([`~datasets.Dataset`]):
            The training problems.
        held_out ([`~datasets.Dataset`]):
            The evaluation set.
        name (`str`):
            Its name in messages.
        samplers (`list[Sampler]`):
            The samplers that propose for the training problems.
    """
    # Hints, and what only one of the two has, make no other problem.
    columns = [name for name in problems.column_names if name in held_out.column_names and name != "hinted_prompt"]
    problems, rows = problems.select_columns(columns), _identities(held_out.select_columns(columns), samplers)
    trained = {each: index for index, each in reversed(list(enumerate(_identities(problems, samplers))))}
    same = [index for index, each in enumerate(rows) if each in trained]
    if not same:
        return []
    first = trained[rows[same[0]]]
    return [
        f"{len(same):,} of the {len(held_out):,} problems of `{name}` are in `train_dataset` as well, such as row "
        f"{same[0]}, which is row {first} there. Their accuracy says nothing about new problems. Remove them from one "
        "of the two, unless this is intended."
    ]


def hints_are_forgotten(problems: Dataset, few_shot_examples: FewShotExamples | None) -> bool:
    """
    Returns whether few-shot examples have a `hinted_prompt`, which problems without one do not use.

    Args:
        problems ([`~datasets.Dataset`]):
            The training problems.
        few_shot_examples (`list[dict]` or `Callable[[dict], list[dict]]`, *optional*):
            The few-shot examples.
    """
    examples = few_shot_examples(problems[0]) if callable(few_shot_examples) else few_shot_examples
    return any(example.get("hinted_prompt") is not None for example in examples or [])


def signs_of_missing_hints(problems: Dataset) -> list[str]:
    """
    Returns the warning that rationalization is left out because the problems have no `hinted_prompt`.

    Args:
        problems ([`~datasets.Dataset`]):
            The training problems.
    """
    return [
        f"{_no_hints(problems)} Rationalization is left out: failed problems are not tried again with a hint. "
        "Add the column, or set `samplers=[RationaleSampler()]` if that is what you want."
    ]


def _no_hints(problems: Dataset) -> str:
    columns = [column for column in problems.column_names if column != "prompt"]
    return (
        f"`train_dataset` has no column `hinted_prompt`; its columns are {problems.column_names}."
        f"{nearest('hinted_prompt', columns)}"
    )


def _ends_in_space(texts: list, name: str, column: str) -> list[str]:
    rows = [index for index, text in enumerate(texts) if isinstance(text, str) and text[-1:] in (" ", "\t")]
    if not rows:
        return []
    return [
        f"The `{column}` of {_rows(rows, len(texts))} of `{name}` ends in a space. Most tokenizers put a space at the "
        f"beginning of a word, so a model rarely goes on well after one: {texts[rows[0]][-40:]!r}. Remove "
        "the space, and begin the completions of few-shot examples with it."
    ]


def _identities(dataset: Dataset, samplers: Sequence[Sampler]) -> list[str]:
    """Returns what tells problems apart: the prompts, or whole rows where an environment makes the prompts of them."""
    if any(sampler.makes_prompts for sampler in samplers):
        return [json.dumps(row, default=str, sort_keys=True) for row in read_rows(dataset)]
    return [as_text(prompt) for prompt in dataset["prompt"][:]]


def _repeated(problems: list[str], name: str) -> list[str]:
    first: dict[str, int] = {}
    repeated = []
    for index, problem in enumerate(problems):
        if first.setdefault(problem, index) != index:
            repeated.append(index)
    if len(repeated) < REPEATED * len(problems) or not repeated:
        return []
    original = first[problems[repeated[0]]]
    return [
        f"{len(repeated):,} of the {len(problems):,} problems of `{name}` repeat an earlier one: row {repeated[0]} "
        f"has the prompt of row {original}. They are sampled and counted again. Remove them, or use `num_generations` "
        "for several samples of a problem."
    ]


def _hints_without_answer(hints: list, answers: list, name: str) -> list[str]:
    pairs = zip(hints, answers, strict=True)
    rows = [index for index, (hinted, answer) in enumerate(pairs) if answer is not None and not _holds(hinted, answer)]
    if not rows:
        return []
    return [
        f"The `hinted_prompt` of {_rows(rows, len(answers))} of `{name}` does not hold its `answer` "
        f"{answers[rows[0]]!r:.80}. The model cannot explain an answer that its hint does not give. Check how the "
        "hints were made."
    ]


def _holds(hinted: Any, answer: Any) -> bool:
    # Of a solution that marks its answer, as in GSM8K, the hint shows the answer.
    said = {str(answer), str(answer).rpartition("####")[2], *re.findall(r"\\boxed\{(.*)\}", str(answer))}
    if isinstance(answer, float) and answer.is_integer():
        said.add(str(int(answer)))
    text = _plain(as_text(hinted))
    return any(_plain(each) in text for each in said)


def _plain(text: str) -> str:
    return normalize_spaces(text).lower().replace(",", "")  # as in 1,000


def _missing_answers(answers: list, name: str) -> list[str]:
    rows = [index for index, answer in enumerate(answers) if answer is None]
    if len(rows) <= len(answers) / 2:
        return []
    return [
        f"The `answer` of {_rows(rows, len(answers))} of `{name}` is None. Most reward functions do not apply then, "
        "so these problems are sampled and their completions never kept. Fill the answers in, or leave the rows out."
    ]


def _float_answers(answers: list, name: str, scorer: Scorer) -> list[str]:
    compared = [
        func_name
        for func, func_name in zip(scorer.reward_funcs, scorer.names, strict=True)
        if _function(func) in (exact_match_reward, scratchpad_answer_reward)
    ]
    rows = [index for index, answer in enumerate(answers) if isinstance(answer, float)] if compared else []
    if not rows:
        return []
    answer = answers[rows[0]]
    return [
        f"The `answer` of {_rows(rows, len(answers))} of `{name}` is the float {answer!r}, and `{compared[0]}` "
        f"compares text: only a completion that writes {str(answer)!r} is right. Make the answers text, such as "
        f"{f'{answer:g}'!r}, or use `numeric_reward`."
    ]


def _unreadable(dataset: Dataset, name: str, func: Callable) -> list[str]:
    """
    Calls a reward function of this package with empty completions, and returns a warning about the rows for which it
    raises. Functions of others are not called, since a call may have effects and costs.
    """
    function = _function(func)
    if function is math_verify_reward or not str(function.__module__).startswith(f"{_PACKAGE}.rewards.answers."):
        return []
    names = [column for column in dataset.column_names if column in inspect.signature(func).parameters]
    if "answer" not in names:
        return []
    columns = {column: dataset[column][:] for column in names}
    rows = list(_failing(func, columns, range(len(dataset))))
    if not rows:
        return []
    message = (
        f"`{function.__name__}` cannot read the `answer` of {_rows(rows, len(dataset))} of `{name}`: "
        f"{_error(func, columns, rows[:1])}"
    )
    if len(rows) == len(dataset):
        raise ValueError(message)
    return [f"{message} The completions of such a problem are never kept."]


def _failing(func: Callable, columns: dict[str, Any], rows: range) -> Iterator[int]:
    """Yields the rows for which a reward function raises. Rows that it can read are halved away in a few calls."""
    if _error(func, columns, rows) is None:
        return
    if len(rows) == 1:
        yield rows[0]
        return
    middle = len(rows) // 2
    yield from _failing(func, columns, rows[:middle])
    yield from _failing(func, columns, rows[middle:])


def _error(func: Callable, columns: dict[str, Any], rows: Sequence[int]) -> Exception | None:
    try:
        func(completions=[""] * len(rows), **{name: [values[row] for row in rows] for name, values in columns.items()})
    except Exception as error:
        return error
    return None


def _function(func: Any) -> Any:
    while isinstance(func, partial):
        func = func.func
    return func if inspect.isfunction(func) else type(func)


def _rows(rows: Sequence[int], total: int) -> str:
    others = len(rows) - 1
    return f"row {rows[0]}" + (f" and {others:,} more of the {total:,} rows" if others else "")


_PACKAGE = __package__.partition(".")[0]
