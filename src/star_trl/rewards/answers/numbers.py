# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Numbers in text, as exact values."""

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice

from ..text import without_markup


# Numbers with more digits are not read. No answer has so many, and `1e999999999` would fill the memory.
MAX_DIGITS = 100
MAX_EXPONENT = 100

_CURRENCY = r"(?:[$€£¥₹][ \t]{0,3})?"
# Digits of all scripts, superscripts and `½`. They belong to the run, but only 0-9 are read.
_DIGIT = r"[\d²³¹¼-¾⁰⁴-⁹₀-₉⅐-⅟]"
_UNIT = "[%€£¥₹]"  # not `$`, which may end a formula
_PIECE = rf"[+-]?{_CURRENCY}[+-]?\.?{_DIGIT}(?:[.,:/'’_^]{{0,3}}{_DIGIT})*(?:[eE][+-]?{_DIGIT}+)?(?:[ \t]?{_UNIT})?"
_JOINED = r"(?:[ \t]{0,3}[-+*/^÷×xX~][ \t]{0,3}|[ \t]{1,3}(?:or|to|and)[ \t]{1,3}|[ \t](?=[0-9]+/[0-9]))"
# A possible number with all that belongs to it, so that no part of a date, a range, a sum, a list or a name is taken
# for a number: `2024-01-02`, `3-5`, `48 + 24`, `3 or 4`, `5:30`, `2nd`, `0x1F`, `5 million`.
_RUN = re.compile(
    r"(?P<name>(?:\\[A-Za-z]+|[A-Za-z_][A-Za-z0-9_^²³]*(?:-[0-9][A-Za-z0-9]*)*)\(?)"
    rf"|(?P<run>(?P<inside>(?:[{{^]|-[ \t]{{1,3}})?){_PIECE}(?:{_JOINED}{_PIECE})*"
    r"(?:[A-Za-z]+\d[A-Za-z0-9]*|(?:st|[nr]d|th|[kKMB])(?![A-Za-z])"
    r"|[ \t-]{0,3}(?:hundred|thousand|million|billion|trillion|dozen)s?(?![A-Za-z]))?)"
)
_UNSIGNED = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?){_CURRENCY}(?P<inner_sign>[+-]?)(?P<value>{_UNSIGNED})"
    r"(?:[eE](?P<exponent>[+-]?[0-9]+)|\s*[*×xX]\s*10\^(?P<power>[+-]?[0-9]+)"
    rf"|\s*/\s*{_CURRENCY}(?P<denominator>{_UNSIGNED})|\s+(?P<numerator>[0-9]+)/(?P<parts>[0-9]+))?\s*{_UNIT}?"
)
# A possessive repetition (`*+`) is not tried again with fewer characters, since nothing that follows could take them.
_BEFORE = re.compile(r"[\s\"'(\[=]*+(?:[A-Za-z]\s*+=)?[\s$]*+")
# A unit of up to three words and a full stop.
_AFTER = re.compile(
    r"[\s\"')\]$°-]*+(?:[^\W\d_][^\W\d_'’]*+['’]?(?:[\s/-]++[^\W\d_][^\W\d_'’]*+['’]?){0,2})?[\s\"').\]$]*+"
)
_CHOICE = re.compile(r"\b(?:or|to|and|not)\b", re.IGNORECASE)
_LATEX = (
    (re.compile(r"<<[^<>\n]*>>"), ""),  # GSM8K's calculator marks
    (re.compile(r"[\u2010-\u2013\u2212\ufe63\uff0d]"), "-"),
    (re.compile(r"\n[ \t]*-[ \t]+"), "\n"),  # bullets
    (re.compile(r"\{,\}|(?<=[0-9])(?:\\[,!;]|[\u00a0\u2009\u202f])(?=[0-9]{3})"), ","),
    # `1 000`, but neither `2024 100` nor `1 100/200`
    (re.compile(r"(?<=[0-9])(?<![0-9]{4}) (?=[0-9]{3}(?![0-9/]))"), ","),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])|[·⋅]"), "×"),
    (re.compile(r"\^\{\s*([+-]?[0-9]+)\s*\}"), r"^\1"),
    (re.compile(r"(?<=[0-9])\s{0,3}(?=\\[dtc]?frac)"), " "),
    (
        re.compile(r"\\[dtc]?frac\s{0,3}\{\s{0,3}(-?)([0-9.,]+)\s{0,3}\}\s{0,3}\{\s{0,3}([0-9.,]+)\s{0,3}\}"),
        r"\1\2/\3",
    ),
    (re.compile(r"\\[dtc]?frac\s{0,3}([0-9])\s{0,3}([0-9])(?![0-9])"), r"\1/\2"),
    (re.compile(r"[√∛]|\\sqrt(?![A-Za-z])"), "sqrt("),
)
# A sign apart from its number, where it cannot stand for subtraction. `find_numbers` reads no other as a sign.
_MINUS = re.compile(
    r"(?:((?:\A|[=:([{]|\b(?:is|be|equals))[ \t]{0,3}\$?)-[ \t]{1,3}|(?<![\w-])(?:minus|negative)[ \t]{1,3})"
    rf"(?={_CURRENCY}\.?[0-9])",
    re.IGNORECASE,
)


