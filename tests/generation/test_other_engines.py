# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Continuous batching, and vLLM as far as it goes without vLLM: against TRL's own class, with vLLM's calls faked."""

import inspect
from functools import partial
from types import SimpleNamespace

import pytest
from accelerate import Accelerator
from trl.generation import vllm_generation

from star_trl.generation import ContinuousBatchingEngine, GenerateEngine, VLLMEngine
from star_trl.generation.vllm_engine import VLLMGeneration
from support.generation_models import STOPS, make_model, make_requests, params, run


LENGTHS = [3, 30, 7, 9, 20]
params = partial(params, max_new_tokens=12)


@pytest.mark.parametrize("kwargs", [{}, {"stop_strings": STOPS, "eos_token_ids": frozenset({1, 24, 25, 26, 43, 56})}])
def test_continuous_batching_gives_the_greedy_tokens_of_generate(model, tokenizer, kwargs):
    requests = make_requests(LENGTHS, range(10, 50))
    expected = run(GenerateEngine(tokenizer, 1), model, requests, params(**kwargs, logprobs=True))
    implementation = model.config._attn_implementation
    outputs = run(ContinuousBatchingEngine(tokenizer, 4), model, requests, params(**kwargs, logprobs=True))
    assert model.config._attn_implementation == implementation
    for output, reference in zip(outputs, expected, strict=True):
        assert (output.token_ids, output.finish_reason) == (reference.token_ids, reference.finish_reason)
        assert output.logprobs == pytest.approx(reference.logprobs, abs=1e-4)
    assert len({output.finish_reason for output in outputs}) > 1 or not kwargs


def test_continuous_batching_samples(model, tokenizer):
    outputs = run(
        ContinuousBatchingEngine(tokenizer), model, make_requests([5] * 4), params(temperature=1.0, top_p=0.9)
    )
    assert [output.index for output in outputs] == [0, 1, 2, 3]


def test_a_missing_completion_is_raised(model, tokenizer, monkeypatch):
    def lose_one(prompts, **kwargs):
        return {str(row): SimpleNamespace(error=None, generated_tokens=[5]) for row in range(len(prompts) - 1)}

    monkeypatch.setattr(model, "generate_batch", lose_one)
    with pytest.raises(RuntimeError, match="4 of 5 completions"):
        run(ContinuousBatchingEngine(tokenizer), model, make_requests(LENGTHS), params())


def test_logprobs_of_a_truncated_distribution_are_refused(model, tokenizer):
    with pytest.raises(ValueError, match="temperature 1 without truncation"):
        run(ContinuousBatchingEngine(tokenizer), model, make_requests(LENGTHS), params(temperature=0.5, logprobs=True))


class FakeLLM:
    """Answers each prompt with the given tokens, as vLLM does: the token or stop string that ended it included."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.calls = []

    def generate(self, prompts, sampling_params, use_tqdm):
        self.calls.append((prompts, sampling_params))
        candidates = [{token: SimpleNamespace(logprob=-token / 10, rank=1)} for token in self.tokens]
        output = SimpleNamespace(token_ids=self.tokens, logprobs=candidates)
        return [SimpleNamespace(prompt_token_ids=p["prompt_token_ids"], outputs=[output]) for p in prompts]


@pytest.fixture
def vllm(monkeypatch):
    """TRL's `VLLMGeneration` with nothing replaced but vLLM itself."""
    events = []

    def start(self):
        self.llm = llm
        events.append("start")

    llm = FakeLLM([5, 6, 1])
    llm.events = events
    monkeypatch.setattr(VLLMGeneration, "_init_vllm", start)
    monkeypatch.setattr(VLLMGeneration, "sync_weights", lambda self: events.append(("sync", self.model)))
    monkeypatch.setattr(vllm_generation, "SamplingParams", dict, raising=False)
    return llm


def test_vllm_through_trls_own_class(vllm, model, tokenizer):
    engine = VLLMEngine(tokenizer, Accelerator(cpu=True), batch_size=2, mode="colocate", gpu_memory_utilization=0.5)
    requests = make_requests(LENGTHS)
    parameters = params(temperature=1.0, stop_strings=("stop",), logprobs=True)
    outputs = run(engine, model, requests, parameters)
    assert [output.index for output in outputs] == [0, 1, 2, 3, 4]
    assert all(output.token_ids == [5, 6, 1] and output.finish_reason == "eos" for output in outputs)
    assert outputs[0].logprobs == [-0.5, -0.6, -0.1]

    prompts = [prompt["prompt_token_ids"] for call, _ in vllm.calls for prompt in call]
    assert prompts == [request.prompt_ids for request in requests]
    assert [len(call) for call, _ in vllm.calls] == [2, 2, 1]
    sampling = vllm.calls[0][1]
    assert sampling["n"] == 1 and sampling["temperature"] == 1.0 and sampling["max_tokens"] == 12
    assert sampling["stop"] == ["stop"] and sampling["stop_token_ids"] == [1]


def test_vllm_gets_the_weights_before_every_phase(vllm, model, tokenizer):
    engine = VLLMEngine(tokenizer, Accelerator(cpu=True))
    other = make_model(seed=1)
    run(engine, model, make_requests(LENGTHS), params())
    run(engine, other, make_requests(LENGTHS), params())
    assert vllm.events == ["start", ("sync", model), ("sync", other)]


def test_vllm_completions_tell_what_ended_them(vllm, model, tokenizer):
    stop = tokenizer.convert_tokens_to_ids("stop")
    vllm.tokens = [5, stop, 6]
    engine = VLLMEngine(tokenizer, Accelerator(cpu=True))
    output = run(engine, model, make_requests([3]), params(stop_strings=("stop",)))[0]
    assert (output.token_ids, output.finish_reason) == ([5, stop], "stop")
    vllm.tokens = [5, 6]
    assert run(engine, model, make_requests([3]), params())[0].finish_reason == "length"


def test_the_arguments_of_trls_vllm_config_are_taken():
    """The names that the trainer's `vllm_*` options are passed on under."""
    names = inspect.signature(VLLMGeneration.__init__).parameters.keys()
    engine_names = {"mode", "structured_outputs_regex", "server_base_url", "server_host", "server_port"}
    engine_names |= {"server_timeout", "group_port", "tensor_parallel_size", "gpu_memory_utilization"}
    engine_names |= {"max_model_length", "max_num_seqs", "enable_sleep_mode", "model_impl", "trust_remote_code"}
    assert engine_names <= names
    attributes = {"temperature", "top_p", "top_k", "min_p", "max_completion_length", "generation_kwargs", "logprobs"}
    assert attributes <= names
    assert list(inspect.signature(VLLMGeneration.generate).parameters)[1:4] == ["prompts", "images", "num_generations"]
