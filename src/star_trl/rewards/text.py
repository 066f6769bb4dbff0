# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Functions that reward functions share: the text of a completion, and where an answer may be in it."""

import re
from typing import Any


# A completion as reward functions get it: text, or a list of messages.
CompletionLike = str | list[dict[str, Any]]

# Every pattern here and in the reward functions takes time linear in the text, whatever a model writes. Repetitions
# are bounded, or over characters that cannot start what follows them.

# `the answer (to the question) is 72`, `Answer: 72`, `the correct choice is (b)`. The answer itself is in a lookahead,
# so that a second statement on the same line is found too. `Answer Choices:` in a question does not match.
_STATEMENT = re.compile(
    r"\b(?:answer(?!\s+(?:choice|option|must|should|could|can|may|might|has|needs))|correct\s+(?:choice|option))\b[^\n.:=?!]{0,80}?"
    r"(?:\b(?:is|was|will\s+be|would\s+be|equals)\b|[:=])[\s:=]{0,20}(?=(?P<said>[^\n]{0,300}))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?;]+(?:\s|$)")
_NEXT_QUESTION = re.compile(r"\n[ \t]*(?:Q|Question|Problem|Input)[ \t]*[0-9]{0,3}:")
_BOXED_OR_BRACE = re.compile(r"\\boxed\s{0,3}\{|\\[{}]|[{}]")
_ANSWER_TAG = re.compile(r"<answer>([^<>]*)</answer>")
_MARKUP = (
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s{0,3}\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[()\[\]]|\\(?:left|right)(?![A-Za-z])|`"), ""),
    # Emphasis, but not the multiplication in `6*7` or the name `x_1`.
    (re.compile(r"(?<![*_0-9A-Za-z)])[*_]+(?=[^\s*_])|(?<=[^\s*_])[*_]+(?![*_0-9A-Za-z(])"), ""),
)


def completion_text(completion: CompletionLike) -> str:
    """Returns the text of a completion: itself if it is text, else the content of its last message."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def normalize_spaces(text: str) -> str:
    """Returns the text with every run of white space as one space, and none at the ends."""
    return " ".join(text.split())


def after_thinking(text: str) -> str:
    """
    Returns what follows the last `</think>`, or the whole text if there is no thinking. Empty if thinking never ends,
    since nothing in it is an answer. The `<think>` may be missing: some chat templates put it into the prompt.
    """
    final = text.rpartition("</think>")[2]
    return "" if "<think>" in final else final


def before_next_question(text: str) -> str:
    """Returns the text without the next question (`\\nQ: ...`), which base models write after their answer."""
    return _NEXT_QUESTION.split(text, maxsplit=1)[0]


def without_markup(text: str) -> str:
    """Returns the text without Markdown emphasis, LaTeX delimiters and `\\text{...}`."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def marked_answers(text: str) -> list[str]:
    r"""Returns the contents of every `\boxed{...}` (the inner one if nested) and `<answer>...</answer>`."""
    found: list[str] = []
    starts: list[int | None] = []  # for every open brace, where its box begins if it belongs to one
    last = -1  # where the last closed box begins; a box around it is not the inner one
    for match in _BOXED_OR_BRACE.finditer(text):
        if match[0].endswith("{") and not match[0].startswith("\\{"):
            starts.append(match.end() if match[0].startswith("\\boxed") else None)
        elif match[0] == "}" and starts and (start := starts.pop()) is not None and start > last:
            found.append(text[start : match.start()])
            last = start
    # A box that never closes was an answer too, but one that cannot be read.
    found += ["" for start in starts if start is not None and start > last]
    return found + [said for said in _ANSWER_TAG.findall(text) if "\\boxed" not in said]


def answer_statements(text: str) -> list[str]:
    """
    Returns what is said of the answer, to the end of the sentence, in every `the answer is ...` and `Answer: ...`.
    """
    return [_SENTENCE_END.split(match["said"], maxsplit=1)[0].strip() for match in _STATEMENT.finditer(text)]
