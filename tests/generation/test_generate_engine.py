# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from transformers import GenerationConfig

from star_trl.generation import GenerateEngine, StopStrings
from support.generation_models import STOPS, make_model, make_requests, params, run


LENGTHS = [3, 30, 7, 9, 20, 4, 12]


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.9, "top_k": 20}, {"stop_strings": ("3", "C:")}],
)
def test_completions_do_not_depend_on_the_batch(model, tokenizer, kwargs):
    requests = make_requests(LENGTHS)
    alone = run(GenerateEngine(tokenizer, 1), model, requests, params(**kwargs))
    assert [output.index for output in alone] == list(range(len(requests)))
    for batch_size in (3, 16):
        assert run(GenerateEngine(tokenizer, batch_size), model, requests, params(**kwargs)) == alone
    backwards = run(GenerateEngine(tokenizer, 3), model, requests[::-1], params(**kwargs))
    assert [output.token_ids for output in backwards[::-1]] == [output.token_ids for output in alone]


def test_the_seed_decides_what_is_sampled(model, tokenizer):
    request = make_requests([5])[0]
    again = [type(request)(prompt_ids=request.prompt_ids, seed=seed) for seed in (1, 1, 2)]
    first, second, third = run(GenerateEngine(tokenizer), model, again, params(temperature=1.0))
    assert first.token_ids == second.token_ids != third.token_ids


def test_greedy_is_the_most_likely_token_and_logprobs_are_the_models(model, tokenizer):
    requests = make_requests(LENGTHS)
    for output in run(GenerateEngine(tokenizer, 3), model, requests, params(logprobs=True)):
        prompt = requests[output.index].prompt_ids
        logits = model(torch.tensor([prompt + output.token_ids])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == output.token_ids
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(output.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(output.logprobs), expected, atol=1e-4, rtol=0)


def test_finish_reasons(model, tokenizer):
    requests = make_requests(LENGTHS * 3)
    parameters = params(temperature=1.0, eos_token_ids=frozenset({1, 24, 25, 26}), stop_strings=STOPS)
    stop = StopStrings(tokenizer, parameters.stop_strings)
    outputs = run(GenerateEngine(tokenizer, 3), model, requests, parameters)
    assert {output.finish_reason for output in outputs} == {"eos", "stop", "length"}
    for output in outputs:
        assert output.logprobs is None
        *before, last = output.token_ids
        assert not parameters.eos_token_ids.intersection(before) and stop.reason(before) is None
        assert (last in parameters.eos_token_ids) == (output.finish_reason == "eos")
        assert (stop.reason(output.token_ids) == "stop") == (output.finish_reason == "stop")
        if output.finish_reason == "length":
            assert len(output.token_ids) == 16


def test_stop_strings_in_the_prompt_do_not_count(model, tokenizer):
    request = make_requests([5])[0]
    word = tokenizer.convert_tokens_to_ids("stop")
    request = type(request)(prompt_ids=[*request.prompt_ids, word], seed=0)
    free = run(GenerateEngine(tokenizer), model, [request], params())[0]
    assert word not in free.token_ids
    assert run(GenerateEngine(tokenizer), model, [request], params(stop_strings=("stop",)))[0] == free


def test_generation_kwargs_reach_generate(model, tokenizer):
    requests = make_requests(LENGTHS)
    free = run(GenerateEngine(tokenizer), model, requests, params())
    banned = sorted({output.token_ids[0] for output in free})
    outputs = run(GenerateEngine(tokenizer), model, requests, params(generation_kwargs={"suppress_tokens": banned}))
    assert not any(set(banned) & set(output.token_ids) for output in outputs)


def test_reserved_generation_kwargs_raise(model, tokenizer):
    with pytest.raises(ValueError, match="num_beams"):
        run(GenerateEngine(tokenizer), model, make_requests([3]), params(generation_kwargs={"num_beams": 2}))


def test_the_model_is_left_as_it_was_and_its_generation_defaults_do_not_count(tokenizer):
    model = make_model().train()
    model.model.layers[0].eval()
    requests = make_requests(LENGTHS)
    plain = run(GenerateEngine(tokenizer), model, requests, params())
    model.generation_config = GenerationConfig(repetition_penalty=5.0, suppress_tokens=[plain[0].token_ids[0]])
    assert run(GenerateEngine(tokenizer), model, requests, params()) == plain
    assert model.generation_config.repetition_penalty == 5.0
    assert model.training and model.model.layers[1].training and not model.model.layers[0].training
