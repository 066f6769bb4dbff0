# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

from typing import Any

from ..text import CompletionLike, completion_text, normalize_spaces


def scratchpad_answer_reward(
    completions: list[CompletionLike], answer: list[str | None], **kwargs: Any
) -> list[float | None]:
    r"""
    1.0 if the text after the only `</scratch>` equals the answer, up to white space, else 0.0. The content of the
    scratchpad is not checked: as in the STaR paper, a rationale counts as right if its answer is right.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages.
        answer (`list[str | None]`):
            The right answers, such as `"8 8 3"`. `None` means that the function does not apply.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Example:
    ```python
    >>> from star_trl.rewards import scratchpad_answer_reward

    >>> scratchpad_answer_reward(["<scratch>\n, 8 C: 0\n0 8\n</scratch>\n8", "8"], answer=["8", "8"])
    [1.0, 0.0]
    ```
    """
    rewards: list[float | None] = []
    for completion, right_answer in zip(completions, answer, strict=True):
        if right_answer is None:
            rewards.append(None)
            continue
        _, *after = completion_text(completion).split("</scratch>")
        rewards.append(float(len(after) == 1 and normalize_spaces(after[0]) == normalize_spaces(right_answer)))
    return rewards
