# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The public names of the package. `__init__.py` imports each from here when it is first used."""

from . import few_shot, generation, ledger, report, rewards, samplers, sandbox, tools
from .ledger.export import preference_dataset, sft_dataset, verifier_dataset
from .ledger.ledger import Sample, load_ledger
from .ledger.selection import NothingSurvives
from .output_dir import has_run, load_history
from .report import write_report
from .samplers import (
    Completion,
    DifficultySampler,
    EnvironmentSampler,
    HintInferSampler,
    LoopState,
    MajorityVoteSampler,
    Prompt,
    RationaleSampler,
    RationalizationSampler,
    RolloutSampler,
    Sampler,
    Tool,
    ToolSampler,
    mixture,
)
from .samplers.calculator import CalculatorSampler
from .star_config import STaRConfig
from .star_trainer import STaRTrainer
from .tools.python_tool import python_tool

__version__: str

__all__ = [
    "CalculatorSampler",
    "Completion",
    "DifficultySampler",
    "EnvironmentSampler",
    "HintInferSampler",
    "LoopState",
    "MajorityVoteSampler",
    "NothingSurvives",
    "Prompt",
    "RationaleSampler",
    "RationalizationSampler",
    "RolloutSampler",
    "STaRConfig",
    "STaRTrainer",
    "Sample",
    "Sampler",
    "Tool",
    "ToolSampler",
    "few_shot",
    "generation",
    "has_run",
    "ledger",
    "load_history",
    "load_ledger",
    "mixture",
    "preference_dataset",
    "python_tool",
    "report",
    "rewards",
    "samplers",
    "sandbox",
    "sft_dataset",
    "tools",
    "verifier_dataset",
    "write_report",
]
