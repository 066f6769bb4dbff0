# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Other hints than the answer for the word problems of this folder, and a filter for what copies its hint."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any


import cpu_settings  # isort: skip  # noqa: F401  (it makes the next ones importable)
import word_problems
from domain import Domain, read_examples
from star_trl.rewards import derived_answer_reward, extract_number, numeric_reward


# The equations of the few-shot examples, in their order
EQUATIONS = ["(40 + 30) - 28", "24 - 15", "(6 * 3) + 11", "8 * 12", "18 + 25", "56 / 7"]
# Where a hint is written, and what it says, for question, answer and equation
HINTS: dict[str, Callable[[str, str, str], str]] = {
    "behind": lambda question, answer, equation: f"Q: {question} ({answer})\nA:",
    "before": lambda question, answer, equation: f"Q: ({answer}) {question}\nA:",
    "at_the_head": lambda question, answer, equation: f"Q: {question}\nA: ({answer})",
    "equation": lambda question, answer, equation: f"Q: {question} ({equation} = {answer})\nA:",
    "operands": lambda question, answer, equation: f"Q: {question} ({', '.join(operands(equation))})\nA:",
    "operation": lambda question, answer, equation: f"Q: {question} ({equation})\nA:",
}


def operands(equation: str) -> list[str]:
    return re.findall(r"[0-9.]+", equation)


def hinted(domain: Domain, hints: dict[str, str]) -> Domain:
    """
    Returns the domain with other hints.

    Args:
        domain ([`Domain`]):
            The domain.
        hints (`dict[str, str]`):
            Which of `HINTS` is in which column of the problems and of the few-shot examples.
    """

    def load(split: str, data_dir: str | None) -> list[dict]:
        return [add_hints(row, hints, row["answer"], row["equation"]) for row in domain.load(split, data_dir)]

    return replace(domain, load=load, examples=hinted_examples(hints))


def hinted_examples(hints: dict[str, str]) -> list[dict]:
    """Returns the few-shot examples with other hints."""
    examples = zip(read_examples(word_problems.DOMAIN), EQUATIONS, strict=True)
    return [
        add_hints(example, hints, extract_number(example["completion"]), equation) for example, equation in examples
    ]


def add_hints(row: dict, hints: dict[str, str], answer: str, equation: str) -> dict:
    """Returns a problem or an example with other hints."""
    question = row["prompt"].removeprefix("Q: ").removesuffix("\nA:")
    return {**row, **{column: HINTS[hint](question, answer, equation) for column, hint in hints.items()}}


def derived_rationalization_reward(samplers: list[str], **kwargs: Any) -> list[float | None]:
    """[`derived_answer_reward`] for rationalizations. It does not apply to other samples."""
    rewards = derived_answer_reward(**kwargs)
    return [
        reward if sampler == "rationalization" else None for sampler, reward in zip(samplers, rewards, strict=True)
    ]


# The answer decides, and rationalizations have to be derived as well. The second function is reported only.
DERIVED_RATIONALIZATIONS = [numeric_reward, derived_answer_reward, derived_rationalization_reward]
DERIVED_RATIONALIZATIONS_CONFIG: dict[str, Any] = {
    "reward_threshold": [1.0, float("nan"), 1.0],
    "reward_weights": [1.0, 0.0, 0.0],
}
