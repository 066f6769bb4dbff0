# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Continuous batching. The tests of vLLM are in tests/vllm."""

from functools import partial
from types import SimpleNamespace

import pytest

from star_trl.generation import ContinuousBatchingEngine, GenerateEngine
from support.generation_models import STOPS, make_requests, params, run


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
