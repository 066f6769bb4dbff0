# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`prompts.json`: what the ledger leaves out of the prompts that a model saw. The hints, the groups, the examples."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..prompting import PromptBuilder, as_text
from ..run_state import PROMPTS_NAME, write_json
from ..samplers import Sampler


def write_prompts(
    output_dir: str | os.PathLike,
    datasets: Mapping[str, Dataset],
    samplers: Sequence[Sampler],
    builder: PromptBuilder,
    group_column: str | None = None,
) -> None:
    """
    Stores, once per problem, what the report shows beside its samples.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        datasets (`dict[str, Dataset]`):
            Problems by the name of their ledger.
        samplers (`list[Sampler]`):
            Samplers, for the columns that they take their prompts from.
        builder ([`PromptBuilder`]):
            Knows the few-shot examples.
        group_column (`str`, *optional*):
            Column whose values are the groups.
    """
    columns = {sampler.name: sampler.prompt_column for sampler in samplers}
    examples: dict[str, int] = {}  # the text of some few-shot examples -> its number
    problems = {}
    for name, dataset in datasets.items():
        used = samplers if name == "samples" else samplers[:1]  # an evaluation is the first sampler's
        shown = list(dict.fromkeys(["prompt", *(sampler.prompt_column for sampler in used)]))
        problems[name] = [
            {
                "group": None if problem.get(group_column) is None else str(problem[group_column]),
                "answer": None if problem.get("answer") is None else str(problem["answer"]),
                "prompts": {column: as_text(problem[column]) for column in shown if column != "prompt"},
                "examples": {
                    column: examples.setdefault(text, len(examples))
                    for column in shown
                    if (text := _few_shot_text(problem, column, builder))
                },
            }
            for problem in dataset
        ]
    write_json(Path(output_dir) / PROMPTS_NAME, {"columns": columns, "problems": problems, "examples": list(examples)})


def read_prompts(output_dir: str | os.PathLike) -> dict[str, Any]:
    """What `write_prompts` stored; nothing for a run without it."""
    path = Path(output_dir) / PROMPTS_NAME
    if not path.exists():
        return {"columns": {}, "problems": {}, "examples": []}
    return json.loads(path.read_text(encoding="utf-8"))


def _few_shot_text(problem: dict[str, Any], column: str, builder: PromptBuilder) -> str:
    """What stands before the problem, behind a system message."""
    own, whole = problem[column], builder.render(problem, column, few_shot=True)
    own_length = len(own)
    if isinstance(whole, str):
        return whole[: len(whole) - own_length]
    start = int(own[0]["role"] == "system")
    turns = whole[start : start + len(whole) - own_length]
    return as_text(turns) if turns else ""
