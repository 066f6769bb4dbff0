# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proposal distributions: which problems to sample for, conditioned on what, and how."""

from .base import Completion, Generate, LoopState, Prompt, Sampler, WrappedSampler
from .difficulty import DifficultySampler
from .hint_infer import HintInferSampler
from .majority_vote import MajorityVoteSampler
from .mixture import mixture
from .rationale import RationaleSampler, RationalizationSampler
from .tool import Tool, ToolSampler, WithTool


__all__ = [
    "Completion",
    "DifficultySampler",
    "Generate",
    "HintInferSampler",
    "LoopState",
    "MajorityVoteSampler",
    "Prompt",
    "RationaleSampler",
    "RationalizationSampler",
    "Sampler",
    "Tool",
    "ToolSampler",
    "WithTool",
    "WrappedSampler",
    "mixture",
]
