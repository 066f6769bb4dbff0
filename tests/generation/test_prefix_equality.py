# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The prefix-sharing engine against `generate`, for every family of architectures."""

from functools import cache

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GptOssConfig,
    HrmTextConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from star_trl.generation import PrefixSharingEngine, SamplingParams
from support.generation_models import IDS, TINY, make_model, make_requests, word_level_tokenizer


# A window shorter than the prefix, so that it ends inside the prefix for some tokens and behind it for others
WINDOW = 16
SMALL_HEADS = {**TINY, "head_dim": 8}
GEMMA = {**SMALL_HEADS, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}
CONFIGS = {
    "llama": lambda: LlamaConfig(**TINY),
    "qwen2": lambda: Qwen2Config(**TINY),
    "qwen3": lambda: Qwen3Config(**SMALL_HEADS),
    "mistral": lambda: MistralConfig(**SMALL_HEADS, sliding_window=WINDOW),
    "gemma2": lambda: Gemma2Config(**GEMMA, attn_logit_softcapping=5.0),
    "gemma3": lambda: Gemma3TextConfig(**GEMMA, layer_types=["sliding_attention", "full_attention"]),
    "phi": lambda: PhiConfig(**TINY),
    "phi3": lambda: Phi3Config(**TINY),
    "gpt_neox": lambda: GPTNeoXConfig(**{k: v for k, v in TINY.items() if k != "num_key_value_heads"}),
    "gpt2": lambda: GPT2Config(**IDS, n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "gptj": lambda: GPTJConfig(**IDS, n_embd=32, n_layer=2, n_head=4, n_positions=256, rotary_dim=8, n_inner=48),
    "hrm_text": lambda: HrmTextConfig(**SMALL_HEADS, H_cycles=2, L_cycles=2),
    "opt": lambda: OPTConfig(
        **IDS,
        **{"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "max_position_embeddings": 256},
    ),
    "mixtral": lambda: MixtralConfig(**TINY, num_local_experts=4),
    "qwen3_moe": lambda: Qwen3MoeConfig(
        **SMALL_HEADS, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, output_router_logits=True
    ),
    "gpt_oss": lambda: GptOssConfig(
        **SMALL_HEADS, num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW, rope_parameters=None
    ),
}
# In the attention interface since transformers 5.24
BEYOND = set() if GPTJForCausalLM._can_set_attn_implementation() else {"gptj"}
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
