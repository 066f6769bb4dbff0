# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What several tests share, and the benchmarks with them. Fixtures are in `conftest.py`."""

from pathlib import Path


ROOT = Path(__file__).parents[2]
SCRIPTED_RUN = Path(__file__).with_name("scripted_run.py")
# Small data sets in the form of the public ones
DATA = ROOT / "tests" / "data"
# The public data sets, which are not in the repository but next to it
SHARED_DATA = ROOT.parent / "shared" / "data"
