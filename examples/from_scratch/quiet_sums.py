# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
Quiet-STaR (Zelikman et al., 2024, arXiv 2403.09629) on running sums modulo 5. A tiny base model reads two kinds of
documents, terse ones and ones that are spelled out:

    3 1 4 0 2 2 = 2 .
    3 1 4 0 2 2 = : 3 4 3 3 0 2 = 2 .

It spells out without a mistake, and guesses where the text is terse. Quiet-STaR reads terse documents alone. What it
learns is to spell out in thought.

```bash
python examples/from_scratch/quiet_sums.py --output_dir runs/quiet-sums
python examples/from_scratch/quiet_sums.py --output_dir runs/quiet-noise --noise 0.6 --policy_weight 30 --max_steps 120
```
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    HfArgumentParser,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from base_model import Piece, build_word_tokenizer, train_base_model
from runs import ON_A_CPU
from star_trl.quiet import QuietSTaRConfig, QuietSTaRModel, QuietSTaRTrainer, write_thought_page


MODULUS = 5
NUM_DIGITS = 6
HELD_OUT = 300
# Share of the questions that the base model has to spell out without a mistake. Thoughts that are wrong teach nothing.
LEAST_SPELLED = 0.95

DEFAULTS: dict[str, Any] = {
    **ON_A_CPU,
    "num_thought_tokens": NUM_DIGITS,
    "num_true_tokens": 2,
    "num_thoughts": 2,
    "start_text": ":",
    "end_text": "=",
    "embedding_scale": 1.0,
    "learning_rate": 3e-4,
    "mixing_learning_rate": 3e-3,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 32,
    "max_steps": 60,
    "logging_steps": 20,
    "save_strategy": "no",
    "disable_tqdm": True,
}


@dataclass
class SumsArguments:
    """
    Arguments of this example.

    Args:
        noise (`float`, *optional*, defaults to `0.0`):
            Share of the spelled-out documents whose sums are random, in the last third of the pretraining.
        pretraining_steps (`int`, *optional*, defaults to `400`):
            Training steps of the base model. With noise, half as many are added.
        eval_every (`int`, *optional*, defaults to `20`):
            Steps between two evaluations.
        plain (`bool`, *optional*, defaults to `False`):
            Train with TRL's `SFTTrainer` on the same documents instead, without thoughts.
    """

    noise: float = field(default=0.0, metadata={"help": "Share of the spelled-out documents whose sums are random."})
    pretraining_steps: int = field(default=400, metadata={"help": "Training steps of the base model."})
    eval_every: int = field(default=20, metadata={"help": "Steps between two evaluations."})
    plain: bool = field(default=False, metadata={"help": "Train without thoughts instead."})


def write_document(rng: random.Random, noise: float) -> str:
    """Returns a document, spelled out or terse."""
    digits = draw_digits(rng)
    sums = running_sums(digits)
    question = " ".join(map(str, digits)) + " ="
    if rng.random() < 0.5:
        return f"{question} {sums[-1]} ."
    written = [rng.randrange(MODULUS) for _ in sums] if rng.random() < noise else sums
    return f"{question} : {' '.join(map(str, written))} = {sums[-1]} ."


def draw_digits(rng: random.Random) -> list[int]:
    return [rng.randrange(MODULUS) for _ in range(NUM_DIGITS)]


def running_sums(digits: list[int]) -> list[int]:
    return [sum(digits[: end + 1]) % MODULUS for end in range(len(digits))]


