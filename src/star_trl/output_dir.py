# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Layout of a run's output directory:

    star_state.json                                what is complete, and what the run was started from
    report.html  prompts.json  README.md           the report, the prompts that it shows, the model card
    iteration-001/samples-00000-of-00001.jsonl     the ledger: a shard for each process
    iteration-001/eval-00000-of-00001.jsonl        the samples of an evaluation, in the same form
    iteration-001/metrics.json                     written when the iteration is complete
    iteration-001/checkpoint/                      the model after fine-tuning
    iteration-001/fine-tuning/                     checkpoints to resume fine-tuning from, until it is complete

Iteration 0 is the evaluation of the original model.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any


STATE_NAME = "star_state.json"
REPORT_NAME, PROMPTS_NAME = "report.html", "prompts.json"  # deleted together with the run that they show
METRICS_NAME = "metrics.json"


def iteration_dir(output_dir: str | os.PathLike, iteration: int) -> Path:
    """Returns the folder of an outer iteration."""
    return Path(output_dir) / f"iteration-{iteration:03d}"


def iterations(output_dir: str | os.PathLike) -> list[int]:
    """Returns the iterations that have a folder, in order."""
    names = (re.fullmatch(r"iteration-(\d+)", path.name) for path in Path(output_dir).glob("iteration-*"))
    return sorted(int(name[1]) for name in names if name)


def has_run(output_dir: str | os.PathLike) -> bool:
    """
    Returns whether an output directory holds a run to resume.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory.

    Example:
    ```python
    trainer.train(resume_from_checkpoint=has_run("out"))
    ```
    """
    return (Path(output_dir) / STATE_NAME).exists()


def load_history(output_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """
    Loads the metrics of a run.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory.

    Returns:
        `list[dict[str, Any]]`: The metrics of each complete outer iteration, in order, as in its `metrics.json`.
        Iteration 0 is the evaluation of the original model; without an evaluation set it is almost empty.
    """
    paths = [iteration_dir(output_dir, iteration) / METRICS_NAME for iteration in iterations(output_dir)]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def clear_run(output_dir: str | os.PathLike, overwrite: bool) -> None:
    """
    Makes sure that no earlier run is in the output directory.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory.
        overwrite (`bool`):
            Whether to delete an earlier run.

    Raises:
        `FileExistsError`: If there is an earlier run and `overwrite` is `False`.
    """
    found = [*Path(output_dir).glob("iteration-*"), *Path(output_dir).glob(STATE_NAME)]
    if found and not overwrite:
        raise FileExistsError(
            f"{Path(output_dir).resolve()} holds a run already ({', '.join(sorted(path.name for path in found)[:3])}"
            "). "
            "Continue it with `train(resume_from_checkpoint=True)`, choose another `output_dir`, or set "
            "`overwrite_output_dir=True` to delete it."
        )
    for path in [*found, *(Path(output_dir) / name for name in (REPORT_NAME, PROMPTS_NAME) if found)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
