# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Converts prompts and completions between text and messages."""

import json
from typing import Any


Messages = list[dict[str, Any]]


def is_conversational(prompt: Any) -> bool:
    """Whether a prompt is a list of messages."""
    import trl  # takes seconds, and the report of a run with text prompts does without it

    return trl.is_conversational({"prompt": prompt})


def as_completion(text: str, prompt: str | Messages) -> str | Messages:
    """Returns a completion in the form that reward functions take: text after a text prompt, else one message."""
    if is_conversational(prompt):
        return [{"role": "assistant", "content": text}]
    return text


def as_text(prompt: str | Messages) -> str:
    """Returns a prompt as the ledger stores it, with messages as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def as_plain(prompt: str) -> str:
    """Returns a prompt of the ledger as a person reads it: messages as `role: content`, with blank lines between."""
    given = as_given(prompt)
    if isinstance(given, str):
        return given
    return "\n\n".join(f"{message['role']}: {message.get('content')}" for message in given)


def as_given(prompt: str) -> Any:
    """Returns a prompt of the ledger as it was in the dataset: text, or messages parsed from JSON."""
    if prompt.startswith('[{"'):  # spares most text prompts the attempt
        try:
            messages = json.loads(prompt)
        except ValueError:
            return prompt
        if is_conversational(messages):
            return messages
    return prompt
