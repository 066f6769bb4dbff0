# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Whole runs on vLLM. Every greedy completion is compared with that of `generate` on the tuned model."""

import string

import pytest
from peft import LoraConfig

from star_trl.generation import GenerateEngine, VLLMEngine
from support.compared_engine import ComparedEngine, check_calls
from support.tiny_models import build_model


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")


@pytest.mark.parametrize(
    "peft_config", [None, LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)], ids=["full", "lora"]
)
def test_every_iteration_samples_from_the_tuned_model(make_trainer, tokenizer, peft_config):
    trainer = make_trainer(
        use_vllm=True,
        generation_batch_size=8,
        model=build_model(tokenizer, hidden_size=64),
        peft_config=peft_config,
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
        # A random model comes upon one of these soon, and what is cut off is not trained on.
        stop_strings=list(string.ascii_letters),
        num_iterations=2,
        initial_steps=5,
    )
    assert type(trainer.engine) is VLLMEngine
    trainer.engine = ComparedEngine(trainer.engine, GenerateEngine(tokenizer))
    trainer.train()
    trainer.sample_problems(trainer.train_dataset)
    # The original model, that of the first iteration and that of the second
    check_calls(trainer.engine, 3)
