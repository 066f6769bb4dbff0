# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
from dataclasses import replace

import pytest
import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
from transformers import BartConfig, BitsAndBytesConfig, GPTNeoConfig, LlamaConfig, LlamaForCausalLM, MambaConfig
from trl.trainer.utils import add_fused_lm_head

from star_trl.generation import GenerateEngine, GenerationRequest, PrefixSharingEngine
from star_trl.generation.engine import held_prompt_ids
from star_trl.generation.prefix_sharing import groups as prefix_groups
from star_trl.generation.prefix_sharing.cache import GROWTH, SharedPrefixCache
from star_trl.generation.prefix_sharing.forward import PrefixForward
from star_trl.generation.prefix_sharing.groups import group_by_prefix
from star_trl.generation.prefix_sharing.support import PrefixSupport
from star_trl.token_ids import TokenIds
from support.generation_models import IDS, STOPS, TINY, make_model, make_requests, params, run


LENGTHS = [3, 30, 7, 9, 20, 4, 12, 5, 5, 17, 2]
PREFIX = list(range(10, 50))


def token_ids(outputs):
    return [output.token_ids for output in outputs]


def missing(model, parameters=None):
    return PrefixSupport().missing(model, make_requests([5]), parameters or params())


@pytest.mark.parametrize(
    "kwargs",
    [
        {"temperature": 1.0, "eos_token_ids": frozenset({1, 24, 25, 26}), "stop_strings": STOPS},
        {"temperature": 0.7, "top_p": 0.9, "top_k": 20},
        {"temperature": 1.0, "min_p": 0.05, "generation_kwargs": {"typical_p": 0.9}},
    ],
)
def test_samples_are_those_of_the_plain_engine_for_every_batch_size(model, tokenizer, kwargs):
    requests = make_requests(LENGTHS, PREFIX)
    expected = run(GenerateEngine(tokenizer, 1), model, requests, params(**kwargs))
    for batch_size in (1, 3, 16, None):
        outputs = run(PrefixSharingEngine(tokenizer, batch_size), model, requests, params(**kwargs))
        assert outputs == expected
    assert len(set(map(len, token_ids(expected)))) > 1 or "stop_strings" not in kwargs


@pytest.mark.parametrize("apart", [False, True])
def test_every_token_is_fed_once(model, tokenizer, apart):
    """The prefix once for all, equal prompts once, and every generated token but the last."""
    requests = make_requests(LENGTHS, PREFIX)
    if apart:  # what the prompts begin with is held once
        own = [TokenIds(request.prompt_ids[len(PREFIX) :], PREFIX) for request in requests]
        requests = [replace(request, prompt_ids=ids) for request, ids in zip(requests, own, strict=True)]
    requests += [replace(request, prompt_ids=held_prompt_ids(request), seed=7) for request in requests]
    engine = PrefixSharingEngine(tokenizer, batch_size=len(requests))
    run(engine, model, requests[:1], params())  # the trial run
    fed = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, args, __: fed.append(args[0].shape))
    outputs = run(engine, model, requests, params(temperature=1.0))
    hook.remove()
    prefix, prompts, *steps = fed
    assert prefix == (1, len(PREFIX))
    assert prompts == (len(LENGTHS), max(LENGTHS) - 1)
    assert all(width == 1 for _, width in steps)
    assert sum(rows for rows, _ in steps) == sum(len(output.token_ids) for output in outputs)


def test_finished_rows_make_room(model, tokenizer):
    parameters = params(temperature=1.0, eos_token_ids=frozenset(range(1, 64, 6)))
    requests = make_requests(LENGTHS * 3, PREFIX)
    sizes = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, args, __: sizes.append(args[0].shape))
    outputs = run(PrefixSharingEngine(tokenizer, 4), model, requests, parameters)
    hook.remove()
    steps = [shape[0] for shape in sizes if shape[1] == 1]
    assert max(steps) == 4
    # Batch by batch, the rows that ended early would have gone on to the end of their batch
    tokens = sum(len(output.token_ids) for output in outputs)
    assert len(steps) < 1.5 * tokens / 4 + 20


def test_completions_are_handed_out_as_they_finish(model, tokenizer):
    steps = []
    hook = model.register_forward_hook(lambda *_: steps.append(1))
    requests = make_requests(LENGTHS, PREFIX)
    iterator = PrefixSharingEngine(tokenizer, 2).generate(model, requests, params(temperature=1.0))
    next(iterator)
    at_first = len(steps)
    list(iterator)
    hook.remove()
    assert at_first < len(steps) / 2


