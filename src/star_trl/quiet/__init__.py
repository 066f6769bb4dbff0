# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Quiet-STaR (Zelikman et al., 2024): a model that learns from plain text to think before every token."""

from .quiet_config import QuietSTaRConfig
from .quiet_model import QuietSTaRModel, QuietSTaROutput
from .quiet_trainer import QuietSTaRTrainer
from .thought_page import write_thought_page


__all__ = ["QuietSTaRConfig", "QuietSTaRModel", "QuietSTaROutput", "QuietSTaRTrainer", "write_thought_page"]
