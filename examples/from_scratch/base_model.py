# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Makes the base models of this folder: tiny Qwen 3 models, trained from scratch with a seed. An example defines what its
base model reads and in how many steps. Everything else is here.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, get_cosine_schedule_with_warmup


PAD, EOS = "<pad>", "<eos>"
BEGIN, CHAT_EOS = "<|im_start|>", "<|im_end|>"  # of a turn
LEARNING_RATE = 4e-3

# A text, and whether the model is trained on it or only reads it
Piece = tuple[str, bool]


def build_word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """
    Builds a tokenizer with one token for each word and line break, whose decoding restores the text exactly. Words are
    separated by spaces.
    """
    vocab = {word: index for index, word in enumerate([PAD, EOS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),  # a space before every token but the first
            decoders.Fuse(),
            decoders.Replace(Regex(" ?\n ?"), "\n"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_chat_tokenizer(tools: list[Callable], phrases: Sequence[str]) -> PreTrainedTokenizerFast:
    """
    Builds a tokenizer with the chat template of Qwen 3. The template's description of the tools is one token, and so
    is each phrase. Where several begin, the first of the list is taken. Anything else is one token for each character.
    """
    from trl.chat_template_utils import qwen3_instruct_2507_chat_template  # takes seconds

    template: dict[str, Any] = {"chat_template": qwen3_instruct_2507_chat_template}
    whole = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({PAD: 0}, unk_token=PAD)), **template)
    system = str(whole.apply_chat_template([{"role": "user", "content": ""}], tools=tools, tokenize=False))
    phrases = [system.split(CHAT_EOS)[0].removeprefix(BEGIN), *phrases]
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocab = {token: number for number, token in enumerate([PAD, BEGIN, CHAT_EOS, *phrases, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=PAD))
    pieces = "|".join([*map(re.escape, phrases), r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([PAD, BEGIN, CHAT_EOS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=CHAT_EOS,
        clean_up_tokenization_spaces=False,
        **template,
    )


def document_pieces(examples: Sequence[tuple[str, str]]) -> list[Piece]:
    """
    Makes a document of problems and completions. A blank line follows each completion except the last, which EOS
    follows. The model is trained on completions, since nothing can be learned from random problems.
    """
    pieces = []
    for number, (problem, completion) in enumerate(examples, start=1):
        pieces += [(problem, False), (completion + (EOS if number == len(examples) else "\n\n"), True)]
    return pieces


def encode_row(
    tokenizer: PreTrainedTokenizerFast, pieces: Iterable[Piece], length: int | None
) -> tuple[list[int], list[int]]:
    """
    Returns the token ids of a row, and its labels, which are -100 where the model is not trained.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizer.
        pieces (`Iterable[tuple[str, bool]]`):
            Texts, and whether the model is trained on them. Endless ones are read until the row is full.
        length (`int` or `None`):
            Maximum number of tokens, after which the row is cut. `None` takes all pieces.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    for text, trained in pieces:
        ids = tokenizer(text)["input_ids"]
        input_ids += ids
        labels += ids if trained else [-100] * len(ids)
        if length is not None and len(input_ids) >= length:
            break
    return input_ids[:length], labels[:length]


def train_base_model(
    tokenizer: PreTrainedTokenizerFast,
    write_row: Callable[..., Iterable[Piece]],
    phases: Sequence[tuple],
    rng: random.Random,
    seed: int = 0,
    num_layers: int = 3,
    num_heads: int = 4,
    max_length: int = 1024,
    initializer_range: float = 0.12,
    num_warmup_steps: int = 30,
) -> Qwen3ForCausalLM:
    """
    Trains a tiny Qwen 3 from scratch. The same seed and random numbers give the same model.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizer.
        write_row (`Callable`):
            Maps `rng` and the further values of a phase to the pieces of one row, see [`encode_row`].
        phases (`Sequence[tuple]`):
            For each phase of the training: the number of steps, of rows in a step and of tokens in a row (`None`: all
            that `write_row` gives), and the further arguments of `write_row`.
        rng (`random.Random`):
            Source of the rows.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the initial weights.
        num_layers (`int`, *optional*, defaults to `3`):
            Number of layers.
        num_heads (`int`, *optional*, defaults to `4`):
            Attention heads of 32 dimensions each, which give the width of the model.
        max_length (`int`, *optional*, defaults to `1024`):
            Maximum number of tokens of a sequence.
        initializer_range (`float`, *optional*, defaults to `0.12`):
            Standard deviation of the initial weights.
        num_warmup_steps (`int`, *optional*, defaults to `30`):
            Steps over which the learning rate rises.
    """
    torch.manual_seed(seed)
    # Normalized queries and keys (Qwen 3) and a wide initialization let so small a model learn in few steps.
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32 * num_heads,
            intermediate_size=64 * num_heads,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            head_dim=32,
            max_position_embeddings=max_length,
            tie_word_embeddings=True,
            initializer_range=initializer_range,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    num_steps = sum(steps for steps, *_ in phases)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps, num_training_steps=num_steps)
    start = time.time()
    model.train()
    for steps, num_rows, length, *arguments in phases:
        for step in range(1, steps + 1):
            rows = [encode_row(tokenizer, write_row(rng, *arguments), length) for _ in range(num_rows)]
            input_ids, labels = (
                pad_sequence(list(map(torch.tensor, part)), batch_first=True, padding_value=padding)
                for part, padding in zip(zip(*rows, strict=True), (tokenizer.pad_token_id, -100), strict=True)
            )
            loss = model(input_ids=input_ids, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % 200 == 0 or step == steps:
                size, took = " x ".join(map(str, input_ids.shape)), time.time() - start
                print(f"base model: step {step} of {steps}, {size} tokens, loss {loss:.3f}, {took:.0f} s", flush=True)
    return model.eval()


def make_base_model(path: Path, tokenizer: PreTrainedTokenizerFast, *args: Any, **kwargs: Any) -> Path:
    """
    Trains a base model and saves it with its tokenizer, unless there is one already.

    Args:
        path (`Path`):
            Folder for it.
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizer.
        args, kwargs:
            The further arguments of [`train_base_model`].
    """
    if (path / "config.json").exists():
        print(f"Base model: {path} (made before; delete it to make it again)")
        return path
    print(f"Base model: training it from scratch, for {path}")
    model = train_base_model(tokenizer, *args, **kwargs)
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path