def test_groups_share_a_prefix_each():
    a, b = list(range(600)), list(range(600, 1200))
    prompts = [[1, *a, i] for i in range(20)] + [[1, *b, i, i] for i in range(20)] + [[1, 2, 3], [1, 5]]
    groups = sorted((group.prefix_length, sorted(group.indices)) for group in group_by_prefix(prompts))
    assert groups == [(1, [40, 41]), (601, list(range(20))), (601, list(range(20, 40)))]


def test_what_saves_little_stays_in_one_batch():
    equal = [[1, *range(500), i] for i in range(10) for _ in range(40)]
    few = [[1, *range(600, 1100), i] for i in range(10)]
    (group,) = group_by_prefix([*few, [1, 2, 3], *[[1, *range(700, 1200)]] * 40])
    assert group.prefix_length == 1
    (group,) = group_by_prefix(equal)
    assert group.prefix_length == 501


def test_a_prefix_leaves_every_prompt_a_token():
    (group,) = group_by_prefix([[1, 2, 3], [1, 2, 3], [1, 2, 3, 4]])
    assert group.prefix_length == 2 and sorted(group.indices) == [0, 1, 2]
    assert group_by_prefix([]) == []
    assert group_by_prefix([[1]])[0].prefix_length == 0


@pytest.mark.parametrize("other_head", [False, True])
def test_groups_do_not_depend_on_how_prompts_are_held(other_head):
    head = list(range(300))
    prompts = [TokenIds(own, head) for own in ([], [5], [5], [6, *range(600)], [6, *range(600), 7])]
    if other_head:
        prompts.append(TokenIds([5], [*head]))
    assert group_by_prefix(prompts) == group_by_prefix([ids.tolist() for ids in prompts])


def test_groups_do_not_change_the_completions(model, tokenizer, monkeypatch):
    monkeypatch.setattr(prefix_groups, "MIN_TOKENS_SAVED", 100)
    other = PREFIX[::-1]
    requests = make_requests(LENGTHS * 2, PREFIX) + make_requests(LENGTHS * 2, other) + make_requests([4])
    assert len(group_by_prefix([request.prompt_ids for request in requests])) == 3
    expected = run(GenerateEngine(tokenizer, 8), model, requests, params())
    assert token_ids(run(PrefixSharingEngine(tokenizer, 8), model, requests, params())) == token_ids(expected)


def test_an_empty_prompt_raises(model, tokenizer):
    requests = [*make_requests([3]), GenerationRequest(prompt_ids=[], seed=0)]
    for engine in (PrefixSharingEngine(tokenizer), GenerateEngine(tokenizer)):
        with pytest.raises(ValueError, match=r"Requests \[1\] have no prompt tokens"):
            list(engine.generate(model, requests, params()))


def test_no_requests(model, tokenizer):
    assert list(PrefixSharingEngine(tokenizer).generate(model, [], params())) == []


def state_of(model):
    return (
        [module.training for module in model.modules()],
        model.config._attn_implementation,
        model.config.use_cache,
        model.is_gradient_checkpointing,
        model.generation_config,
    )


def test_the_model_is_as_it_was_between_completions_and_after_them(tokenizer):
    model = make_model()
    model.set_attn_implementation("eager")
    model.gradient_checkpointing_enable()
    model.train()
    model.config.use_cache = False
    model.model.layers[0].eval()
    before = state_of(model)
    requests = make_requests(LENGTHS, PREFIX)
    expected = run(GenerateEngine(tokenizer), model, requests, params())
    assert state_of(model) == before
    outputs = []
    for output in PrefixSharingEngine(tokenizer, 3).generate(model, requests, params()):
        assert state_of(model) == before
        outputs.append(output)
    assert sorted(token_ids(outputs)) == sorted(token_ids(expected))

    iterator = PrefixSharingEngine(tokenizer, 3).generate(model, requests, params())
    next(iterator)
    iterator.close()
    assert state_of(model) == before


