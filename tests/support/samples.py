# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Samples for tests that need no model."""

from typing import Any

from star_trl.ledger import Sample


def make_sample(**changes: Any) -> Sample:
    """A right sample of the first problem of iteration 1, with what a test changes in it."""
    fields = {
        "iteration": 1,
        "problem_id": 0,
        "sampler": "rationale",
        "sample_index": 0,
        "prompt": "Q",
        "hint_shown": False,
        "completion": "A \N{SNOWMAN}\n",
        "completion_ids": [1, 2],
        "loss_mask": [True, False],
        "finish_reason": "eos",
        "rewards": {"match": 1.0},
        "reward": 1.0,
        "kept": True,
    }
    if not changes.get("kept", True):
        fields["drop_reason"] = "wrong"
    return Sample(**{**fields, **changes})
