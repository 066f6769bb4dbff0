# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The report of a run: `report.html`, figures and samples in one file."""

from .page import REPORT_NAME, write_report


__all__ = ["REPORT_NAME", "write_report"]