def test_the_model_is_as_it_was_after_an_error(model, tokenizer, monkeypatch):
    before = state_of(model)
    iterator = PrefixSharingEngine(tokenizer, 3).generate(model, make_requests(LENGTHS, PREFIX), params())
    next(iterator)

    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(model.model.layers[1].mlp, "forward", fail)
    with pytest.raises(ZeroDivisionError):
        list(iterator)
    assert state_of(model) == before


@pytest.mark.parametrize("engine", [PrefixSharingEngine, GenerateEngine])
def test_out_of_memory_halves_the_batch(model, tokenizer, engine):
    requests = make_requests(LENGTHS, PREFIX)
    expected = run(engine(tokenizer, 3), model, requests, params(temperature=1.0))

    def limit(_, args):
        if args[0].shape[0] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model.model.embed_tokens.register_forward_pre_hook(limit)
    try:
        outputs = run(engine(tokenizer, 8), model, requests, params(temperature=1.0))
    finally:
        hook.remove()
    assert outputs == expected


def test_out_of_memory_with_one_row_is_raised(model, tokenizer):
    engine = PrefixSharingEngine(tokenizer, 8)
    requests = make_requests(LENGTHS, PREFIX)
    run(engine, model, requests, params())

    def limit(_, args):
        if args[0].shape[1] == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = model.model.embed_tokens.register_forward_pre_hook(limit)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            run(engine, model, requests, params())
    finally:
        hook.remove()


def test_a_model_outside_the_attention_interface_falls_back(tokenizer, caplog):
    model = make_model(
        GPTNeoConfig(**IDS, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global"], 2]])
    )
    requests = make_requests(LENGTHS, PREFIX)
    engine = PrefixSharingEngine(tokenizer, 4)
    outputs = run(engine, model, requests, params())
    assert outputs == run(engine, model, requests, params())
    assert outputs == run(GenerateEngine(tokenizer, 4), model, requests, params())
    (message,) = [record.getMessage() for record in caplog.records]
    assert engine.fallback_warnings == [message]
    assert "GPTNeoForCausalLM does not use the attention interface" in message


def test_what_cannot_be_expressed_is_detected(model):
    assert missing(model) is None
    assert "repetition_penalty" in missing(model, params(generation_kwargs={"repetition_penalty": 1.2}))
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert "dynamic" in missing(make_model(LlamaConfig(**TINY, rope_parameters=dynamic)))
    windowed = make_model(LlamaConfig(**TINY))
    windowed.config.layer_types, windowed.config.sliding_window = ["sliding_attention"] * 2, 16
    assert "sliding windows" in missing(windowed)
    chunked = make_model(LlamaConfig(**TINY))
    chunked.config.layer_types = ["chunked_attention"] * 2
    assert "chunked_attention" in missing(chunked)
    tuned = get_peft_model(make_model(), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3))
    assert "in front of the prompt" in missing(tuned)


def test_a_model_that_ignores_positions_is_detected(tokenizer):
    model = make_model()
    forward = model.model.rotary_emb.forward
    model.model.rotary_emb.forward = lambda x, position_ids: forward(x, torch.arange(x.shape[1])[None])
    assert "ignores `position_ids`" in missing(model)


def test_a_low_precision_does_not_hide_that_positions_are_ignored():
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "decoder_attention_heads": 4}
    model = make_model(BartConfig(**IDS, **sizes, decoder_ffn_dim=48, max_position_embeddings=256)).to(torch.bfloat16)
    with torch.no_grad():
        model.model.decoder.embed_positions.weight.mul_(0.05)
    assert "ignores `position_ids`" in missing(model)


@pytest.mark.parametrize("ignored", [("cache", "past_key_values"), ("position_ids",)], ids=["cache", "positions"])
def test_what_a_forward_takes_and_ignores_is_detected(ignored):
    model = make_model()
    forward = model.forward
    model.forward = lambda **kwargs: forward(**{name: kwargs[name] for name in kwargs if name not in ignored})
    assert ("wrote 0 of them to the cache" if "cache" in ignored else "ignores `position_ids`") in missing(model)


def test_a_cache_that_is_not_of_keys_and_values_is_detected():
    assert missing(make_model(MambaConfig(**IDS, hidden_size=32, num_hidden_layers=2, state_size=8))) is not None


def test_the_names_of_the_parameters_of_forward_do_not_matter():
    model = make_model()
    forward = model.forward
    model.forward = lambda **kwargs: forward(**kwargs)
    assert missing(model) is None


