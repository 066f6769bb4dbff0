# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Processes with limits, for text that a model wrote."""

from .limited_process import LimitedResult, MissingGuards, run_limited


__all__ = ["LimitedResult", "MissingGuards", "run_limited"]
