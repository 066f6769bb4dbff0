# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The loss that balances the experts of a mixture of experts, which `SFTTrainer` adds and logs as `aux_loss`."""

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from support.sums import solve_easy_and_hinted


@pytest.mark.parametrize(
    ("settings", "is_logged"),
    [
        ({}, True),
        ({"loss_normalization": "problems"}, True),
        ({"distillation": "forward_kl"}, True),
        ({"router_aux_loss_coef": 0.0}, False),
    ],
    ids=str,
)
def test_the_loss_of_the_router_is_logged(make_trainer, tokenizer, settings, is_logged):
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        router_aux_loss_coef=0.1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    trainer = make_trainer(solve_easy_and_hinted, model=MixtralForCausalLM(config), num_iterations=1, **settings)
    trainer.train()
    logged = [entry["aux_loss"] for entry in trainer.state.log_history if "aux_loss" in entry]
    assert len(logged) == (3 if is_logged else 0)  # one for each step
    assert all(value > 1.0 for value in logged)  # the sum over the experts is at least 1
