# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Iterative RPO (Pang et al., 2024) and SPIN (Chen et al., 2024): the inner loop is TRL's `DPOTrainer`."""

from .preference_config import IterativeRPOConfig, SPINConfig
from .preference_trainer import IterativeRPOTrainer, SPINTrainer


__all__ = ["IterativeRPOConfig", "IterativeRPOTrainer", "SPINConfig", "SPINTrainer"]
