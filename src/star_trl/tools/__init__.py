# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tools that a model calls while it writes."""

from .calculator import calculate
from .python_tool import python_tool
from .tool import Tool


__all__ = ["Tool", "calculate", "python_tool"]
