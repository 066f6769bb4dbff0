# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The base model of the arithmetic example: a tiny Qwen 3, trained from scratch by a seeded script, that knows what a
scratchpad looks like, how to use a hint and the sums of two digits, and cannot add longer numbers.

What it is trained on: documents of one to four solved examples with the same number of digits, separated by a blank
line.

* Sums of **one digit** are right.
* Sums of **two and three digits** are made up. Every digit of the answer is drawn at random, whatever the operands are
  (a draw that happens to be the right sum is drawn again), and the scratchpad writes these digits down. Only the
  carries are those of the operands. In most of these examples the answer stands behind `Target:` as a hint.

So the model learns to write the columns down, when to carry, and to take the digits from a hint where there is one.
That the digits of a longer sum have anything to do with those of its operands it is never told: no document holds a
right scratchpad of more than one digit.

With a true hint it writes a right scratchpad, which is what rationalization needs. Without one it guesses.

```bash
python examples/arithmetic_base.py --output_dir runs/arithmetic-base
```
"""

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from from_scratch import train_from_scratch


PAD, EOS = "<pad>", "<eos>"
WORDS = [*"0123456789", "+", ",", "C:", "Input:", "Target:", "<scratch>", "</scratch>", "\n"]

# (steps, rows, tokens in a row, weights of documents with 1, 2, 3 digits). Sums of one digit come first, alone: they
# are learned in a sudden step, sooner with many small batches, and the rest builds on them.
PHASES = (
    (120, 32, 32, (1, 0, 0)),
    (80, 16, 128, (1, 0, 0)),
    (600, 16, 128, (1, 2, 2)),
)
HINT_SHARE = 0.9
HINT_SHARE_ONE_DIGIT = 0.1


def build_tokenizer(words: Sequence[str] = WORDS) -> PreTrainedTokenizerFast:
    """One token per digit, word and line break. Decoding gives the text back to the letter."""
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


def write_problem(first: str, second: str, hint: str | None = None) -> str:
    """`"62", "25"` -> `"Input:\\n6 2 + 2 5\\nTarget:\\n"`; a hint follows `Target:`."""
    target = "Target:" if hint is None else f"Target: {hint}"
    return f"Input:\n{' '.join(first)} + {' '.join(second)}\n{target}\n"


def write_scratchpad(first: str, second: str, digits: str) -> tuple[str, str]:
    """
    The scratchpad of the STaR paper (section 4.1), after Nye et al. (2021).

    Args:
        first (`str`):
            First number, such as `"624"`.
        second (`str`):
            Second number, of as many digits.
        digits (`str`):
            The digits to write down, one for each column: `"883"`, the last digits of the sum, for a right scratchpad.

    Returns:
        `tuple[str, str]`: The completion, from `<scratch>` on, and the answer it ends with, such as `"8 8 3"`.
    """
    lines = ["<scratch>", f"{' '.join(first)} + {' '.join(second)} , C: 0"]
    written, carry = "", 0
    for column in reversed(range(len(first))):
        if written:
            lines.append(f"{first[column]} + {second[column]} , {written}C: {carry}")
        carry = int(int(first[column]) + int(second[column]) + carry >= 10)
        written = f"{digits[column]} {written}"
    lines += [f", {written}C: {carry}", f"{carry} {written.strip()}", "</scratch>"]
    answer = f"1 {written.strip()}" if carry else written.strip()
    return "\n".join([*lines, answer]), answer


def make_document(rng: random.Random, digit_weights: tuple[int, ...]) -> str:
    """One to four examples with the same number of digits. The top of this file says what is in them."""
    digits = rng.choices(range(1, len(digit_weights) + 1), digit_weights)[0]
    examples = []
    for _ in range(rng.choices((1, 2, 3, 4), (4, 3, 2, 1))[0]):
        first, second = (str(rng.randrange(10 ** (digits - 1), 10**digits)) for _ in range(2))
        right = str(int(first) + int(second))[-digits:]
        written = right
        while digits > 1 and written == right:
            written = "".join(rng.choices("0123456789", k=digits))
        completion, answer = write_scratchpad(first, second, written)
        hinted = rng.random() < (HINT_SHARE if digits > 1 else HINT_SHARE_ONE_DIGIT)
        examples.append(write_problem(first, second, answer if hinted else None) + completion)
    return "\n\n".join(examples)


def make_batch(
    rng: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    num_rows: int,
    length: int,
    digit_weights: tuple[int, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Documents, each followed by EOS, cut into rows.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Token ids and labels of shape `(num_rows, length)`. Problems carry no
        loss, since nothing can be learned from random operands.
    """
    rows = []
    for _ in range(num_rows):
        ids: list[int] = []
        while len(ids) < length:
            ids += [*tokenizer(make_document(rng, digit_weights))["input_ids"], tokenizer.eos_token_id]
        rows.append(ids[:length])
    input_ids = torch.tensor(rows)
    position = torch.arange(length)
    begin, end = tokenizer.convert_tokens_to_ids(["Input:", "<scratch>"])
    last_begin = torch.where(input_ids == begin, position, -1).cummax(dim=1).values
    last_end = torch.where(input_ids == end, position, -1).cummax(dim=1).values
    return input_ids, input_ids.masked_fill(last_begin > last_end, -100)


def train_base_model(
    tokenizer: PreTrainedTokenizerFast,
    seed: int = 0,
    phases: tuple[tuple, ...] = PHASES,
    make_batch: Callable[..., tuple[torch.Tensor, torch.Tensor]] = make_batch,
) -> Qwen3ForCausalLM:
    """Trains a base model from scratch; the same seed gives the same model."""
    torch.manual_seed(seed)
    return train_from_scratch(tokenizer, random.Random(seed), phases, make_batch)


def make_base_model(path: Path, seed: int = 0, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless there is one already."""
    if (path / "config.json").exists():
        print(f"Base model: {path} (made before; delete it to make it again)")
        return path
    print(f"Base model: training it from scratch, for {path}")
    tokenizer = build_tokenizer()
    model = train_base_model(tokenizer, seed, phases)
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", type=Path, default=Path("runs/arithmetic-base"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make_base_model(args.output_dir, args.seed)
