# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Engines that generate completions, behind the seam of `engine.py`."""

from .engine import Engine, FinishReason, GenerationOutput, GenerationRequest, SamplingParams
from .generate_engine import GenerateEngine
from .prefix_engine import PrefixSharingEngine
from .stopping import StopStrings


__all__ = [
    "Engine",
    "FinishReason",
    "GenerateEngine",
    "GenerationOutput",
    "GenerationRequest",
    "PrefixSharingEngine",
    "SamplingParams",
    "StopStrings",
]
