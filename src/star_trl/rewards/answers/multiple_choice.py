# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Rewards for multiple choice, such as CommonsenseQA."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..text import (
    CompletionLike,
    after_thinking,
    answer_statements,
    before_next_question,
    completion_text,
    marked_answers,
    normalize_spaces,
    without_markup,
)


# The choices of a question: their texts, or texts and labels as in the hub's commonsense_qa and in its original files.
Choices = Sequence[str | dict[str, str]] | dict[str, Sequence[str]]

# MMLU-Pro's ten labels, for questions without choices.
DEFAULT_LABELS = "ABCDEFGHIJ"

_NEGATION = re.compile(r"\b(?:not|neither|nor|wrong|incorrect|cannot|eliminated?)\b|n['’]t\b", re.IGNORECASE)
_LABEL_AT_END = re.compile(r"\(\s?(?P<label>\w{1,3})\s?\)\s?\.?$")
_ANOTHER_SENTENCE = re.compile(r"[.!?;]\s+\S")
_ARTICLE = re.compile(r"^(?:an?|the)\s+")
_PUNCTUATION = " .,;:!?\"'“”‘’"
# `.5` and `5` are different choices
_PUNCTUATION_BEFORE = re.compile(rf"^(?:(?!\.[0-9])[{_PUNCTUATION}])+")


def multiple_choice_reward(
    completions: list[CompletionLike], answer: list[Any], choices: list[Choices | None] | None = None, **kwargs: Any
) -> list[float | None]:
    r"""
    1.0 if a completion gives the right choice as its answer, else 0.0. This is the flexible variant. The answer may be
    marked by `\boxed{B}` or `<answer>B</answer>`, else by `the answer is blotter (b)`, `Answer: B` or `the correct
    choice is (b)`. Without any mark, the last line counts if it is an answer and nothing else (`B`, `(b) blotter`), or
    holds one label in parentheses. Answers that differ give 0.0, and so does a label after another choice's text (`the
    answer is television (b)`). See [`strict_multiple_choice_reward`] for the strict variant.

    A bare letter is a label only at the beginning of the answer (`the answer is B because ...`), so that the article
    in `the answer is a dog` is not a label.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages. Text before `</think>` does not count.
        answer (`list[str | int | None]`):
            The right answers: a label (`"B"`, `"(b)"`), the index of a choice from 0 on (as in MMLU) or its text.
            `None` means that the function does not apply.
        choices (`list`, *optional*):
            The choices of every question: a list of texts (labelled A, B, ...), `{"label": [...], "text": [...]}` or a
            list of `{"label": ..., "text": ...}`. With them, the text of a choice counts as well as its label. Without
            them, labels are A to J.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Raises:
        `ValueError`: If a right answer is none of the choices.

    Example:
    ```python
    >>> from star_trl.rewards import multiple_choice_reward

    >>> completions = ["Therefore, the answer is blotter (e).", "Answer: E", "The answer is a blotter.", "(d) or (e)"]
    >>> choices = ["shirt pocket", "calligrapher's hand", "inkwell", "desk drawer", "blotter"]
    >>> multiple_choice_reward(completions, answer=["E"] * 4, choices=[choices] * 4)
    [1.0, 1.0, 1.0, 0.0]
    ```
    """
    return _rewards(_flexible, completions, answer, choices)


def strict_multiple_choice_reward(
    completions: list[CompletionLike], answer: list[Any], choices: list[Choices | None] | None = None, **kwargs: Any
) -> list[float | None]:
    r"""
    The strict variant of [`multiple_choice_reward`]. It gives 1.0 only if the completion ends as in the prompts of the
    STaR authors, `the answer is blotter (e).`, with the right label, and says nothing else of the answer. A completion
    that is nothing but `(e).`, as in their direct prompts, counts too.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages. Text before `</think>` does not count.
        answer (`list[str | int | None]`):
            The right answers, as for [`multiple_choice_reward`].
        choices (`list`, *optional*):
            The choices of every question, as for [`multiple_choice_reward`].
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Raises:
        `ValueError`: If a right answer is none of the choices.

    Example:
    ```python
    >>> from star_trl.rewards import strict_multiple_choice_reward

    >>> completions = ["Therefore, the answer is blotter (e).", "(e).", "Answer: E", "The answer is (e). Or (d)."]
    >>> strict_multiple_choice_reward(completions, answer=["E"] * 4)
    [1.0, 1.0, 0.0, 0.0]
    ```
    """
    return _rewards(_strict, completions, answer, choices)


