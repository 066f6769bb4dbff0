# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proposal distributions: which problems to sample for, what to condition on, and how to sample."""

from ..tools.tool import Tool
from .base import Completion, Generate, LoopState, Pauses, Prompt, Sampler, WrappedSampler
from .difficulty import DifficultySampler
from .environment import EnvironmentSampler
from .hint_infer import HintInferSampler
from .majority_vote import MajorityVoteSampler
from .mixture import mixture
from .rationale import RationaleSampler, RationalizationSampler
from .rollout_func import RolloutSampler
from .tool import ToolSampler, WithTool


__all__ = [
    "Completion",
    "DifficultySampler",
    "EnvironmentSampler",
    "Generate",
    "HintInferSampler",
    "LoopState",
    "MajorityVoteSampler",
    "Pauses",
    "Prompt",
    "RationaleSampler",
    "RationalizationSampler",
    "RolloutSampler",
    "Sampler",
    "Tool",
    "ToolSampler",
    "WithTool",
    "WrappedSampler",
    "mixture",
]
