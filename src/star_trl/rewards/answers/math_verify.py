# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Rewards for mathematical expressions, by the math-verify library in a separate process."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...sandbox.worker import Worker
from ..text import (
    CompletionLike,
    after_thinking,
    before_next_question,
    completion_text,
    marked_answers,
)


MEMORY_LIMIT = 2 * 1024**3  # bytes of address space; math-verify itself takes a tenth of it


def math_verify_reward(
    completions: list[CompletionLike],
    answer: list[Any],
    log_extra: Callable[[str, list], None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    timeout: float = 5.0,
    **kwargs: Any,
) -> list[float | None]:
    r"""
    1.0 if the answer of a completion equals the right one by the `math-verify` library, else 0.0. Equal are for
    example `\frac{1}{2}` and `0.5`, `(x+1)^2` and `x^2+2x+1`, `\{1, 2\}` and `2, 1`. If there is a `\boxed{...}`, it
    is the answer. If there are several, all of them must be right.

    math-verify evaluates what a model wrote, so it runs in a separate process with limits on time and memory. A
    completion that exceeds them gets 0.0. The ledger holds the reason (`math_verify_error`), and the metric
    `math_verify/failed` the share of such completions. It needs Linux or macOS. Note that for math-verify `5\%` equals
    both 5 and 0.05.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages. Text before `</think>` does not count.
        answer (`list[str | int | float | None]`):
            The right answers: an expression in LaTeX or plain text, or a solution that marks it by `####`, `\boxed` or
            `$`. The function does not apply if the answer is `None` or math-verify cannot read it.
        log_extra (`Callable`, *optional*):
            Given by the trainer.
        log_metric (`Callable`, *optional*):
            Given by the trainer.
        timeout (`float`, *optional*, defaults to `5.0`):
            Seconds for one expression. `functools.partial(math_verify_reward, timeout=1.0)` changes it.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Raises:
        `ImportError`: If math-verify is not installed.

    Example:
    ```python
    >>> from star_trl.rewards import math_verify_reward

    >>> completions = [r"So it is \boxed{\frac{2}{4}}.", "The answer is $0.5$", r"\boxed{1}, or \boxed{\frac12}"]
    >>> math_verify_reward(completions, answer=[r"\frac{1}{2}"] * 3)
    [1.0, 1.0, 0.0]
    ```
    """
    if find_spec("math_verify") is None:
        raise ImportError("math_verify_reward needs the math-verify library: pip install 'star-trl[math]'")
    rewards: list[float | None] = []
    errors: list[str | None] = []
    for completion, right in zip(completions, answer, strict=True):
        reward, error = None, None
        if right is not None:
            reward, error = _score(before_next_question(after_thinking(completion_text(completion))), right, timeout)
        rewards.append(reward)
        errors.append(error)
    if log_extra is not None:
        log_extra("math_verify_error", errors)
    if log_metric is not None and errors:
        log_metric("math_verify/failed", sum(error is not None for error in errors) / len(errors))
    return rewards


def _score(text: str, right: Any, timeout: float) -> tuple[float | None, str | None]:
    gold = str(right).rpartition("####")[2].strip()
    if not any(mark in gold for mark in ("$", r"\(", r"\[", r"\boxed")):
        gold = f"${gold}$"  # math-verify finds LaTeX only between marks
    for said in dict.fromkeys(rf"\boxed{{{box}}}" for box in marked_answers(text)) or [text]:
        reply = _worker.ask(gold=gold, said=said, timeout=timeout)
        verdict, error = reply.get("right"), reply["error"]
        if not verdict:
            return (0.0 if error or verdict is False else None), error
    return 1.0, None


_worker = Worker(Path(__file__).with_name("math_verify_worker.py"), MEMORY_LIMIT)
