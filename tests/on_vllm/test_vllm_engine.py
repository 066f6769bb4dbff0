# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The engine over vLLM against `generate`, with models whose weights are all replaced between two calls."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from transformers import Gemma4TextConfig, LlamaConfig

from star_trl.generation import GenerateEngine, VLLMEngine, vllm_engine
from star_trl.generation.vllm_weights import checkpoint_weights
from support.generation_models import (
    STOPS,
    TINY,
    conversations,
    make_model,
    make_requests,
    params,
    run,
    word_level_tokenizer,
)


pytest.importorskip("vllm", reason="vLLM is not installed. `make test-vllm` installs it and runs these tests.")

LENGTHS = [3, 30, 7, 9, 20, 15]
EOS = frozenset({1, 24, 25, 26, 43, 56})
params = partial(params, max_new_tokens=12)


# vLLM's attention for CPUs takes no smaller heads.
HEADS_OF_32 = {**TINY, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.fixture(scope="module")
def tokenizer():
    return word_level_tokenizer()


@pytest.fixture(scope="module")
def make_tied_model():
    """A model whose output head is its embeddings, with other weights in every parameter for every seed."""
    return lambda seed: make_model(LlamaConfig(**HEADS_OF_32, head_dim=32, tie_word_embeddings=True), seed)


@pytest.fixture(scope="module")
def make_engine(tokenizer):
    """Makes engines that live as long as all tests. One that is collected ends vLLM for the others of the process."""
    engines = []

    def make(**settings):
        engines.append(VLLMEngine(tokenizer, Accelerator(cpu=True), **settings))
        return engines[-1]

    return make


@pytest.fixture(scope="module")
def engine(make_engine):
    """One vLLM for all tests, as its start takes seconds."""
    return make_engine(batch_size=16)


@pytest.fixture(scope="module")
def adapter_engine(make_engine):
    return make_engine(batch_size=16)


@pytest.fixture(scope="module")
def model(make_tied_model):
    return make_tied_model(0)


def compare(outputs, expected):
    for output, reference in zip(outputs, expected, strict=True):
        assert (output.index, output.token_ids, output.finish_reason) == (
            reference.index,
            reference.token_ids,
            reference.finish_reason,
        )
        assert output.logprobs == (reference.logprobs and pytest.approx(reference.logprobs, abs=1e-4))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_call_samples_from_the_weights_of_its_model(engine, make_tied_model, tokenizer, seed):
    model = make_tied_model(seed)
    requests = make_requests(LENGTHS, range(10, 50))
    expected = run(GenerateEngine(tokenizer), model, requests, params(logprobs=True))
    compare(run(engine, model, requests, params(logprobs=True)), expected)


@pytest.mark.parametrize("kwargs", [{"eos_token_ids": EOS}, {"stop_strings": STOPS}, {"pause_between": ("w", "3")}])
def test_completions_end_where_those_of_generate_do(engine, model, tokenizer, kwargs):
    parameters = params(**kwargs, max_new_tokens=40, logprobs=True)
    requests = [*make_requests(LENGTHS), *make_requests(LENGTHS, range(10, 50))]
    requests[0] = replace(requests[0], max_new_tokens=2)
    expected = run(GenerateEngine(tokenizer), model, requests, parameters)
    compare(run(engine, model, requests, parameters), expected)
    assert len({output.finish_reason for output in expected}) > 1


def test_a_completion_depends_on_its_seed_and_not_on_the_batch(engine, model):
    requests = make_requests([9] * 6)
    same_prompt = [replace(request, prompt_ids=requests[0].prompt_ids) for request in requests]
    for given in (requests, same_prompt):
        together = [output.token_ids for output in run(engine, model, given, params(temperature=1.0))]
        backwards = [output.token_ids for output in run(engine, model, given[::-1], params(temperature=1.0))]
        alone = [run(engine, model, [request], params(temperature=1.0))[0].token_ids for request in given]
        assert together == backwards[::-1] == alone
    assert len(set(map(tuple, together))) > 3


def test_logprobs_are_those_of_the_model_at_temperature_1(engine, model):
    request = make_requests([9])[0]
    parameters = params(temperature=0.6, top_k=20, top_p=0.9, logprobs=True)
    output = run(engine, model, [request], parameters)[0]
    with torch.no_grad():
        logits = model(torch.tensor([request.prompt_ids + output.token_ids])).logits[0]
    positions = logits[len(request.prompt_ids) - 1 : -1].log_softmax(-1)
    expected = positions[range(len(output.token_ids)), output.token_ids].tolist()
    assert output.logprobs == pytest.approx(expected, abs=1e-4)


def test_completions_come_as_they_finish(engine, model):
    limits = (100, 2, 50)
    requests = [replace(request, max_new_tokens=n) for request, n in zip(make_requests([9] * 3), limits, strict=True)]
    parameters = params(max_new_tokens=100, eos_token_ids=frozenset())
    outputs = engine.generate(model, requests, parameters)
    assert next(outputs).index == 1
    assert engine._llm.llm_engine.get_num_unfinished_requests() == 2
    outputs.close()
    assert not engine._llm.llm_engine.has_unfinished_requests()
    assert [output.index for output in engine.generate(model, requests, parameters)] == [1, 2, 0]


@pytest.mark.parametrize(
    "kwargs",
    [{"pause_between": ("w", "3"), "eos_token_ids": frozenset()}, {"pause_at_eos": True, "eos_token_ids": EOS}],
)
def test_completions_go_on_after_a_pause_as_those_of_generate_do(engine, model, tokenizer, kwargs):
    parameters = params(max_new_tokens=60, logprobs=True, **kwargs)
    requests = [replace(request, max_new_tokens=60) for request in make_requests(LENGTHS)]
    expected = conversations(GenerateEngine(tokenizer), model, requests, parameters)
    assert conversations(engine, model, requests, parameters) == expected


def test_completions_match_a_regular_expression(make_engine, model, tokenizer):
    engine = make_engine(structured_outputs_regex="w(30|31|32)")
    outputs = run(engine, model, make_requests(LENGTHS), params(temperature=1.0))
    # Of one token or of several, between which the tokenizer puts spaces
    texts = {tokenizer.decode(output.token_ids).replace(" ", "") for output in outputs}
    assert texts <= {"w30<eos>", "w31<eos>", "w32<eos>"}


def adapted(model, seed, **kwargs):
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], **kwargs)
    torch.manual_seed(seed)
    adapted_model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in adapted_model.named_parameters():
            if parameter.requires_grad and "magnitude" not in name:
                parameter.normal_(std=0.3)
    return adapted_model


