# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Whole runs on vLLM. Every greedy completion is compared with that of `generate` on the tuned model."""

import string

import pytest
from peft import LoraConfig

from star_trl.generation import GenerateEngine, VLLMEngine
from star_trl.generation.engine import Engine
from support.tiny_models import build_model


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")


class ComparedEngine(Engine):
    """Generates with two engines and keeps what both wrote, with the sum of the weights that they were given."""

    def __init__(self, engine, reference):
        self.engine = engine
        self.reference = reference
        self.calls = []

    def generate(self, model, requests, params):
        outputs = sorted(self.engine.generate(model, requests, params), key=lambda output: output.index)
        expected = sorted(self.reference.generate(model, requests, params), key=lambda output: output.index)
        weights = sum(parameter.double().abs().sum().item() for parameter in model.parameters())
        self.calls.append((weights, outputs, expected))
        yield from outputs


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
    calls = trainer.engine.calls
    # The original model, that of the first iteration and that of the second
    assert len({weights for weights, _, _ in calls}) == 3
    for _, outputs, expected in calls:
        assert [output.token_ids for output in outputs] == [output.token_ids for output in expected]
