# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
r"""
START in miniature: a tiny model that hardly ever calls its calculator, and calls it wrongly, learns to use it. A
problem of two steps, the base model's answer, and the best completion:

    Q: Ann has 47 bags of 83. She finds 65. How many?
    A: Let me see. That makes 2175.
    2175

    A: Let me see. <<47*83=3901>> <<3901+65=3966>>
    3966

The tool inserts the results in the marks. The base model is made on the spot, from documents of which a fifth answers
with a number drawn at random. In one of a hundred it calls the calculator. In the others it does so after "Wait, a
calculator helps.". It then computes with the numbers of the question and signs drawn at random: no document tells
which sign belongs to "bags of", "finds" and "loses". If a problem was not solved, `HintInferSampler` puts that
sentence after "Let me see.", and removes it again before training.

```bash
python examples/from_scratch/synthetic_tools.py --output_dir runs/tools
python examples/from_scratch/synthetic_tools.py --output_dir runs/tools-all \
    --settings star without_hint_infer without_tool --seeds 0 1 --results docs/results/synthetic_tools.json
# A process for each call, in place of the calculator
python examples/from_scratch/synthetic_tools.py --output_dir runs/tools-python --tool python --problems 200
```
"""

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import base_model
from base_model import EOS, PAD, Piece
from runs import ON_A_CPU, merge_results, starting_with
from star_trl import HintInferSampler, RationaleSampler, STaRConfig, STaRTrainer, Tool, ToolSampler, load_history
from star_trl.rewards import exact_match_reward
from star_trl.tools import python_tool
from star_trl.tools.calculator import CALCULATOR, calculate


PIECES = re.compile(r" ?[A-Za-z]+|<<|>>|\n|[\s\S]")
BEGIN, HINT = " Let me see.", " Wait, a calculator helps."
PHRASES = {"*": "{a} bags of {b}.", "+": "She finds {b}.", "-": "She loses {b}."}
NAMES = ("Ann", "Eva", "Ida", "Mia")
MAX_STEPS = 2
# Shares of the base model's documents with a call, without the hint and after it
CALLS, HINTED_CALLS = 0.01, 0.8
# (steps, rows, no limit of tokens, documents in a row) of the base model's training
PHASES = ((1000, 16, None, 2), (300, 32, None, 2))

SETTINGS = {
    "star": "STaR with the tool and hint-infer",
    "without_hint_infer": "with the tool alone",
    "without_tool": "with hint-infer, but the model has to compute by itself",
}
CONFIG = {
    **ON_A_CPU,
    "num_generations": 4,
    "temperature": 1.0,
    "max_samples_per_problem": 1,
    "initial_steps": 150,
    "step_growth": 1.0,
    "learning_rate": 2e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 10,
    "per_device_train_batch_size": 32,
    "generation_batch_size": 256,
    "max_completion_length": 64,
    "max_length": None,
    "eval_group_column": "steps",
    "disable_tqdm": True,
    "logging_steps": 50,
    "overwrite_output_dir": True,
}


def make_problem(rng: random.Random) -> tuple[dict, list[int]]:
    """Makes one row (`prompt`, `answer` and `steps`), and its numbers."""
    signs = [rng.choice("*+-"), *(rng.choice("+-") for _ in range(rng.randrange(MAX_STEPS)))]
    numbers = [rng.randrange(10, 100) for _ in range(len(signs) + 1)]
    name = rng.choice(NAMES)
    begin = PHRASES["*"].format(a=numbers[0], b=numbers[1]) if signs[0] == "*" else f"{numbers[0]}."
    later = [PHRASES[sign].format(b=b) for sign, b in zip(signs, numbers[1:], strict=True) if sign != "*"]
    question = " ".join([f"{name} has {begin}", *later, "How many?"])
    answer = write_calls(numbers, signs)[1]
    return {"prompt": f"Q: {question}\nA:", "answer": answer, "steps": len(signs)}, numbers


def write_calls(numbers: list[int], signs: list[str]) -> tuple[str, str]:
    """Returns the marks of a computation, and its result."""
    value, marks = str(numbers[0]), ""
    for sign, number in zip(signs, numbers[1:], strict=True):
        expression = f"{value}{sign}{number}"
        value = calculate(expression) or ""
        marks += f" <<{expression}={value}>>"
    return marks, value


