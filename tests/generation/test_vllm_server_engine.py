# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over a server, with a server that `generate` stands in for. `tests/on_vllm` has one of vLLM."""

import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model

from star_trl.generation import GenerateEngine, GenerationRequest, VLLMServerEngine
from support.generation_models import conversations, make_model, make_requests, params, run


EOS = frozenset({1, 24, 25, 26, 43, 56})
params = partial(params, max_new_tokens=60, eos_token_ids=EOS)


class Server:
    """Takes adapters, and completes prompts with a model of its own."""

    def __init__(self, model, tokenizer):
        self.model = model
        self.engine = GenerateEngine(tokenizer)
        self.session = SimpleNamespace(post=lambda url, json: SimpleNamespace(status_code=200))

    def generate(self, prompts, max_tokens, generation_kwargs, **kwargs):
        request = GenerationRequest(prompt_ids=prompts[0], seed=generation_kwargs["seed"])
        eos = frozenset(generation_kwargs["stop_token_ids"])
        output = run(self.engine, self.model, [request], params(max_new_tokens=max_tokens, eos_token_ids=eos))[0]
        return {"completion_ids": [output.token_ids], "logprobs": None}


class VLLMSamplingParams:
    """vLLM's sampling parameters, as far as the engine asks which there are."""

    def __init__(self, repetition_penalty=1.0, structured_outputs=None):
        pass


def adapted(**kwargs):
    torch.manual_seed(0)
    return get_peft_model(make_model(), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **kwargs)).eval()


@pytest.fixture
def make_engine(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=VLLMSamplingParams))

    def make(model, **kwargs):
        # One request at a time, since the model of the stand-in is no server
        engine = VLLMServerEngine(tokenizer, Accelerator(cpu=True), batch_size=1, **kwargs)
        monkeypatch.setattr(engine, "_connect", lambda: Server(model, tokenizer))
        return engine

    return make


def test_completions_go_on_after_eos_as_those_of_generate_do(make_engine, tokenizer):
    model = adapted()
    requests = [replace(request, max_new_tokens=60) for request in make_requests([3, 30, 7, 9])]
    parameters = params(pause_at_eos=True)
    expected = conversations(GenerateEngine(tokenizer), model, requests, parameters)
    assert conversations(make_engine(model), model, requests, parameters) == expected


def test_an_adapter_that_changes_the_base_weights_is_refused(make_engine):
    model = adapted(init_lora_weights="pissa")
    with pytest.raises(ValueError, match="init_lora_weights='pissa'.*the vLLM server at http://0.0.0.0:8000 has the"):
        run(make_engine(model), model, make_requests([3]), params())


def test_structured_outputs_are_refused_among_the_generation_kwargs(make_engine):
    model = adapted()
    parameters = params(generation_kwargs={"structured_outputs": {"regex": "a"}})
    with pytest.raises(ValueError, match="contains \\['structured_outputs'\\].*`vllm_structured_outputs_regex`"):
        run(make_engine(model, structured_outputs_regex="b"), model, make_requests([3]), parameters)
