# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proof assistants, whose checkers decide what counts as a proof."""

from .checker import Attempt, Checker, NoProof, TryAlone, Verdict
from .coq import Coq
from .lean import Lean


CHECKERS: dict[str, type[Checker]] = {"coq": Coq, "lean": Lean}

__all__ = ["CHECKERS", "Attempt", "Checker", "Coq", "Lean", "NoProof", "TryAlone", "Verdict"]
