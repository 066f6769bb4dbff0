# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Writes the report of a run as a self-contained HTML file."""

import os
from datetime import datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from ..output_dir import REPORT_NAME
from .figures import figures, summary
from .offline_page import offline_page
from .read_run import Run, RunReader


MAX_SAMPLES = 100_000


def write_report(output_dir: str | os.PathLike, max_samples: int = MAX_SAMPLES) -> Path:
    """
    Writes `report.html`, which shows the figures and the samples of a run. It is a single file that needs no network.

    The trainer writes it after every outer iteration. For a run in progress, it shows what is on disk.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        max_samples (`int`, *optional*, defaults to `100_000`):
            Maximum number of samples to browse. If there are more, as many problems as fit are drawn at random, with
            all their samples. The figures always cover all samples.

    Returns:
        `Path`: Path of the file in `output_dir`.

    Raises:
        `FileNotFoundError`: If there is no run in `output_dir`.
    """
    return write_page(RunReader(output_dir, max_samples))


def write_page(reader: RunReader) -> Path:
    """Writes the report of what a reader finds on disk. Returns the path of the file."""
    path = reader.path / REPORT_NAME
    page = _page(reader.read())
    unfinished = path.with_suffix(".tmp")
    try:
        unfinished.write_text(page, encoding="utf-8", errors="replace")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _page(run: Run) -> str:
    done = [row["iteration"] for row in run.history]
    progress = f"iteration {done[-1]}" if done else "no iteration complete yet"
    if done and run.planned_iterations:
        progress += f" of {run.planned_iterations:.0f}"
    kinds = ("html", "css", "js")
    html, css, js = (files(__package__).joinpath(f"report.{kind}").read_text(encoding="utf-8") for kind in kinds)
    return offline_page(
        html,
        css,
        js,
        run.columns,
        title=escape(run.name),
        progress=escape(progress),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        warnings="".join(f'<p class="warning">Warning: {escape(warning)}</p>' for warning in run.warnings),
        summary=summary(run),
        figures="".join(figures(run)),
    )
