# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proposal distributions: which problems to sample for, conditioned on what, and how."""

from .base import Completion, Generate, LoopState, Prompt, Sampler, WrappedSampler
from .difficulty import DifficultySampler
from .majority_vote import MajorityVoteSampler
from .mixture import mixture
from .rationale import RationaleSampler, RationalizationSampler


__all__ = [
    "Completion",
    "DifficultySampler",
    "Generate",
    "LoopState",
    "MajorityVoteSampler",
    "Prompt",
    "RationaleSampler",
    "RationalizationSampler",
    "Sampler",
    "WrappedSampler",
    "mixture",
]