class _Question:
    """Labels and texts of the choices, and which of them a piece of text names."""

    def __init__(self, choices: Choices | None):
        self.has_texts = choices is not None
        labelled: dict[str, str] = {}
        if choices is None:
            labelled = dict.fromkeys(DEFAULT_LABELS, "")
        elif isinstance(choices, dict):
            labelled = dict(zip(choices["label"], choices["text"], strict=True))
        else:
            for index, choice in enumerate(choices):
                if isinstance(choice, str):
                    labelled[chr(ord("A") + index)] = choice
                else:
                    labelled[choice["label"]] = choice["text"]
        self.labels = [str(label).upper() for label in labelled]
        self.texts = [_plain(text) for text in labelled.values()]
        label = "(?:" + "|".join(map(re.escape, self.labels)) + ")"
        # `(b)`, but not the plural in `cat(s)`; `option B`
        self._anywhere = re.compile(
            rf"(?<!\w)[(\[]\s?({label})\s?[)\]]|\b(?:option|choice|letter)\s+({label})\b", re.I
        )
        # In `A dog` and `I think`, the letters are words; in `A or B` and `A because` they are not.
        word = r"[AI]\s+(?!(?:or|and|because|since|as|which)\b)\w"
        item = rf"(?:\({label}\)|(?!{word}){label}(?!\w))"
        self._several = re.compile(rf"{item}(?:\s*(?:,|/|&|\bor\b|\band\b))+\s*{item}", re.I)
        self._negated = re.compile(rf"not\s+(?:option\s+)?{item}", re.I)
        self._alone = re.compile(rf"({label})\s?(?:\)|[.:,;](?!\w)|$)", re.I)
        self._in_sentence = re.compile(rf"(?!(?i:{word}))({label.upper()})\s")

    def right(self, answer: Any) -> set[str]:
        """Returns the labels of the right choice: several if its text is given and two choices have this text."""
        if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(self.labels):
            return {self.labels[answer]}
        text = str(answer).strip()
        if (label := text.strip("().:").upper()) in self.labels:
            return {label}
        if labels := self._with_text(text):
            return labels
        raise ValueError(
            f"The right answer {answer!r} is none of the choices: the labels are {self.labels}"
            + (f", the texts {self.texts}." if self.has_texts else ". Texts need a column `choices`.")
        )

    def named(self, said: str, *, in_sentence: bool = True) -> set[str] | None:
        """
        Returns the labels that an answer stands for: one, or those of choices with the same text. Empty if it gives
        several answers or contradicts itself, `None` if it names no choice.
        """
        said = normalize_spaces(said)
        if labels := self._with_text(said):
            return labels
        text = self._anywhere.sub(" ", said)
        # `not bank (a)` says nothing of the answer, but `not hungry` is a choice of CommonsenseQA.
        negated = said.lower().startswith("not ") if self.has_texts else self._negated.match(said)
        if negated and not self._with_text(text):
            return None
        if self._several.match(said):
            return set()
        start = self._alone.match(said) or (self._in_sentence.match(said) if in_sentence else None)
        matches = [*([start] if start else []), *self._anywhere.finditer(said)]
        labels = {(match[1] or match[2]).upper() for match in matches}
        other = self._with_text(self._anywhere.sub(" ", said[start.end() :]) if start else text)
        if len(labels) > 1 or (labels and other and not labels & other):
            return set()
        return labels or None

    def _with_text(self, said: str) -> set[str]:
        said = _plain(said)
        # `ground` and `the ground` are two choices of one question of CommonsenseQA.
        for same in (str.__eq__, lambda said, text: _ARTICLE.sub("", said) == _ARTICLE.sub("", text)):
            labels = {label for label, text in zip(self.labels, self.texts, strict=True) if said and same(said, text)}
            if labels:
                return labels
        return set()


def _rewards(
    extract: Callable[[str, _Question], set[str] | None],
    completions: list[CompletionLike],
    answer: list[Any],
    choices: list[Choices | None] | None,
) -> list[float | None]:
    rewards: list[float | None] = []
    for completion, right, options in zip(completions, answer, choices or [None] * len(answer), strict=True):
        if right is None:
            rewards.append(None)
            continue
        question = _Question(options)
        right_labels = question.right(right)
        labels = extract(after_thinking(completion_text(completion)), question)
        rewards.append(float(bool(labels) and not right_labels.isdisjoint(labels or ())))
    return rewards


def _flexible(text: str, question: _Question) -> set[str] | None:
    text = before_next_question(text)
    marked = [question.named(without_markup(said)) or set() for said in dict.fromkeys(marked_answers(text))]
    if not marked:
        text = without_markup(text)
        statements = dict.fromkeys(answer_statements(text))  # a model may repeat one a thousand times
        marked = [labels for said in statements if (labels := question.named(said)) is not None]
    if not marked:
        *_, last = text.strip().splitlines() or [""]
        labels = question.named(last, in_sentence=False)
        marked = [] if labels is None or (_NEGATION.search(last) and not question._with_text(last)) else [labels]
    return marked[0] if marked and all(labels == marked[0] for labels in marked) else None


def _strict(text: str, question: _Question) -> set[str] | None:
    *before, last = text.strip().splitlines() or [""]
    match = _LABEL_AT_END.search(last)
    if match is None:
        return None
    introduction, _, choice = last[: match.start()].rpartition("answer is")
    direct = not before and match.start() == 0
    concluded = introduction or last.startswith("answer is")
    if not (direct or concluded) or _ANOTHER_SENTENCE.search(choice):
        return None
    statements = Counter(answer_statements(text))
    if sum(count for said, count in statements.items() if question.named(said) is not None) > 1:
        return None
    labels = _flexible(text, question)  # so that the strict variant never accepts more
    return labels if labels == {match["label"].upper()} else None


def _plain(text: str) -> str:
    return _PUNCTUATION_BEFORE.sub("", normalize_spaces(str(text)).lower().rstrip(_PUNCTUATION))
