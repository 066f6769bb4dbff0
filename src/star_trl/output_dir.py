# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Layout of a run's output directory:

    star_state.json                                what is complete, and what the run was started from
    star_run.lock                                  held by the process that runs in the folder
    report.html  prompts.json  README.md           the report, the prompts that it shows, the model card
    iteration-001/samples-00000-of-00001.jsonl     the ledger: a shard for each process
    iteration-001/eval-00000-of-00001.jsonl        the samples of an evaluation, in the same form
    iteration-001/seconds.json                     times of its phases so far, until the iteration is complete
    iteration-001/rationales.json                  which kept samples are doubtful, for the report
    iteration-001/metrics.json                     written when the iteration is complete
    iteration-001/checkpoint/                      the model after fine-tuning
    iteration-001/fine-tuning/                     checkpoints to resume fine-tuning from, until it is complete

Iteration 0 is the evaluation of the original model.
"""

import errno
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


STATE_NAME = "star_state.json"
LOCK_NAME = "star_run.lock"
REPORT_NAME, PROMPTS_NAME = "report.html", "prompts.json"  # deleted together with the run that they show
METRICS_NAME = "metrics.json"
TIMES_NAME, RATIONALES_NAME = "seconds.json", "rationales.json"

# How characters are written that UTF-8 does not have, such as the bytes of a file name in another encoding: as JSON's
# own escape, `\udce9`
UNENCODABLE = "backslashreplace"

# Errors of a write for which there is no room: on the disk, in a quota, in a limit on the size of files
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PROBE_BYTES = 2**20

# What to do about a damaged file, by its name
WAYS_OUT = {
    STATE_NAME: "Without it the run cannot be resumed. Put the file back from a copy, or start over with "
    "`overwrite_output_dir=True`, which deletes the run. If it is deleted, `load_ledger` still reads the samples.",
    METRICS_NAME: "Put the file back from a copy: the same metrics are in the `history` of star_state.json. Or delete "
    "it, and the iteration is missing in the figures.",
    TIMES_NAME: "Delete it, and the times of the iteration are those from now on.",
    RATIONALES_NAME: "Delete it, and the report does not mark the doubtful samples of that iteration.",
    PROMPTS_NAME: "Delete it, and the report shows no hints, few-shot examples and answers until the run is resumed.",
}


class DiskFull(OSError):
    """Raised when there is no room for a file of a run. The message names the path and what to do."""


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """
    Makes an error within the context a [`DiskFull`] that names the path, if the reason is that there is no room for
    what is written. Torch and safetensors raise errors of their own, of which some do not tell the reason.

    Args:
        path (`str` or `os.PathLike`):
            The file or folder that is written.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        cause = error if isinstance(error, OSError) else _why_not_writable(Path(path))
        if cause is None or cause.errno not in NO_ROOM:
            raise
        raise DiskFull(
            cause.errno,
            f"{os.strerror(cause.errno)} while {Path(path).absolute()} was written. What was recorded before is kept. "
            "Make room there, and resume with `train(resume_from_checkpoint=True)`, or with "
            "`--resume_from_checkpoint true` on the command line.",
        ) from error


def _why_not_writable(path: Path) -> OSError | None:
    """Returns the error of writing a file beside what could not be written, or `None` if it can be written."""
    folder = next(parent for parent in (path, *path.parents) if parent.is_dir())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


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


def state_is_lost(output_dir: str | os.PathLike) -> str | None:
    """Returns a message if an output directory has iterations, but no state of their run, or else `None`."""
    if has_run(output_dir) or not iterations(output_dir):
        return None
    path = (Path(output_dir) / STATE_NAME).resolve()
    return f"{path} is missing, though there are folders `iteration-*`. {WAYS_OUT[STATE_NAME]}"


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
    return [_read_metrics(path) for path in paths if path.exists()]


def _read_metrics(path: Path) -> dict[str, Any]:
    metrics = read_json(path)
    if type(metrics.get("iteration")) is not int:
        raise damaged(path, f"`iteration` must be a whole number, and is {metrics.get('iteration')!r:.80}")
    return metrics


def read_json(path: Path) -> Any:
    """
    Reads a JSON file of a run, which is an object. Infinity and NaN are read as null.

    Raises:
        `ValueError`: If it is damaged. The message names the file and the way out.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=as_null, parse_int=_as_int)
    except (ValueError, RecursionError, OverflowError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise damaged(path, f"a JSON object is expected, and it holds a {type(content).__name__}")
    return content


def damaged(path: Path, problem: str) -> ValueError:
    """Returns the error for a damaged file. It names the file, what is wrong with it and the way out."""
    way_out = WAYS_OUT.get(path.name, "Put the file back from a copy.")
    return ValueError(f"{path.resolve()} is damaged ({problem}). {way_out}")


def _as_int(text: str) -> int:
    """Reads a whole number. What no float can hold raises `OverflowError`."""
    number = int(text)
    float(number)
    return number


def encodable(text: str) -> str:
    """Returns a text with the characters that UTF-8 does not have written as JSON's escapes."""
    return text.encode("utf-8", UNENCODABLE).decode("utf-8")


def as_null(constant: str) -> None:
    """Reads `Infinity` and `NaN`, which earlier versions wrote, as null. For `parse_constant` of [`json.loads`]."""


def finite(content: Any) -> Any:
    """Returns content for JSON in which null stands for infinity and NaN."""
    if isinstance(content, dict):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically. Infinity and NaN, which JSON does not have, become null."""
    settings: dict[str, Any] = {"indent": 2, "ensure_ascii": False, "allow_nan": False}
    try:
        text = json.dumps(content, **settings)
    except ValueError:
        text = json.dumps(finite(content), **settings)
    temporary = path.with_suffix(".tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", errors=UNENCODABLE) as file:
            file.write(f"{text}\n")
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
    if not overwrite and state_is_lost(output_dir):
        raise FileExistsError(state_is_lost(output_dir))
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
