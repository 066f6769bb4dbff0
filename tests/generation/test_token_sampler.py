# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from star_trl.generation import SamplingParams
from star_trl.generation.token_sampler import TokenSampler, draw_uniforms, most_likely, sampled_logprobs


LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, -torch.inf]])


def sampler(**kwargs):
    params = SamplingParams(max_new_tokens=1, eos_token_ids=frozenset(), **kwargs)
    return TokenSampler(params, torch.device("cpu"))


def frequencies(draw, number=40_000):
    """Shares of the tokens over evenly spaced uniform numbers: their probabilities, but for the spacing."""
    uniforms = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    return torch.bincount(draw(LOGITS.expand(number, -1), uniforms), minlength=LOGITS.shape[-1]) / number


@pytest.mark.parametrize(
    ("kwargs", "scores"),
    [
        ({"temperature": 1.0}, LOGITS[0]),
        ({"temperature": 0.5}, LOGITS[0] / 0.5),
        ({"temperature": 1.0, "top_k": 2}, torch.tensor([2.0, 1.0, *[-torch.inf] * 3])),
        ({"temperature": 1.0, "top_p": 0.7}, torch.tensor([2.0, 1.0, *[-torch.inf] * 3])),
        ({"temperature": 1.0, "min_p": 0.1}, torch.tensor([2.0, 1.0, 0.0, *[-torch.inf] * 2])),
        (
            {"temperature": 1.0, "generation_kwargs": {"epsilon_cutoff": 0.2}},
            torch.tensor([2.0, 1.0, *[-torch.inf] * 3]),
        ),
    ],
)
def test_draws_from_the_warped_distribution(kwargs, scores):
    torch.testing.assert_close(frequencies(sampler(**kwargs)), scores.softmax(-1), atol=1e-4, rtol=0)


def test_temperature_zero_is_argmax():
    assert sampler(top_p=0.1)(LOGITS, torch.tensor([0.999])).tolist() == [0]


def test_the_first_of_equally_likely_tokens_is_taken():
    logits = torch.randn(40, 300, generator=torch.Generator().manual_seed(0)).round().bfloat16()
    assert most_likely(logits).tolist() == logits.float().numpy().argmax(axis=-1).tolist()


def test_the_ends_of_the_unit_interval_draw_possible_tokens():
    logits = torch.tensor([[-torch.inf, 1.0, 1.0, -torch.inf]]).expand(2, -1)
    assert sampler(temperature=1.0)(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [1, 2]


def test_uniforms_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = draw_uniforms(7, 5)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, draw_uniforms(7, 5))
    assert not torch.equal(first, draw_uniforms(8, 5))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())  # the global stream stays where it was


def test_logprobs_are_those_of_the_untempered_model():
    tokens = torch.tensor([1])
    expected = LOGITS.log_softmax(-1)[:, 1]
    torch.testing.assert_close(sampled_logprobs(LOGITS, tokens), expected)
