# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Rewards for problems whose answer is a number, such as GSM8K."""

import re
from fractions import Fraction
from typing import Any

from ..text import (
    CompletionLike,
    after_thinking,
    answer_statements,
    before_next_question,
    completion_text,
    marked_answers,
)
from .numbers import find_numbers, parse_number, plain_numbers


_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*([^\n]*)")
# `#### 72` is an answer; `#### Solution` and `#### 1. Add them up` are headings of chat models.
_ANSWER_AFTER_HASHES = re.compile(r"[^\w\n]*\d(?![0-9]{0,2}[.)][ \t]+[A-Za-z])")

_SEVERAL = re.compile(r"[,;]\s|\b(?:or|and)\b")


def numeric_reward(completions: list[CompletionLike], answer: list[Any], **kwargs: Any) -> list[float | None]:
    r"""
    1.0 if the number that a completion gives as its answer has the value of the right one, else 0.0. This is the
    flexible variant. The answer may be marked by `#### 72` (GSM8K), `\boxed{72}`, `<answer>72</answer>`, else by `the
    answer is 72` or `Answer: 72`. Without any mark, the last number counts. Marks that differ, or that do not hold
    exactly one number, give 0.0. See [`strict_numeric_reward`] for the strict variant. Both can be used together, so
    that both are reported, as lm-evaluation-harness does with `flexible-extract` and `strict-match`.

    Values are compared exactly, as fractions: `72`, `72.0`, `$72`, `72 clips` and `144/2` are equal, `0.33` and `1/3`
    are not. Currencies, units and `%` are dropped, so `5%` is 5 and not 0.05. `1 000` is 1000. `- 5` and `minus 5` are
    -5, but `7 minus 5` and `x - 5` are no numbers. At the beginning of a line, `- 5` is a list item.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages. Text before `</think>` does not count.
        answer (`list[str | int | float | None]`):
            The right answers: a number, a text that is one (`"1,080"`), or a solution that marks it by `####` or
            `\boxed`, such as the `answer` column of GSM8K. `None` means that the function does not apply.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Raises:
        `ValueError`: If there is no number in a right answer.

    Example:
    ```python
    >>> from star_trl.rewards import numeric_reward

    >>> completions = ["48 + 24 = 72\n#### 72", r"It is \boxed{72}.", "She sold 72 clips.", "#### 72\n#### 73"]
    >>> numeric_reward(completions, answer=["#### 72"] * 4)
    [1.0, 1.0, 1.0, 0.0]
    ```
    """
    return [
        None if right is None else float(_flexible(after_thinking(completion_text(completion))) == gold_number(right))
        for completion, right in zip(completions, answer, strict=True)
    ]


def strict_numeric_reward(completions: list[CompletionLike], answer: list[Any], **kwargs: Any) -> list[float | None]:
    r"""
    The strict variant of [`numeric_reward`]. It gives 1.0 only if the last line is `#### N` with the right number and
    there is no other `####`. Text after the answer, which base models write, gives 0.0, so sampling needs a stop
    string.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages. Text before `</think>` does not count.
        answer (`list[str | int | float | None]`):
            The right answers, as for [`numeric_reward`].
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Raises:
        `ValueError`: If there is no number in a right answer.

    Example:
    ```python
    >>> from star_trl.rewards import strict_numeric_reward

    >>> completions = ["48 + 24 = 72\n#### 72", r"It is \boxed{72}.", "She sold 72 clips.", "#### 72\n#### 73"]
    >>> strict_numeric_reward(completions, answer=[72] * 4)
    [1.0, 0.0, 0.0, 0.0]
    ```
    """
    return [
        None if right is None else float(_strict(after_thinking(completion_text(completion))) == gold_number(right))
        for completion, right in zip(completions, answer, strict=True)
    ]


def extract_number(text: str) -> str | None:
    r"""
    Returns the number that [`numeric_reward`] takes as the answer of a text. Suits [`~star_trl.MajorityVoteSampler`].

    Args:
        text (`str`):
            Text of a completion.

    Returns:
        `str` or `None`: The number, in the same form for all numbers of the same value. `None` if there is not exactly
        one answer.

    Example:
    ```python
    >>> from star_trl.rewards import extract_number

    >>> [extract_number(text) for text in ("#### $1,080.00", r"\boxed{6/8}", "#### 3 or 4")]
    ['1080', '3/4', None]
    ```
    """
    value = _flexible(after_thinking(text))
    return None if value is None else str(value)


def marked_number(text: str) -> str | None:
    """Returns the number that [`extract_number`] does, but only if it is marked or said to be the answer."""
    values = _marked_values(before_next_question(after_thinking(text)))
    return str(values[0]) if len(set(values)) == 1 and values[0] is not None else None


def gold_number(answer: Any) -> Fraction:
    """Returns the value of a right answer. Raises `ValueError` if it holds no number."""
    text = str(answer)
    marked = _values_of_marks(text) or [parse_number(text)]
    value = marked[0]
    if isinstance(answer, bool) or value is None or set(marked) != {value}:
        raise ValueError(
            f"There is no single number in the right answer {answer!r}. Give a number, a text such as '1,080', or a "
            "solution that ends in '#### 1,080'; None where there is no right answer."
        )
    return value


def _strict(text: str) -> Fraction | None:
    *_, last = text.strip().splitlines() or [""]
    match = _HASHES.fullmatch(last.strip())
    if match is None or text.count("####") != 1:
        return None
    value = parse_number(match[1])
    return value if value == _flexible(text) else None  # so that the strict variant never accepts more


def _flexible(text: str) -> Fraction | None:
    text = before_next_question(text)
    values = _marked_values(text) or [value for value, _, _ in find_numbers(plain_numbers(text))][-1:]
    return values[0] if len(set(values)) == 1 else None


def _marked_values(text: str) -> list[Fraction | None]:
    if values := _values_of_marks(text):
        return values
    statements = dict.fromkeys(answer_statements(plain_numbers(text)))  # a model may repeat one a thousand times
    return [value for said in statements for value in _values_in_statement(said)]


def _values_of_marks(text: str) -> list[Fraction | None]:
    hashed = [said for said in _HASHES.findall(text) if _ANSWER_AFTER_HASHES.match(plain_numbers(said))]
    # `#### \boxed{72}` is one mark.
    return [
        parse_number(said) for said in [*(said for said in hashed if "\\boxed" not in said), *marked_answers(text)]
    ]


def _values_in_statement(said: str) -> list[Fraction | None]:
    """Returns the values in `48 + 24 = 72 clips`: what follows the last `=`, unless several equations are given."""
    if said.lower().startswith("not "):
        return []
    return [value for value, _, _ in find_numbers(said if _SEVERAL.search(said) else said.rpartition("=")[2])]
