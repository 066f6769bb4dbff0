# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Converts prompts and completions between text and messages."""

import json
from typing import Any


Messages = list[dict[str, Any]]

# Under this name in `extra`, samplers that make their prompts record the one with the hint, as text or as JSON.
HINTED_PROMPT = "hinted_prompt"


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


def turns_of(extra: dict[str, Any]) -> Messages | None:
    """
    Returns the turns of a conversation with tools that a sample has in its `extra`, or None. A reward function may
    have recorded something else under the name.
    """
    turns = extra.get("messages")
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) and "role" in turn for turn in turns):
        return turns
    return None


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
