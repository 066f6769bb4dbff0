# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reads few-shot examples from text files, and turns text prompts into messages for chat models."""

import re
from pathlib import Path
from typing import Any


def read_prompts(folder: str | Path) -> list[dict[str, str]]:
    """
    Reads few-shot examples from `prompts.txt`, and the same ones with hints from `prompts_answer_key.txt`. The files
    hold blocks of `Q: ...` and `A: ...`, separated by blank lines. The STaR authors' files have this form.

    Args:
        folder (`str` or `Path`):
            Folder with the two files. Without the second file the examples have no hints.

    Returns:
        `list[dict]`: Examples with `prompt`, `completion` and, if there are hints, `hinted_prompt`.

    Raises:
        `ValueError`: If the completions of the two files differ.
    """
    folder = Path(folder)
    plain = _blocks(folder / "prompts.txt")
    if not (folder / "prompts_answer_key.txt").exists():
        return [{"prompt": prompt, "completion": completion} for prompt, completion in plain]
    examples = []
    for (prompt, completion), (hinted_prompt, same) in zip(
        plain, _blocks(folder / "prompts_answer_key.txt"), strict=True
    ):
        if completion.split() != same.split():
            raise ValueError(f"The completions of {prompt!r} differ with and without the hint, in {folder}.")
        examples.append({"prompt": prompt, "hinted_prompt": hinted_prompt, "completion": completion})
    return examples


def _blocks(path: Path) -> list[tuple[str, str]]:
    blocks = []
    for number, block in enumerate(re.split(r"\n\n(?=Q: )", path.read_text(encoding="utf-8").strip()), start=1):
        question, separator, completion = block.partition("\nA:")
        if not separator:
            raise ValueError(f"Example {number} of {path} has no line that begins with `A:`: {block[:80]!r}.")
        blocks.append((f"{question}\nA:", completion.rstrip()))
    return blocks


def as_messages(row: dict[str, Any], instruction: str | None = None) -> dict[str, Any]:
    """
    Turns the prompts of a problem or a few-shot example into messages for a chat model.

    Args:
        row (`dict`):
            Row with text in `prompt` and, optionally, `hinted_prompt`. The frame `Q: ...\\nA:` is removed. A
            `completion` is stripped of the white space around it.
        instruction (`str`, *optional*):
            Instruction that follows the question.

    Returns:
        `dict`: The row with its prompts as lists of messages.
    """
    changed = dict(row)
    for column in ("prompt", "hinted_prompt"):
        if column not in row:
            continue
        question = row[column].removeprefix("Q: ").removesuffix("\nA:")
        content = question if instruction is None else f"{question}\n\n{instruction}"
        changed[column] = [{"role": "user", "content": content}]
    if "completion" in row:
        changed["completion"] = row["completion"].strip()
    return changed
