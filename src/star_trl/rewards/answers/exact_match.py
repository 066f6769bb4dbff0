# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

from typing import Any

from ..text import CompletionLike, completion_text, normalize_spaces


def exact_match_reward(
    completions: list[CompletionLike], answer: list[str | None], **kwargs: Any
) -> list[float | None]:
    r"""
    The indicator reward: 1.0 if the last non-empty line of the completion equals the answer, up to white space, else
    0.0. This is 1[y = y*] of section 3.1 of the STaR paper, for completions that end with the answer on a line of its
    own.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages.
        answer (`list[str | None]`):
            The right answers. `None` means that the function does not apply.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Example:
    ```python
    >>> from star_trl.rewards import exact_match_reward

    >>> exact_match_reward(["6 + 2 is 8.\n8", "6 + 2 is 9.\n9", "8 of them"], answer=["8", "8", "8"])
    [1.0, 0.0, 0.0]
    ```
    """
    rewards: list[float | None] = []
    for completion, right_answer in zip(completions, answer, strict=True):
        if right_answer is None:
            rewards.append(None)
            continue
        lines = completion_text(completion).strip().splitlines() or [""]
        rewards.append(float(normalize_spaces(lines[-1]) == normalize_spaces(str(right_answer))))
    return rewards
