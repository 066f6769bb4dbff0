# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`prompts.json`, which stores what the ledger leaves out: hinted prompts, groups, answers and few-shot examples."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ledger.messages import as_text
from ..ledger.paired_groups import PAIR_COLUMN, as_texts
from ..output_dir import PROMPTS_NAME, damaged, read_json, write_json
from ..task.rows import read_rows


if TYPE_CHECKING:  # `star-trl report` does without torch
    from ..task.prompting import PromptBuilder
    from ..task.task import Task


STORED = {"group", "answer", "prompts", "examples"}  # of each problem


def write_prompts(
    output_dir: str | os.PathLike,
    task: "Task",
    group_column: str | None = None,
) -> None:
    """
    Stores what the report shows of each problem besides its samples.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        task ([`~star_trl.task.task.Task`]):
            The task, for the problems and the prompt builder.
        group_column (`str`, *optional*):
            Column whose values are the groups.
    """
    # A stream gives fewer problems to a run that is resumed with fewer iterations. The ledger has samples of all.
    earlier, stored_examples = _read_earlier(output_dir, len(task.problems))
    # The text of some few-shot examples -> its number
    examples = {text: number for number, text in enumerate(stored_examples)}
    problems = {}
    for name, dataset in {"samples": task.problems, **task.evaluation_sets}.items():
        used = task.samplers if name == "samples" else task.samplers[:1]  # an evaluation is the first sampler's
        shown = list(dict.fromkeys(["prompt", *(sampler.prompt_column for sampler in used)]))
        problems[name] = [
            {
                "group": _text(problem, group_column),
                "answer": _text(problem, "answer"),
                "prompts": {column: as_text(problem[column]) for column in shown if column != "prompt"},
                "examples": {
                    column: examples.setdefault(text, len(examples))
                    for column in shown
                    if (text := _few_shot_text(problem, column, task.prompt_builder))
                },
            }
            for problem in read_rows(dataset)
        ]
    problems["samples"] += earlier
    pairs = {
        name: as_texts(dataset[PAIR_COLUMN])
        for name, dataset in task.evaluation_sets.items()
        if group_column is not None and PAIR_COLUMN in dataset.column_names
    }
    write_json(
        Path(output_dir) / PROMPTS_NAME,
        {"columns": task.prompt_columns, "problems": problems, "examples": list(examples), "pairs": pairs},
    )


def read_prompts(output_dir: str | os.PathLike) -> dict[str, Any]:
    """Reads what `write_prompts` stored. The result is empty for a run without it."""
    path = Path(output_dir) / PROMPTS_NAME
    if not path.exists():
        return {"columns": {}, "problems": {}, "examples": [], "pairs": {}}
    content = read_json(path)
    columns, problems, examples = (content.get(name) for name in ("columns", "problems", "examples"))
    pairs = content.setdefault("pairs", {})  # a run of an earlier version has none
    if not (
        isinstance(columns, dict)
        and isinstance(examples, list)
        and isinstance(problems, dict)
        and all(isinstance(rows, list) for rows in problems.values())
        and all(isinstance(row, dict) and row.keys() >= STORED for rows in problems.values() for row in rows)
        and isinstance(pairs, dict)
        and all(isinstance(found, list) and len(found) == len(problems.get(name, [])) for name, found in pairs.items())
    ):
        raise damaged(path, "it does not hold `columns`, `problems`, `examples` and `pairs` as a run writes them")
    return content


def _read_earlier(output_dir: str | os.PathLike, start: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns what is stored of the training problems from an index on, and the few-shot examples that it names."""
    try:
        stored = read_prompts(output_dir)
    except ValueError:  # a damaged file is written anew
        return [], []
    problems = stored["problems"].get("samples", [])[start:]
    return problems, stored["examples"] if problems else []


def _text(problem: dict[str, Any], column: str | None) -> str | None:
    value = None if column is None else problem.get(column)
    return None if value is None else str(value)


def _few_shot_text(problem: dict[str, Any], column: str, builder: "PromptBuilder") -> str:
    """Returns the few-shot examples before the problem, without a system message."""
    own, whole = problem[column], builder.render(problem, column, few_shot=True)
    own_length = len(own)
    if isinstance(whole, str):
        return whole[: len(whole) - own_length]
    start = int(own[0]["role"] == "system")
    turns = whole[start : start + len(whole) - own_length]
    return as_text(turns) if turns else ""
