# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What every reward function needs: the text of a completion."""

from typing import Any


# A completion as reward functions get it: text, or a list of messages.
CompletionLike = str | list[dict[str, Any]]


def completion_text(completion: CompletionLike) -> str:
    """Text of a completion that is text, or the content of its last message."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def normalize_spaces(text: str) -> str:
    """The text with every run of white space as one space, and none at the ends."""
    return " ".join(text.split())