def plain_numbers(text: str) -> str:
    r"""Returns the text with LaTeX, Markdown and typographic numbers in plain form (`\frac{3}{4}` as `3/4`)."""
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return _MINUS.sub(r"\1-", without_markup(text))


def find_numbers(text: str) -> Iterator[tuple[Fraction | None, int, int]]:
    """
    Yields everything in plain text that may be a number: its value (`None` if it is not one number) and its position.
    """
    called = False  # `sqrt(16)` is not 16
    for match in _RUN.finditer(text):
        if match["run"] is not None:
            readable = not called and not match["inside"]
            yield _value(match["run"]) if readable else None, match.start(), match.end()
        called = match["name"] is not None and match["name"].endswith("(")


def parse_number(text: str) -> Fraction | None:
    r"""
    Returns the value of a text that is one number, with a currency or a unit: `$1,234.50`, `72 dollars`, `-3/4`, `1
    1/2`, `\frac{3}{4}`, `7.2e3`, `5%`. Returns `None` for anything else.

    Example:
    ```python
    >>> from star_trl.rewards.answers.numbers import parse_number

    >>> [parse_number(text) for text in ("$1,234.50", "3/4 cups", "1e999999999", "3-5", "3/0")]
    [Fraction(2469, 2), Fraction(3, 4), None, None, None]
    ```
    """
    text = plain_numbers(text.strip())
    found = list(islice(find_numbers(text), 2))
    if len(found) != 1:
        return None
    value, start, end = found[0]
    fits = _BEFORE.fullmatch(text[:start]) and _AFTER.fullmatch(text[end:]) and not _CHOICE.search(text[end:])
    return value if fits else None


def _value(run: str) -> Fraction | None:
    match = _NUMBER.fullmatch(run) if len(run) <= MAX_DIGITS else None
    if match is None or (match["sign"] and match["inner_sign"]):
        return None
    exponent = match["exponent"] or match["power"] or "0"
    if len(exponent) > 4 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    denominator = _decimal(match["denominator"] or match["parts"] or "1")
    if denominator == 0:
        return None
    value = _decimal(match["value"])
    if match["numerator"]:  # a mixed number
        numerator = _decimal(match["numerator"])
        if value.denominator != 1 or numerator >= denominator:
            return None
        value += numerator / denominator
    else:
        value /= denominator
    value *= Fraction(10) ** int(exponent)
    return -value if "-" in (match["sign"], match["inner_sign"]) else value


def _decimal(digits: str) -> Fraction:
    return Fraction(Decimal(digits.replace(",", "")))
