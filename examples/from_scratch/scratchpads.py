# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Sums with scratchpads as text, and the base model of the arithmetic examples: a tiny Qwen 3, trained from scratch with
a seed. It knows what a scratchpad looks like, how to use a hint and the sums of one digit, and cannot add longer
numbers.

It is trained on documents of one to four solved examples with the same number of digits, separated by a blank line.

* Sums of **one digit** are right.
* Sums of **two and three digits** are made up. Every digit of the answer is drawn at random, whatever the operands are
  (a draw that happens to be the right sum is drawn again), and the scratchpad writes these digits down. Only the
  carries are those of the operands. In most of these examples the answer follows `Target:` as a hint.

The model learns to write down the columns, when to carry, and to take the digits from a hint if there is one. No
document holds a right scratchpad of more than one digit, so nothing shows the model that the digits of a longer sum
depend on those of the operands. With a true hint it writes a right scratchpad, which is what rationalization needs.
Without a hint it guesses.

```bash
python examples/from_scratch/scratchpads.py --output_dir runs/arithmetic-base
```
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import base_model
from base_model import Piece, build_word_tokenizer, document_pieces


BASE_MODEL = Path("runs/arithmetic-base")
WORDS = [*"0123456789", "+", ",", "C:", "Input:", "Target:", "<scratch>", "</scratch>", "\n"]

# (steps, rows, tokens in a row, weights of documents with 1, 2, 3 digits). Sums of one digit come first, alone. They
# are learned in a sudden step, sooner with many small batches, and the rest builds on them.
PHASES = (
    (120, 32, 32, (1, 0, 0)),
    (80, 16, 128, (1, 0, 0)),
    (600, 16, 128, (1, 2, 2)),
)
HINT_SHARE = 0.9
HINT_SHARE_ONE_DIGIT = 0.1


def write_problem(first: str, second: str, hint: str | None = None) -> str:
    """Turns `"62", "25"` into `"Input:\\n6 2 + 2 5\\nTarget:\\n"`. A hint follows `Target:`."""
    target = "Target:" if hint is None else f"Target: {hint}"
    return f"Input:\n{' '.join(first)} + {' '.join(second)}\n{target}\n"


def write_scratchpad(first: str, second: str, digits: str) -> tuple[str, str]:
    """
    Writes the scratchpad of the STaR paper (section 4.1), after Nye et al. (2021).

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


def make_document(rng: random.Random, digit_weights: tuple[int, ...]) -> list[tuple[str, str]]:
    """
    Makes one to four problems with as many digits, and their completions. The top of this file says what is in them.
    """
    digits = rng.choices(range(1, len(digit_weights) + 1), digit_weights)[0]
    document = []
    for _ in range(rng.choices((1, 2, 3, 4), (4, 3, 2, 1))[0]):
        first, second = (str(rng.randrange(10 ** (digits - 1), 10**digits)) for _ in range(2))
        right = str(int(first) + int(second))[-digits:]
        written = right
        while digits > 1 and written == right:
            written = "".join(rng.choices("0123456789", k=digits))
        completion, answer = write_scratchpad(first, second, written)
        hinted = rng.random() < (HINT_SHARE if digits > 1 else HINT_SHARE_ONE_DIGIT)
        document.append((write_problem(first, second, answer if hinted else None), completion))
    return document


def write_row(rng: random.Random, digit_weights: tuple[int, ...]) -> Iterator[Piece]:
    """Yields endless documents, each followed by EOS."""
    while True:
        yield from document_pieces(make_document(rng, digit_weights))


def make_base_model(path: Path, seed: int = 0, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless it exists there."""
    return base_model.make_base_model(path, build_word_tokenizer(WORDS), write_row, phases, random.Random(seed), seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, default=BASE_MODEL, help="Where it goes.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of its weights and of what it reads.")
    args = parser.parse_args()
    make_base_model(args.output_dir, args.seed)


if __name__ == "__main__":
    main()
