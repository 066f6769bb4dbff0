# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Compares rationales blindly, as in section 4.4 of the paper: the questions, the page, a judge and the statistics."""

from .judge import EndpointJudge, judge_comparison
from .page import write_comparison
from .questions import Comparison, pick_questions
from .results import compare_results, read_results


__all__ = [
    "Comparison",
    "EndpointJudge",
    "compare_results",
    "judge_comparison",
    "pick_questions",
    "read_results",
    "write_comparison",
]