@pytest.mark.parametrize("seed", [0, 1])
def test_an_adapter_is_loaded_anew_for_every_call(adapter_engine, make_tied_model, tokenizer, seed):
    model = adapted(make_tied_model(seed), seed)
    requests = make_requests(LENGTHS, range(10, 50))
    expected = run(GenerateEngine(tokenizer), model, requests, params(logprobs=True))
    compare(run(adapter_engine, model, requests, params(logprobs=True)), expected)
    with model.disable_adapter():
        without = run(GenerateEngine(tokenizer), model, requests, params(logprobs=True))
    assert without != expected


@pytest.mark.parametrize("kwargs", [{"use_dora": True}, {"modules_to_save": ["k_proj"]}])
def test_an_adapter_that_vllm_cannot_load_is_merged_into_a_copy(engine, make_tied_model, tokenizer, kwargs):
    model = adapted(make_tied_model(0), 0, **kwargs)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    requests = make_requests(LENGTHS)
    expected = run(GenerateEngine(tokenizer), model, requests, params(logprobs=True))
    compare(run(engine, model, requests, params(logprobs=True)), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_buffers_of_a_checkpoint_reach_vllm(make_engine, tokenizer, monkeypatch):
    shape = {**HEADS_OF_32, "head_dim": 32, "global_head_dim": 32, "hidden_size_per_layer_input": 0}
    model = make_model(Gemma4TextConfig(**shape))
    for name, buffer in model.named_buffers():
        if name.endswith("layer_scalar"):
            buffer.fill_(0.5)
    engine, requests = make_engine(batch_size=16), make_requests(LENGTHS)

    def without_buffers(*args, **kwargs):
        return ((name, weight) for name, weight in checkpoint_weights(*args, **kwargs) if "scalar" not in name)

    with monkeypatch.context() as context:
        context.setattr(vllm_engine, "checkpoint_weights", without_buffers)
        with pytest.raises(RuntimeError, match="loaded into.*model.layers.0.layer_scalar"):
            run(engine, model, requests, params())
    expected = run(GenerateEngine(tokenizer), model, requests, params(logprobs=True))
    compare(run(engine, model, requests, params(logprobs=True)), expected)


def test_what_vllm_cannot_do_is_refused(make_engine, engine, model, make_tied_model, tokenizer):
    accelerator = Accelerator(cpu=True)
    with pytest.raises(ValueError, match="no sleep mode on cpu"):
        VLLMEngine(tokenizer, accelerator, enable_sleep_mode=True)
    with pytest.raises(ValueError, match="does not divide the 1 processes"):
        VLLMEngine(tokenizer, accelerator, tensor_parallel_size=2)
    with pytest.raises(ValueError, match="contains \\['max_tokens', 'suppress_tokens'\\]"):
        run(engine, model, make_requests([3]), params(generation_kwargs={"max_tokens": 3, "suppress_tokens": [4]}))
    run(engine, model, make_requests([3]), params(generation_kwargs={"repetition_penalty": 1.1}))
    with pytest.raises(ValueError, match="contains \\['structured_outputs'\\]"):
        run(engine, model, make_requests([3]), params(generation_kwargs={"structured_outputs": {"regex": "a"}}))
    with pytest.raises(ValueError, match="the model now has \\(torch.bfloat16, None\\)"):
        run(engine, make_tied_model(0).bfloat16(), make_requests([3]), params())
    # Refused before vLLM starts, so that nothing has to be quantized here
    quantized = adapted(make_tied_model(0), 0, init_lora_weights="pissa")
    quantized.get_base_model().config.quantization_config = {}
    with pytest.raises(ValueError, match="init_lora_weights='pissa'.*checkpoint of a quantized model the original"):
        run(make_engine(), quantized, make_requests([3]), params())
