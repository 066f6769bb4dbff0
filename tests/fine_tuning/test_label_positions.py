# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The head on a CPU: only positions that have a label, with the loss and the gradients of all positions."""

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig
from torch.utils.flop_counter import FlopCounterMode

from support.sums import solve_easy_and_hinted
from support.tiny_models import build_model, build_tokenizer


def loss_gradients_and_products(trainer, inputs, compute_loss):
    """Returns the loss, the gradients and the number of operations in matrix products."""
    with FlopCounterMode(display=False) as counter:
        loss = compute_loss(trainer.model, dict(inputs))
        loss.backward()
    gradients = [each.grad.flatten() for each in trainer.model.parameters() if each.grad is not None]
    trainer.model.zero_grad()
    return loss.item(), torch.cat(gradients), counter.get_total_flops()


@pytest.mark.parametrize(
    "settings",
    [
        {"shared_prefix_train": False},
        {"shared_prefix_train": False, "packing": True, "max_length": 256},
        {"shared_prefix_train": False, "peft_config": LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0)},
        {"shared_prefix_train": False, "loss_type": "dft"},
        {"shared_prefix_train": False, "gradient_checkpointing": True},
        {},
    ],
    ids=["rows", "packing", "lora", "dft", "checkpointing", "tree"],
)
def test_loss_and_gradients_are_those_of_all_positions(make_trainer, settings):
    trainer = make_trainer(
        solve_easy_and_hinted, num_iterations=1, initial_steps=1, model=build_model(build_tokenizer()), **settings
    )
    batches = []
    compute_loss = trainer.compute_loss

    def record(model, inputs, **kwargs):
        batches.append(dict(inputs))
        return compute_loss(model, inputs, **kwargs)

    trainer.compute_loss = record
    trainer.train()
    trainer.model.eval()
    loss, gradients, products = loss_gradients_and_products(trainer, batches[0], compute_loss)
    trainer._selects_positions = lambda: False
    expected_loss, expected, all_products = loss_gradients_and_products(trainer, batches[0], compute_loss)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-7)
    assert products < all_products


def test_learned_vectors_keep_all_positions(make_trainer):
    """They lengthen the sequences inside the model, so that the labels do not fit from outside."""
    trainer = make_trainer(
        solve_easy_and_hinted,
        num_iterations=1,
        initial_steps=1,
        peft_config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    )
    trainer.train()
    assert not trainer._selects_positions()