def test_a_prompt_tuned_model_generates(tokenizer):
    adapter = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3)
    model = get_peft_model(make_model(), adapter).eval()
    outputs = run(PrefixSharingEngine(tokenizer, 4), model, make_requests(LENGTHS, PREFIX), params(logprobs=True))
    assert [output.index for output in outputs] == list(range(len(LENGTHS)))


def test_the_forward_that_the_trainer_patches(tokenizer):
    model, plain = make_model(), make_model()
    add_fused_lm_head(model)
    requests = make_requests(LENGTHS, PREFIX)
    assert missing(model) is None
    expected = run(PrefixSharingEngine(tokenizer, 4), plain, requests, params())
    assert run(PrefixSharingEngine(tokenizer, 4), model, requests, params()) == expected
    assert run(GenerateEngine(tokenizer, 4), model, requests, params()) == expected


@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "bfloat16"])
def test_low_precision(tokenizer, autocast):
    model = make_model()
    model = model if autocast else model.to(torch.bfloat16)
    requests = make_requests(LENGTHS, PREFIX)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert missing(model) is None
        expected = run(GenerateEngine(tokenizer, 1), model, requests, params(logprobs=True))
        outputs = run(PrefixSharingEngine(tokenizer, 4), model, requests, params(logprobs=True))
    for output, reference in zip(outputs, expected, strict=True):
        assert output.logprobs[0] == pytest.approx(reference.logprobs[0], abs=0.1)
    assert sum(a == b for a, b in zip(token_ids(outputs), token_ids(expected), strict=True)) > len(requests) / 2


def test_keys_are_held_in_the_type_that_attention_computes_in():
    """Rotated keys are in float32. They would be converted in every step."""
    model = make_model()
    cache = SharedPrefixCache(num_rows=2, capacity=200)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cache.begin_prefill(slice(0, 2), 0, 8, model.device)
        PrefixForward(model)(cache, torch.full((2, 8), 5))
    assert {buffer.dtype for layer in cache.layers for buffer in (layer.keys, layer.values)} == {torch.bfloat16}


def test_buffers_grow_with_the_rows(model):
    cache = SharedPrefixCache(num_rows=2, capacity=80)
    forward, tokens = PrefixForward(model), torch.arange(2, 72).remainder(30).repeat(2, 1)
    lengths, logits = [], []
    with torch.no_grad():
        cache.begin_prefill(slice(0, 2), 0, 8, model.device)
        forward(cache, tokens[:, :8])
        for position in range(8, 70):
            cache.begin_decode(torch.tensor([position, position]), model.device)
            logits.append(forward(cache, tokens[:, position : position + 1]))
            lengths.append(cache.layers[0].keys.shape[2])
        assert sorted(set(lengths)) == [GROWTH, 2 * GROWTH, 80]
        expected = model(tokens).logits[:, 8:]
    torch.testing.assert_close(torch.stack(logits, dim=1), expected, atol=1e-5, rtol=1e-5)


def test_a_row_does_not_pay_for_the_length_of_others(model):
    """Rows are admitted while others are long, and stay when those have left."""
    cache = SharedPrefixCache(num_rows=2, capacity=400)
    lengths = []
    for begin in (
        lambda: cache.begin_prefill(slice(0, 1), 0, 300, model.device),
        lambda: cache.begin_decode(torch.tensor([300]), model.device),
        lambda: cache.begin_prefill(slice(1, 2), 0, 8, model.device),
        lambda: cache.begin_decode(torch.tensor([300, 8]), model.device),
        lambda: cache.begin_decode(torch.tensor([9]), model.device),
    ):
        begin()
        lengths.append(cache.seen)
    assert lengths == [300, cache.length, 8, cache.length, 10] and 301 <= cache.length < 400


def test_a_quantized_model(tokenizer, tmp_path):
    make_model(LlamaConfig(**{**TINY, "hidden_size": 64, "intermediate_size": 64})).save_pretrained(tmp_path)
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=quantization, device_map="cpu").eval()
    requests = make_requests(LENGTHS, PREFIX)
    assert missing(model) is None
    expected = run(GenerateEngine(tokenizer, 1), model, requests, params())
    outputs = run(PrefixSharingEngine(tokenizer, 4), model, requests, params())
    assert sum(a == b for a, b in zip(token_ids(outputs), token_ids(expected), strict=True)) > len(requests) / 2
