# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Engines that generate completions, all with the interface of `engine.py`."""

from .continuous_batching_engine import ContinuousBatchingEngine
from .engine import Engine, FinishReason, GenerationOutput, GenerationRequest, SamplingParams
from .generate_engine import GenerateEngine
from .prefix_sharing.engine import PrefixSharingEngine
from .stopping import StopStrings
from .vllm_engine import VLLMEngine
from .vllm_server_engine import VLLMServerEngine


__all__ = [
    "ContinuousBatchingEngine",
    "Engine",
    "FinishReason",
    "GenerateEngine",
    "GenerationOutput",
    "GenerationRequest",
    "PrefixSharingEngine",
    "SamplingParams",
    "StopStrings",
    "VLLMEngine",
    "VLLMServerEngine",
]
