# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import re
from collections.abc import Callable
from typing import Any

from ..text import CompletionLike, completion_text


def get_format_reward(pattern: str) -> Callable[..., list[float]]:
    r"""
    Returns a reward function that gives 1.0 if the whole completion matches a regular expression, else 0.0. In the
    expression `.` also matches line breaks.

    Args:
        pattern (`str`):
            Regular expression.

    Returns:
        `Callable`: The reward function, for completions that are text or messages.

    Raises:
        `re.error`: If the pattern is no regular expression.

    Example:
    ```python
    >>> from star_trl.rewards import get_format_reward

    >>> ends_with_number = get_format_reward(r".+\n#### \d+")
    >>> ends_with_number(["Six and two\nare eight.\n#### 8", "Six and two.\n#### 8 or so"])
    [1.0, 0.0]
    ```
    """
    compiled = re.compile(pattern, re.DOTALL)

    def format_reward(completions: list[CompletionLike], **kwargs: Any) -> list[float]:
        return [float(compiled.fullmatch(completion_text(completion)) is not None) for completion in completions]

    return format_reward