def make_document(rng: random.Random) -> list[Piece]:
    """
    Makes a problem with an answer of the base model. The top of this file says what is in it. The model is not trained
    on the second piece, which is the hint or empty: it knows what follows a hint, and writes none itself.
    """
    row, numbers = make_problem(rng)
    kind = rng.random()
    if kind < CALLS + HINTED_CALLS:
        said, answer = write_calls(numbers, rng.choices("*+-", k=len(numbers) - 1))
    else:
        answer = str(rng.randrange(10 ** rng.randrange(1, 5)))
        said = f" That makes {answer}."
    hint = HINT if kind < HINTED_CALLS else ""
    return [(row["prompt"] + BEGIN, True), (hint, False), (f"{said}\n{answer}{EOS}", True)]


def write_row(rng: random.Random, documents: int) -> Iterator[Piece]:
    """Yields some documents one after the other."""
    for _ in range(documents):
        yield from make_document(rng)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Builds a tokenizer with one token for each digit, sign and word, including the space before a word."""
    rng = random.Random(0)
    texts = ["".join(text for text, _ in make_document(rng)).removesuffix(EOS) for _ in range(2000)]
    pieces = sorted({piece for text in texts for piece in PIECES.findall(text)})
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate([PAD, EOS, *pieces])}, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES.pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS)


def make_base_model(path: Path, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless it exists there."""
    rng, shape = random.Random("base model"), {"num_heads": 2, "initializer_range": 0.1}
    return base_model.make_base_model(path, build_tokenizer(), write_row, phases, rng, **shape)


def make_samplers(setting: str, tool: Tool) -> list:
    rationale = RationaleSampler() if setting == "without_tool" else ToolSampler(RationaleSampler(), tool)
    if setting == "without_hint_infer":
        return [rationale]
    return [rationale, HintInferSampler(rationale, HINT, after=re.escape(BEGIN))]


def computed_by_python() -> Tool:
    """Returns a tool that computes each calculator mark in a Python process."""
    python = python_tool()
    return Tool(run=lambda call: python.run(f"\nprint({call})"), begin="<<", end="=", result="{}>>")


def run(setting: str, seed: int, args: argparse.Namespace, model: Path) -> list[dict]:
    """Returns one row for each iteration."""
    rng = random.Random(seed)
    problems = {row["prompt"]: row for row, _ in (make_problem(rng) for _ in range(args.problems + 300))}
    rows = list(problems.values())
    output_dir = args.output_dir / f"{setting}-{seed}"
    trainer = STaRTrainer(
        model=str(model),
        args=STaRConfig(**CONFIG, num_iterations=args.num_iterations, output_dir=str(output_dir), seed=seed),
        reward_funcs=exact_match_reward,
        samplers=make_samplers(setting, computed_by_python() if args.tool == "python" else CALCULATOR),
        train_dataset=Dataset.from_list(rows[300:]),
        eval_dataset=Dataset.from_list(rows[:300]),
    )
    trainer.train()
    wanted = ("iteration", "seconds", "eval_accuracy", "train_data_used", "rationale/", "hint_infer/")
    return [starting_with(wanted, metrics) for metrics in load_history(output_dir)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the runs and the base model go.")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=["star"], help="What to run.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds of problems and training.")
    parser.add_argument("--num_iterations", type=int, default=3, help="Outer iterations.")
    parser.add_argument("--problems", type=int, default=500, help="Training problems.")
    parser.add_argument("--tool", choices=["calculator", "python"], default="calculator", help="What computes.")
    parser.add_argument("--results", type=Path, help="JSON file into which accuracy by iteration is merged.")
    args = parser.parse_args()
    model = make_base_model(args.output_dir / "base")
    for setting in args.settings:
        for seed in args.seeds:
            history = run(setting, seed, args, model)
            accuracy = ", ".join(f"{row['eval_accuracy']:.1%}" for row in history)
            print(f"{setting} ({SETTINGS[setting]}), seed {seed}: {accuracy}", flush=True)
            if args.results is not None:
                merge_results(args.results, setting, {f"seed {seed}": history})


if __name__ == "__main__":
    main()
