# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Stores every sample of a run, kept or not, and selects the training set from them."""

from .ledger import Ledger, load_ledger, read_samples
from .sample import FEATURES, Sample


__all__ = ["FEATURES", "Ledger", "Sample", "load_ledger", "read_samples"]
