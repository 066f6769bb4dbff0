# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks whether the answer of a rationale follows from the calculations in it."""

import re
from fractions import Fraction
from typing import Any

from ...tools.calculator import calculate
from ..text import CompletionLike, before_next_question, completion_text
from .numbers import plain_numbers
from .numeric import extract_number


_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){1,6}(?:\.[0-9]{1,20})?|[0-9]{1,20}(?:\.[0-9]{1,20})?|\.[0-9]{1,20}")
_VALUE = r"\$?(?:[0-9][0-9,]{0,20}(?:\.[0-9]{1,20})?|\.[0-9]{1,20})"
_OPERAND = rf"\({{0,3}}{_VALUE}\){{0,3}}"
_OPERATOR = r"[ \t]{0,3}(?:\*\*|//|[-−–+*/×·÷xX])[ \t]{0,3}"
# A calculator mark (`<<24-15=9>>`), or a calculation in plain text (`24 - 15 = 9`, `6 × $3 = $18`). Its result may be
# the first operand of the next one (`12 + 7 = 19 - 2 = 17`).
_CALCULATION = re.compile(
    r"<<(?P<marked>[^<>=\n]{1,100})=(?P<mark_says>[^<>=\n]{1,40})>>"
    rf"|(?<![\w.,:^%·÷×−])(?P<plain>{_OPERAND}(?:{_OPERATOR}{_OPERAND}){{1,8}})[ \t]{{0,3}}="
    rf"(?=[ \t]{{0,3}}(?P<says>-?{_VALUE}))"
)
_PLAIN = str.maketrans({"×": "*", "·": "*", "x": "*", "X": "*", "÷": "/", "−": "-", "–": "-", "$": None, ",": None})

# The value of words that stand for a number in a question. Half of something is computed by a 2, per cent by a 100.
_WORDS = {
    word: Fraction(value)
    for value, words in {
        0: "zero",
        1: "one",
        2: "two twice double both half halves pair couple",
        3: "three thrice triple third thirds",
        4: "four quarter quarters",
        5: "five",
        6: "six",
        7: "seven",
        8: "eight",
        9: "nine",
        10: "ten",
        11: "eleven",
        12: "twelve dozen dozens",
        13: "thirteen",
        14: "fourteen",
        15: "fifteen",
        16: "sixteen",
        17: "seventeen",
        18: "eighteen",
        19: "nineteen",
        20: "twenty",
        30: "thirty",
        40: "forty",
        50: "fifty",
        60: "sixty",
        70: "seventy",
        80: "eighty",
        90: "ninety",
        100: "hundred percent percentage %",
        1000: "thousand",
    }.items()
    for word in words.split()
}


def derived_answer_reward(
    prompts: list[CompletionLike], completions: list[CompletionLike], **kwargs: Any
) -> list[float]:
    """
    1.0 if the number that a completion gives as its answer is the result of a calculation in the completion, else 0.0.
    The calculation must be right, and each of its operands must occur in the question or be the result of an earlier
    such calculation. The answer need not be the right one.

    A rationale that copies its hint behind unrelated text gets 0.0: "Milford Lake was originally blue, and now it is
    green. #### 2454". Use it as a second reward function to report how often that happens (threshold `None`), or to
    drop such samples (threshold `1.0`); `docs/hints.md` has both.

    Calculations are calculator marks (`<<24-15=9>>`) and plain equations (`24 - 15 = 9`), without units and percent
    signs between the numbers. Results may be rounded, to two decimal places at least. The question's numbers may be
    digits or single words ("five", "twice", "half", "a dozen", "percent"), but not several words ("two hundred").
    Constants that everyone knows, such as 60 minutes, do not occur in the question, so a calculation with them does
    not count.

    Args:
        prompts (`list[str]` or `list[list[dict]]`):
            The problems, as text or as messages, without few-shot examples and hints.
        completions (`list[str]` or `list[list[dict]]`):
            Their completions. Text before `</think>` counts for calculations, but not as the answer.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float]`: One reward per completion.

    Example:
    ```python
    >>> from star_trl.rewards import derived_answer_reward

    >>> question = "Q: A baker made 24 rolls and sold 15. How many are left?"
    >>> completions = ["24 - 15 = <<24-15=9>>9 are left. #### 9", "It is 9. #### 9", "<<4+5=9>> #### 9"]
    >>> derived_answer_reward(prompts=[question] * 3, completions=completions)
    [1.0, 0.0, 0.0]
    ```
    """
    return [
        float(_is_derived(completion_text(prompt), completion_text(completion)))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _is_derived(question: str, completion: str) -> bool:
    answer = extract_number(completion)
    return answer is not None and Fraction(answer) in _derived_values(question, before_next_question(completion))


def _derived_values(question: str, rationale: str) -> set[Fraction]:
    """Returns the results of the right calculations whose operands are known."""
    usable = _numbers(plain_numbers(question))  # the numbers that an operand may be
    usable |= {_WORDS[word] for word in re.findall(r"[a-z]+|%", question.lower()) if word in _WORDS}
    derived: set[Fraction] = set()
    for match in _CALCULATION.finditer(rationale):
        expression = (match["marked"] or match["plain"]).translate(_PLAIN)
        value, result = calculate(expression), calculate((match["mark_says"] or match["says"]).translate(_PLAIN))
        if value is None or result is None or len(_NUMBER.findall(expression)) < 2:  # one number is no calculation
            continue
        if _numbers(expression) <= usable and _is_rounded(value, result):
            # A result that was rounded is as good as the exact one, here and in later calculations.
            results = {Fraction(value), Fraction(result), round(Fraction(value), 2)}
            derived |= results
            usable |= {abs(each) for each in results}  # the sign of an operand does not matter
    return derived


def _is_rounded(value: str, result: str) -> bool:
    """Returns whether a result is a value, rounded to as many decimal places as it has, and to two at least."""
    places = max(2, len(result.partition(".")[2]))
    return abs(Fraction(value) - Fraction(result)) <= Fraction(1, 2 * 10**places)


def _numbers(text: str) -> set[Fraction]:
    return {Fraction(number.replace(",", "")) for number in _NUMBER.findall(text)}
