# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Calculator marks (`<<48/2=24>>`) that are computed while the model writes."""

import re
from decimal import Decimal
from fractions import Fraction

from .tool import Tool


# Expressions beyond these bounds have no result, so that none costs much time or memory. A value and its decimal
# places have no more digits than a `Decimal` holds.
MAX_CHARACTERS = 100
MAX_DIGITS = 18
MAX_EXPONENT = 64
# Maximum number of decimal places of a result.
DECIMALS = 10

TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|(?P<operator>\*\*|//|[-+*/()]))", re.ASCII)


def calculate(expression: str) -> str | None:
    """
    Returns the exact value of an arithmetic expression of numbers, `+ - * / // **` and parentheses.

    Args:
        expression (`str`):
            The expression. Nothing in it is executed.

    Returns:
        `str` or `None`: The value as GSM8K writes it, without trailing zeros and with at most ten decimal places.
        `None` if the expression is not arithmetic, has no value or is too large.

    Example:
    ```python
    >>> from star_trl.tools.calculator import calculate

    >>> calculate("48/2"), calculate(".5*(3+4)"), calculate("1/0"), calculate("9**9**9**9"), calculate("exit()")
    ('24', '3.5', None, None, None)
    ```
    """
    if len(expression) > MAX_CHARACTERS:
        return None
    try:
        value = _Parser(_tokens(expression)).parse()
    except (ArithmeticError, ValueError):
        return None
    return f"{Decimal(round(value * 10**DECIMALS)).scaleb(-DECIMALS).normalize():f}"


def _tokens(expression: str) -> list[str]:
    expression = expression.strip()
    tokens, position = [], 0
    while position < len(expression):
        match = TOKEN.match(expression, position)
        if match is None:
            raise ValueError(f"no arithmetic at {expression[position:]!r}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


class _Parser:
    """Parses the tokens by recursive descent, with Python's precedence."""

    def __init__(self, tokens: list[str]):
        self.tokens = [*tokens, ""]
        self.position = 0

    def parse(self) -> Fraction:
        value = self.sum()
        if self.tokens[self.position]:
            raise ValueError(f"unexpected {self.tokens[self.position]!r}")
        return value

    def take(self, *tokens: str) -> str | None:
        token = self.tokens[self.position]
        if token not in tokens:
            return None
        self.position += 1
        return token

    def sum(self) -> Fraction:
        value = self.product()
        while operator := self.take("+", "-"):
            right = self.product()
            value = bounded(value + right if operator == "+" else value - right)
        return value

    def product(self) -> Fraction:
        value = self.signed()
        while operator := self.take("*", "/", "//"):
            right = self.signed()
            if operator == "*":
                value = bounded(value * right)
            else:
                value = bounded(value / right if operator == "/" else Fraction(value // right))
        return value

    def signed(self) -> Fraction:
        if sign := self.take("+", "-"):
            return -self.signed() if sign == "-" else self.signed()
        return self.power()

    def power(self) -> Fraction:
        base = self.atom()
        if not self.take("**"):
            return base
        exponent = self.signed()
        if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT:
            raise ValueError("the exponent is not a small whole number")
        return bounded(base ** int(exponent))

    def atom(self) -> Fraction:
        if self.take("("):
            value = self.sum()
            if not self.take(")"):
                raise ValueError("a parenthesis is not closed")
            return value
        token = self.tokens[self.position]
        self.position += 1
        return bounded(Fraction(token))  # raises ValueError if it is not a number


def bounded(value: Fraction) -> Fraction:
    """Returns the value itself. Raises `OverflowError` if it takes more than `MAX_DIGITS` digits to write down."""
    if max(abs(value.numerator), value.denominator) >= 10**MAX_DIGITS:
        raise OverflowError("the value has too many digits")
    return value


# If a mark holds no arithmetic, the model continues without a result.
CALCULATOR = Tool(run=calculate, begin="<<", end="=", result="{}>>", num_threads=1)
