# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Configurations of tiny models of every family of architectures."""

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

from .generation_models import IDS, TINY


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
