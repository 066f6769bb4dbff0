# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A model with random weights and a tokenizer of characters, for what does not depend on what the model writes."""

import string
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def make_random_model(path: Path, hidden_size: int, num_hidden_layers: int) -> None:
    """
    Saves a Llama that writes random characters.

    Args:
        path (`Path`):
            Where to save it.
        hidden_size, num_hidden_layers (`int`):
            Its size: `hidden_size=32, num_hidden_layers=2` has 30 thousand parameters, 384 and 6 have 10 million.
    """
    vocab = {token: index for index, token in enumerate(["<pad>", "<eos>", *string.printable])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<pad>", "<eos>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=5 * hidden_size // 2,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=max(hidden_size // 64, 2),
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


def odd_length(completions: list[str], **kwargs) -> list[float]:
    """A reward that half of what a random model writes gets."""
    return [float(len(completion) % 2) for completion in completions]
