# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Whole runs in which the model itself generates, under the settings that change how it is run."""

import string

import pytest
import torch
from peft import LoraConfig


@pytest.mark.parametrize(
    "settings",
    [
        {"bf16": True},
        {
            "bf16": True,
            "gradient_checkpointing": True,
            "peft_config": LoraConfig(r=2, target_modules=["q_proj", "v_proj"]),
        },
        {"bf16": True, "packing": True, "max_length": 256},
        {
            "temperature": 1.0,
            "num_generations": 3,
            "max_samples_per_problem": 2,
            "sample_iterations": 2,
            "num_problems_per_iteration": 3,
        },
    ],
    ids=["bf16", "lora", "packing", "sampling"],
)
def test_whole_run(make_trainer, problems, settings):
    """Every completion that ends counts as right, and any letter ends it, since the model has random weights."""
    trainer = make_trainer(
        eval_dataset=problems,
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
        max_completion_length=100,
        stop_strings=list(string.ascii_letters),
        **settings,
    )
    before = {name: value.clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    metrics = trainer.train().metrics
    assert metrics["iteration"] == 2
    assert metrics["samples/selected"] > 0
    assert metrics["train_loss"] > 0
    after = dict(trainer.model.named_parameters())
    assert all(not torch.equal(value, after[name]) for name, value in before.items())
    assert trainer.outer_run.checkpoint_dir(2).is_dir()
