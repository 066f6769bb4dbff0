# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What the examples share that make a model of their own: its training from scratch, and where results are written."""

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, get_cosine_schedule_with_warmup


LEARNING_RATE = 4e-3


def train_from_scratch(
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    phases: Sequence[tuple],
    make_batch: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    num_heads: int = 4,
    max_length: int = 1024,
    initializer_range: float = 0.12,
    num_warmup_steps: int = 30,
) -> Qwen3ForCausalLM:
    """
    Trains a tiny Qwen 3. Its initial weights come from torch's seed.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Tokenizer.
        rng (`random.Random`):
            For `make_batch`.
        phases (`Sequence[tuple]`):
            For each phase the number of steps, and what `make_batch` gets as further arguments.
        make_batch (`Callable`):
            From `rng`, `tokenizer` and these arguments to token ids and labels, each of shape (rows, tokens).
        num_heads (`int`, *optional*, defaults to `4`):
            Attention heads of 32 dimensions each, which give the width of the model.
        max_length (`int`, *optional*, defaults to `1024`):
            Most tokens of a sequence.
        initializer_range (`float`, *optional*, defaults to `0.12`):
            Standard deviation of the initial weights.
        num_warmup_steps (`int`, *optional*, defaults to `30`):
            Steps over which the learning rate rises.
    """
    # Normalized queries and keys (Qwen 3) and a wide initialization let so small a model learn in few steps.
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32 * num_heads,
            intermediate_size=64 * num_heads,
            num_hidden_layers=3,
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
    steps = sum(phase[0] for phase in phases)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps, num_training_steps=steps)
    start = time.time()
    model.train()
    for phase_steps, *shape in phases:
        for step in range(1, phase_steps + 1):
            input_ids, labels = make_batch(rng, tokenizer, *shape)
            loss = model(input_ids=input_ids, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % 200 == 0 or step == phase_steps:
                size, took = " x ".join(map(str, input_ids.shape)), time.time() - start
                print(
                    f"tiny model: step {step} of {phase_steps}, {size} tokens, loss {loss:.3f}, {took:.0f} s",
                    flush=True,
                )
    return model.eval()


def merge_results(path: Path, setting: str, seed: int, rows: list[dict]) -> None:
    """Puts what a run came to, one row for each iteration, into a JSON file with other settings and seeds."""
    results = json.loads(path.read_text()) if path.exists() else {}
    results[setting] = {**results.get(setting, {}), f"seed {seed}": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def read_metrics(output_dir: Path) -> list[dict]:
    """The metrics of the iterations of a run."""
    return [json.loads(path.read_text()) for path in sorted(output_dir.glob("iteration-*/metrics.json"))]
