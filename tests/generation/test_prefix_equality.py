# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The prefix-sharing engine against `generate`, for every family of architectures."""

from functools import cache

import pytest
import torch
from peft import LoraConfig, get_peft_model

from star_trl.generation import PrefixSharingEngine, SamplingParams
from support.families import BEYOND, CONFIGS
from support.generation_models import make_model, make_requests, word_level_tokenizer


PREFIX = torch.randint(3, 64, (40,), generator=torch.Generator().manual_seed(5)).tolist()
PARAMS = SamplingParams(max_new_tokens=10, eos_token_ids=frozenset({1}), logprobs=True)


@cache
def model_of(family, lora):
    model = make_model(CONFIGS[family]())
    if lora:
        torch.manual_seed(1)
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", r=4, init_lora_weights=False)).eval()
    return model


@cache
def requests_with(prefix_length):
    return make_requests([3, 30, 7, 1, 20, 50], PREFIX[:prefix_length])


@cache
def greedy_by_generate(family, lora, prefix_length):
    """
    For every request, the tokens of `generate`, their log-probabilities, and the number of steps before the first one
    whose two largest logits are so close that rounding decides.
    """
    references = []
    model = model_of(family, lora)
    for request in requests_with(prefix_length):
        prompt = torch.tensor([request.prompt_ids])
        output = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=PARAMS.max_new_tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        tokens = output.sequences[0, prompt.shape[1] :]
        logits = torch.cat(output.logits)
        first, second = logits.topk(2).values.T
        ties = (first - second < 1e-4).nonzero()[:, 0].tolist()
        logprobs = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        references.append((tokens.tolist(), logprobs, min([*ties, len(tokens)])))
    return references


@pytest.mark.parametrize("prefix_length", [0, len(PREFIX)])
@pytest.mark.parametrize("lora", [False, True], ids=["base", "lora"])
@pytest.mark.parametrize("family", [family for family in CONFIGS if family not in BEYOND])
def test_greedy_tokens_and_logprobs_are_those_of_generate(family, lora, prefix_length, monkeypatch):
    model, requests = model_of(family, lora), requests_with(prefix_length)
    references = greedy_by_generate(family, lora, prefix_length)
    decided = sum(steps for *_, steps in references)
    assert decided >= 0.95 * sum(len(tokens) for tokens, *_ in references)
    for batch_size in (1, 3, 16):
        engine = PrefixSharingEngine(word_level_tokenizer(), batch_size)
        monkeypatch.delattr(engine, "fallback")
        outputs = list(engine.generate(model, requests, PARAMS))
        assert sorted(output.index for output in outputs) == list(range(len(requests)))
        for output in outputs:
            tokens, logprobs, steps = references[output.index]
            assert output.token_ids[:steps] == tokens[:steps]
            assert len(output.token_ids) == len(tokens) or steps < len(tokens)
            torch.testing.assert_close(torch.tensor(output.logprobs)[:steps], logprobs[:steps], atol=1e-4, rtol=0)
