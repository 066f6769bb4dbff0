# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A character-level tokenizer and Llamas with random weights, and the settings that a run of one needs."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

# Fields of STaRConfig and of TRL's other configurations
ON_A_CPU: dict[str, Any] = {
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
}


def build_tokenizer(
    turns: Sequence[str] = ("<eos>", "<system>", "<user>", "<assistant>"),
    eos_token: str = "<eos>",
    chat_template: str = CHAT_TEMPLATE,
) -> PreTrainedTokenizerFast:
    special = ["<pad>", *turns]
    vocab = {token: index for index, token in enumerate([*special, *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token=eos_token, chat_template=chat_template
    )


def build_chat_tokenizer() -> PreTrainedTokenizerFast:
    """A character-level tokenizer with the chat template and the tools of Qwen3."""
    from trl.chat_template_utils import qwen3_chat_template

    return build_tokenizer(["<|im_start|>", "<|im_end|>"], "<|im_end|>", qwen3_chat_template)


def build_model(tokenizer: PreTrainedTokenizerFast, hidden_size: int = 16, **changes: int) -> LlamaForCausalLM:
    """
    A Llama with random weights, the same ones every time.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Its tokenizer.
        hidden_size (`int`, *optional*, defaults to `16`):
            Its width. The default makes a model of a few thousand parameters.
        changes (`dict[str, int]`):
            Further fields of its configuration.
    """
    torch.manual_seed(0)
    fields = {
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
        **changes,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **fields,
    )
    return LlamaForCausalLM(config)


def save_model(path: Path, **config: int) -> Path:
    """Saves a model of [`build_model`] with its tokenizer, for what loads it by its path."""
    tokenizer = build_tokenizer()
    build_model(tokenizer, **config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def odd_length(completions: list[str], **kwargs: Any) -> list[float]:
    """A reward that half of what a random model writes gets."""
    return [float(len(completion) % 2) for completion in completions]
