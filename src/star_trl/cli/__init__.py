# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The command `star-trl`."""

from .main import main


__all__ = ["main"]