def make_base_model(path: Path, noise: float, steps: int, seed: int) -> Path:
    """
    Trains the base model and saves it, unless it is there.

    Raises:
        `RuntimeError`: If it has not learned to spell out, though no document is noise.
    """
    if (path / "config.json").exists():
        return path
    tokenizer = build_word_tokenizer([*map(str, range(MODULUS)), "=", ":", "."])

    # One document in each row: where a thought begins, the model has always read nothing but its own question.
    def write_row(rng: random.Random, noise: float) -> Iterable[Piece]:
        yield write_document(rng, noise), True

    shape = {"num_layers": 2, "num_heads": 2, "max_length": 128}
    # From noisy documents alone, so small a model does not learn to spell out in hundreds of steps.
    phases = [(steps, 64, None, 0.0), *([(steps // 2, 64, None, noise)] if noise else [])]
    model = train_base_model(tokenizer, write_row, phases, random.Random(seed), seed=seed, **shape)
    rng = random.Random(f"held out {seed}")
    spelled = share_spelled(model, tokenizer, [draw_digits(rng) for _ in range(HELD_OUT)])
    print(f"base model: spells out {spelled:.0%} of the questions without a mistake", flush=True)
    if spelled < LEAST_SPELLED and not noise:
        raise RuntimeError(
            f"After {steps} training steps, the base model spells out {spelled:.0%} of the questions without a "
            f"mistake. Quiet-STaR needs {LEAST_SPELLED:.0%} here. Raise `pretraining_steps`."
        )
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path


@torch.no_grad()
def share_spelled(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: list[list[int]]) -> float:
    """Returns the share of the questions that a model spells out without a mistake when it writes greedily."""
    begun = [f"{' '.join(map(str, digits))} =" for digits in questions]
    sums = [" ".join(map(str, running_sums(digits))) for digits in questions]
    ids = torch.tensor([tokenizer(f"{start} : {end}")["input_ids"] for start, end in zip(begun, sums, strict=True)])
    written = model(ids[:, :-1]).logits[:, -NUM_DIGITS:].argmax(dim=-1)
    return (written == ids[:, -NUM_DIGITS:]).all(dim=-1).float().mean().item()


def make_terse(number: int, seed: int) -> Dataset:
    """Returns terse documents."""
    rng = random.Random(seed)
    rows = [draw_digits(rng) for _ in range(number)]
    return Dataset.from_list([{"text": f"{' '.join(map(str, row))} = {running_sums(row)[-1]} ."} for row in rows])


@torch.no_grad()
def judge(model: Any, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> dict[str, float]:
    """
    Returns the share of right answers with and without thoughts, and the share of thoughts behind `=` that are the
    running sums, of greedy ones and of ones that are drawn as in training. A model without thoughts gives the first
    one alone.
    """
    ids = torch.tensor([tokenizer(text)["input_ids"] for text in texts], device=model.device)
    questions, answers = ids[:, : NUM_DIGITS + 1], ids[:, NUM_DIGITS + 1]
    quiet = model if isinstance(model, QuietSTaRModel) else None
    plain = (model if quiet is None else quiet.base)(questions).logits[:, -1].argmax(dim=-1)
    result = {"without thoughts": (plain == answers).float().mean().item()}
    if quiet is not None:
        written = quiet.generate(questions, max_new_tokens=1, eos_token_id=[])[:, -1]
        result["with thoughts"] = (written == answers).float().mean().item()
        sums = torch.tensor(
            [tokenizer(" ".join(map(str, running_sums(row)))).input_ids for row in digits_of(questions, tokenizer)],
            device=model.device,
        )
        for name, temperature in {"right thoughts": 0.0, "right drawn thoughts": 1.0}.items():
            with torch.random.fork_rng():  # the training draws the same thoughts without these
                thoughts = quiet(ids, temperature=temperature).thought_ids[:, 0, NUM_DIGITS]
            length = min(thoughts.shape[-1], NUM_DIGITS)
            result[name] = (thoughts[:, :length] == sums[:, :length]).all(dim=-1).float().mean().item()
    return result


def digits_of(questions: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return [[int(digit) for digit in tokenizer.decode(row).split()[:NUM_DIGITS]] for row in questions]


class Judge(TrainerCallback):
    """Records what [`judge`] returns, every so many steps."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: list[str], every: int):
        self.tokenizer = tokenizer
        self.texts = texts
        self.every = every
        self.history: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self.record(state.global_step, model)

    def record(self, step: int, model: Any) -> None:
        training = model.training
        model.eval()
        self.history.append({"step": step, **judge(model, self.tokenizer, self.texts)})
        model.train(training)


def run(args: SumsArguments, quiet_args: QuietSTaRConfig) -> list[dict[str, float]]:
    """
    Makes the base model, trains it on terse documents, and returns what it does every so many steps. With thoughts,
    `thoughts.html` in the output folder shows those behind the tokens of a held-out document.
    """
    seed = quiet_args.seed
    base = Path(quiet_args.output_dir).parent / f"base-{args.noise:g}-{seed}"
    make_base_model(base, args.noise, args.pretraining_steps, seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    held_out = make_terse(HELD_OUT, seed=1_000_000 + seed)["text"]
    judge_callback = Judge(tokenizer, held_out, args.eval_every)
    number = quiet_args.max_steps * quiet_args.per_device_train_batch_size * quiet_args.gradient_accumulation_steps
    given: dict[str, Any] = {"train_dataset": make_terse(number, seed=seed), "processing_class": tokenizer}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if args.plain:
        shared = {name: getattr(quiet_args, name) for name in DEFAULTS if name in SFTConfig.__dataclass_fields__}
        config = SFTConfig(**{**shared, "output_dir": quiet_args.output_dir, "seed": seed})
        trainer = SFTTrainer(model, config, callbacks=[judge_callback], **given)
    else:
        trainer = QuietSTaRTrainer(model, quiet_args, callbacks=[judge_callback], **given)
    judge_callback.record(0, trainer.model)
    trainer.train()
    if not args.plain:
        output_dir = Path(quiet_args.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_thought_page(trainer.model, tokenizer, held_out[0], output_dir / "thoughts.html")
    return judge_callback.history


def main() -> None:
    parser = HfArgumentParser([SumsArguments, QuietSTaRConfig])
    parser.set_defaults(**DEFAULTS)
    args, quiet_args = parser.parse_args_into_dataclasses()
    history = run(args, quiet_args)
    table = Table("step", *(name for name in history[-1] if name != "step"), title="Terse running sums, held out")
    for row in history:
        table.add_row(str(row["step"]), *(f"{value:.0%}" for name, value in row.items() if name != "step"))
    Console().print(table)


if __name__ == "__main__":
    main()
