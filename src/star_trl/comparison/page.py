# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Writes the page on which a person ranks rationales without knowing whose they are."""

import os
from importlib.resources import files
from pathlib import Path

from ..output_dir import writing
from ..report.offline_page import offline_page
from .questions import Comparison


def write_comparison(comparison: Comparison, output_file: str | os.PathLike) -> Path:
    """
    Writes the page of a comparison: one file, which needs no network and keeps its progress in the browser.

    Args:
        comparison (`Comparison`):
            What [`pick_questions`] picked.
        output_file (`str` or `os.PathLike`):
            The `.html` file.

    Returns:
        `Path`: Path of the file.
    """
    style = files("star_trl.report").joinpath("report.css").read_text(encoding="utf-8")
    html, css, js = (
        files(__package__).joinpath(f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    data = {
        "comparison": comparison.id,
        "sources": comparison.sources,
        "questions": [
            {"id": question.id, "prompt": question.prompt, "rationales": question.rationales, "order": question.order}
            for question in comparison.questions
        ],
    }
    path = Path(output_file)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(offline_page(html, style + css, js, data), encoding="utf-8", errors="replace")
    return path
