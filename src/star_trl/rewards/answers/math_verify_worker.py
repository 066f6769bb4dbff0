# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The code that runs math-verify in its process (`worker.py`)."""

import logging
from collections.abc import Callable


def load() -> Callable[..., dict]:
    """Imports math-verify, and returns the function that compares two texts."""
    logging.disable()
    from math_verify import parse, verify
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

    # As in math-verify's own defaults, but a box comes first: what it holds is the answer.
    targets = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def compare(gold: str, said: str) -> dict:
        try:
            right = parse(gold, targets, parsing_timeout=None, raise_on_error=True)
            found = parse(said, targets, parsing_timeout=None, raise_on_error=True)
            return {"right": None if not right else verify(right, found, timeout_seconds=None), "error": None}
        except Exception as error:  # SymPy raises exceptions of all kinds
            return {"right": False, "error": type(error).__name__}

    return compare
