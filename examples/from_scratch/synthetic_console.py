# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
The console of `examples/datasets/sql_console.py` small enough for a tiny chat model. A question compares cities with
one whose value the model has to look up:

    user: which cities are beyond c17 in altitude
    assistant: query(sql: SELECT height FROM city WHERE name = 'c17')
    tool: 340
    assistant: submit(sql: SELECT name FROM city WHERE height > 340)
    tool: Submitted.
    assistant: Done.

The environment's hint is a query that is right: " The query is: SELECT name FROM city WHERE height > (SELECT height
FROM city WHERE name = 'c17')". The base model is made on the spot, from conversations whose columns and operators are
drawn at random, and follow the hint where there is one. It was never told which word stands for which.

```bash
python examples/from_scratch/synthetic_console.py --output_dir runs/synthetic-console
```
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

import base_model
import key_and_door
from base_model import Piece
from key_and_door import EOS, RESULT, make_trainer
from star_trl import STaRConfig
from star_trl.rewards import run_sql
from synthetic_sql import COLUMNS, NUM_CITIES, NUMBERS, OPERATORS, make_database


sys.path.append(str(Path(__file__).parents[1] / "datasets"))
from sql_console import SqlConsole  # noqa: E402


WORDS = {word: column for column, words in COLUMNS.items() for word in words[:-1]}
COMPARISONS = {word: operator for operator in "><" for word in OPERATORS[operator]}
CALLS = {name: f'<tool_call>\n{{"name": "{name}", "arguments": {{"sql": "' for name in ("query", "submit")}
CALL_END = '"}}\n</tool_call>'
# Shares of the base model's documents with the hint, and of those that follow it
SHOWN, FOLLOWED = 0.6, 0.9
# (steps, rows, no limit of tokens) of the base model's training
PHASES = ((400, 16, None),)

CONFIG = {
    **key_and_door.CONFIG,
    "initial_steps": 100,
    "step_growth": 1.2,
    "max_tool_calling_iterations": 3,
    "max_completion_length": 120,
}


def look_up(column: str, city: str) -> str:
    """Returns the query for a value of a city."""
    return f"SELECT {column} FROM city WHERE name = '{city}'"


def compare(column: str, operator: str, value: str) -> str:
    """Returns the query for the cities with more or less than a value."""
    return f"SELECT name FROM city WHERE {column} {operator} {value}"


def database_in(folder: Path) -> str:
    """Returns the database in a folder, which is made if it is not there."""
    path = folder / "city.sqlite"
    if not path.exists():
        Path(make_database(path.with_suffix(".partial"))).replace(path)  # a database that is not complete is not used
    return str(path)


def make_problems(seed: int, count: int, database: str) -> list[dict[str, Any]]:
    """Makes different problems on the table of `synthetic_sql.py`, each with a result."""
    rng = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        row = make_problem(rng, database)
        question = row["prompt"][0]["content"]
        if question not in found and run_sql(row["answer"], database):
            found[question] = row
    return list(found.values())


def make_problem(rng: random.Random, database: str) -> dict[str, Any]:
    """Makes a problem."""
    comparison, word, city = rng.choice(list(COMPARISONS)), rng.choice(list(WORDS)), f"c{rng.randrange(NUM_CITIES)}"
    question = f"which cities are {comparison} {city} in {word}"
    answer = compare(WORDS[word], COMPARISONS[comparison], f"({look_up(WORDS[word], city)})")
    return {"prompt": [{"role": "user", "content": question}], "answer": answer, "database": database}


def make_document(rng: random.Random, prompt: str) -> Iterator[Piece]:
    """Yields a made-up conversation behind a prompt, for the base model. It is trained on its own turns."""
    question = make_problem(rng, "")["prompt"][0]["content"]
    city, column, operator = question.split()[4], rng.choice(list(COLUMNS)), rng.choice("><")
    hint = ""
    if rng.random() < SHOWN:
        hint = SqlConsole().reset(compare(column, operator, f"({look_up(column, city)})"), "", hint=True) or ""
        if rng.random() >= FOLLOWED:
            column, operator = rng.choice(list(COLUMNS)), rng.choice("><")
    yield prompt.replace("QUESTION", question + hint), False
    value = str(rng.choice(NUMBERS))
    yield f"{CALLS['query']}{look_up(column, city)}{CALL_END}{EOS}", True
    yield f"{RESULT[0]}{value}{RESULT[1]}", False
    yield f"{CALLS['submit']}{compare(column, operator, value)}{CALL_END}{EOS}", True
    yield f"{RESULT[0]}Submitted.{RESULT[1]}", False
    yield f"Done.{EOS}", True


def tools() -> list:
    """Returns what the chat template shows of the console."""
    return [SqlConsole().query, SqlConsole().submit]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Builds a tokenizer with one token for each part of a query and each word, name and number."""
    names = [f"c{number}" for number in reversed(range(NUM_CITIES))]  # `c17` before `c1`
    return base_model.build_chat_tokenizer(
        tools(),
        [
            *("user\n<tool_response>\n", "\n</tool_response>", "user\n", "assistant\n", *CALLS.values(), CALL_END),
            *("Submitted.", "Done.", " The query is: ", "which cities are ", " in "),
            *("SELECT name FROM city WHERE ", "SELECT ", " FROM city WHERE name = '"),
            *COLUMNS,
            *WORDS,
            *COMPARISONS,
            *names,
            *map(str, reversed(NUMBERS)),  # `340` before `40`
        ],
    )


def make_base_model(path: Path, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless it exists there."""
    tokenizer = build_tokenizer()
    messages = [{"role": "user", "content": "QUESTION"}]
    template: dict[str, Any] = {"tools": tools(), "tokenize": False, "add_generation_prompt": True}
    prompt = str(tokenizer.apply_chat_template(messages, **template))

    def write_row(rng: random.Random) -> Iterator[Piece]:
        return make_document(rng, prompt)

    rng, shape = random.Random("base model"), {"num_heads": 2, "num_layers": 2, "initializer_range": 0.1}
    return base_model.make_base_model(path, tokenizer, write_row, phases, rng, **shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the run, base model and database go.")
    parser.add_argument("--num_iterations", type=int, default=4, help="Outer iterations.")
    parser.add_argument("--problems", type=int, default=400, help="Training problems.")
    args = parser.parse_args()
    model = make_base_model(args.output_dir / "base")
    rows = make_problems(0, args.problems + 200, database_in(args.output_dir))
    config = STaRConfig(**CONFIG, num_iterations=args.num_iterations, output_dir=str(args.output_dir / "run"))
    held_out = Dataset.from_list(rows[:200])
    others: dict[str, Any] = {"eval_dataset": held_out, "environment_factory": SqlConsole}
    key_and_door.run(make_trainer(model, config, Dataset.from_list(rows[200:]), **others))


if __name__ == "__main__":
    main()
