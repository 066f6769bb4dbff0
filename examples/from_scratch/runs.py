# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Shared parts of the runs of this folder: settings, samplers and files of results."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from star_trl import RationaleSampler, RationalizationSampler, Sampler


ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
IMAGES = ROOT / "docs" / "images"

# Settings that any of TRL's trainers needs on a CPU
ON_A_CPU = {
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": "none",
}
# Suitable for models of half a million parameters on two cores
SETTINGS = {
    **ON_A_CPU,
    "per_device_train_batch_size": 32,
    "max_length": None,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    "warmup_steps": 20,
    "adam_beta2": 0.99,
    "train_sampling_strategy": "group_by_length",
    "stop_strings": ["\n\n"],
    "logging_steps": 20,
}


@dataclass
class SamplerArguments:
    """
    Arguments of a run that may omit rationalization.

    Args:
        rationalization (`bool`, *optional*, defaults to `True`):
            Whether failed problems are tried again with a hint.
        p_show_hint (`float`, *optional*, defaults to `0.1`):
            Share of the rationalized samples that are trained on with the hint left in.
    """

    rationalization: bool = field(default=True, metadata={"help": "Try failed problems again with a hint."})
    p_show_hint: float = field(default=0.1, metadata={"help": "Share of rationalized samples trained with the hint."})

    def make_samplers(self) -> list[Sampler]:
        """Returns samplers for rationale generation and, if requested, rationalization."""
        hinted = [RationalizationSampler(p_show_hint=self.p_show_hint)] if self.rationalization else []
        return [RationaleSampler(), *hinted]


def starting_with(prefixes: tuple[str, ...], metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics whose names begin with one of the prefixes."""
    return {name: value for name, value in metrics.items() if name.startswith(prefixes)}


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the results in a file, by setting and run. They are empty if the file does not exist."""
    return json.loads(path.read_text()) if path.exists() else {}


def read_seeds(path: Path, settings: Iterable[str]) -> dict[str, list[dict]]:
    """Reads the runs of each of the settings that the file has, in the order of the settings and of the seeds."""
    results = read_results(path)
    return {name: [results[name][seed] for seed in sorted(results[name])] for name in settings if name in results}


def merge_results(path: Path, setting: str, runs: dict[str, Any]) -> None:
    """
    Adds runs to a file of results. Other settings and other runs of the same setting stay.

    Args:
        path (`Path`):
            JSON file. It is created if it does not exist.
        setting (`str`):
            Name of the setting.
        runs (`dict[str, Any]`):
            Results by run, such as `"seed 0"`. An earlier run of that name is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # runs may end at the same time
        results = read_results(path)
        results[setting] = {**results.get(setting, {}), **runs}
        partial = path.with_suffix(".partial")  # if the run is killed here, the results stay intact
        partial.write_text(json.dumps(results, indent=1) + "\n")
        os.replace(partial, path)
