# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
r"""
Text to SQL small enough for a model of half a million parameters on one core: questions over one table, with a
rationale that says which column and which operator each word stands for.

    Q: which cities with altitude beyond 340 and outside peru
    A: altitude is height and beyond is > , so height > 340 . outside is != , so country != 'peru' .
    SQL: SELECT name FROM city WHERE height > 340 AND country != 'peru'

A hint puts the right query in parentheses after the question. The base model is made on the spot, from documents of
the same form. Their columns and operators are drawn at random, and most of them have the made-up query as a hint. The
model therefore knows the form, takes the values from the question, and follows a hint. It was never told which word
stands for which column. The reward is what the query returns from a SQLite database.

```bash
python examples/from_scratch/synthetic_sql.py                             # both runs, seed 0
python examples/from_scratch/synthetic_sql.py --runs star --seeds 0 1 --results sql.json
```

Merges accuracy by iteration into the results. Half of the held-out questions have one condition and half two, as in
training. `longer` is the accuracy on three conditions, and `unseen_words` that on words that no training question has,
both after the last iteration.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

import base_model
import runs
from base_model import Piece
from star_trl import STaRConfig, STaRTrainer, load_history, load_ledger
from star_trl.rewards import run_sql, sql_execution_reward


sys.path.append(str(Path(__file__).parents[1] / "datasets"))
from text_to_sql import exact_query_reward  # noqa: E402


RESULTS = runs.RESULTS / "synthetic_sql.json"
RUNS = ("star", "without_rationalization")

# Meaning of the words of a question. No training question has the last word of a column.
COLUMNS = {
    "population": ["people", "inhabitants", "residents", "folk"],
    "area": ["surface", "ground", "land", "extent"],
    "height": ["altitude", "elevation", "level", "summit"],
    "year": ["founding", "birth", "origin", "beginning"],
    "rain": ["showers", "wetness", "storms", "drizzle"],
}
OPERATORS = {">": ["over", "above", "beyond"], "<": ["under", "below", "beneath"], "=": ["exactly", "being"]}
PLACES = {"=": "in", "!=": "outside"}
COUNTRIES = ("peru", "chad", "iran", "cuba", "laos", "fiji")
NUMBERS = range(20, 1000, 20)
KINDS = ("how many cities", "which cities", "what is the largest", "list the")
NUM_CITIES = 80

FRAME = "Q: A: SQL: is and so , . ( ) * ' SELECT COUNT MAX name FROM city WHERE AND country > < = != of cities with"
PHASES = ((500, 16, 160),)  # steps, rows, tokens in a row
HINT_SHARE = 0.7
CONFIG = {
    **runs.SETTINGS,
    "num_iterations": 3,
    "initial_steps": 200,
    "step_growth": 1.2,
    "max_completion_length": 90,
    "eval_group_column": "conditions",
    "generation_batch_size": 250,
    "reward_threshold": [1.0, None],  # what the query returns decides; whether it is the right one is reported
    "reward_weights": [1.0, 0.0],
    "save_strategy": "no",
    "disable_tqdm": True,
}
# Metrics of an iteration that the results hold
WANTED = (
    *("iteration", "eval_accuracy", "train_data_used", "kept_right_query", "longer", "unseen", "seconds"),
    *("rationale/solved", "rationalization/solved", "rationalization/yield"),
)


def make_database(path: Path) -> str:
    """Makes a table of cities with made-up values."""
    rng = random.Random(0)
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE city (name TEXT, country TEXT, {', '.join(f'{name} INT' for name in COLUMNS)})")
    for number in range(NUM_CITIES):
        values = [rng.choice(NUMBERS) for _ in COLUMNS]
        connection.execute(
            f"INSERT INTO city VALUES (?, ?{', ?' * len(COLUMNS)})", (f"c{number}", rng.choice(COUNTRIES), *values)
        )
    connection.commit()
    connection.close()
    return str(path)


def tokenizer_for_cities() -> PreTrainedTokenizerFast:
    """Builds a tokenizer with one token per word and number."""
    words = [*FRAME.split(), *" ".join(KINDS).split(), *COLUMNS, *sum(COLUMNS.values(), []), *PLACES.values()]
    words += [*sum(OPERATORS.values(), []), *(f"'{country}'" for country in COUNTRIES), *COUNTRIES]
    return base_model.build_word_tokenizer(list(dict.fromkeys([*words, *map(str, NUMBERS), "\n"])))


def make_example(rng: random.Random, conditions: int, made_up: bool = False, unseen: bool = False) -> dict[str, str]:
    """
    Makes a question, and the completion that answers it.

    Args:
        rng (`random.Random`):
            Source of randomness.
        conditions (`int`):
            Number of conditions.
        made_up (`bool`, *optional*, defaults to `False`):
            Whether words stand for columns and operators at random.
        unseen (`bool`, *optional*, defaults to `False`):
            Whether to use the words that no training question has.
    """

    def column() -> tuple[str, str]:
        right = rng.choice(list(COLUMNS))
        word = COLUMNS[right][-1] if unseen else rng.choice(COLUMNS[right][:-1])
        return word, rng.choice(list(COLUMNS)) if made_up else right

    kind = rng.choice(KINDS)
    question, steps, clauses = kind, [], []
    target = "COUNT ( * )" if kind == KINDS[0] else "name"
    if kind in KINDS[2:]:
        word, name = column()
        question += f" {word} of cities"
        steps.append(f"{word} is {name} .")
        target = f"MAX ( {name} )" if kind == KINDS[2] else name
    for number in range(conditions):
        question += " with" if number == 0 else " and"
        if rng.random() < 0.25:
            operator, country = rng.choice(list(PLACES)), rng.choice(COUNTRIES)
            place = PLACES[operator]
            operator = rng.choice(list(PLACES)) if made_up else operator
            question += f" {place} {country}"
            clauses.append(f"country {operator} '{country}'")
            steps.append(f"{place} is {operator} , so {clauses[-1]} .")
        else:
            word, name = column()
            operator = rng.choice(list(OPERATORS))
            comparison, value = rng.choice(OPERATORS[operator]), rng.choice(NUMBERS)
            operator = rng.choice(list(OPERATORS)) if made_up else operator
            question += f" {word} {comparison} {value}"
            clauses.append(f"{name} {operator} {value}")
            steps.append(f"{word} is {name} and {comparison} is {operator} , so {clauses[-1]} .")
    query = f"SELECT {target} FROM city WHERE {' AND '.join(clauses)}"
    return {
        "prompt": f"Q: {question}\nA:",
        "hinted_prompt": f"Q: {question} ( {query} )\nA:",
        "completion": f" {' '.join(steps)}\nSQL: {query}",
        "answer": query,
        "conditions": str(conditions),
    }


def write_row(rng: random.Random) -> Iterator[Piece]:
    """Yields endless made-up examples for the base model: all of them with a hint, or none."""
    column = "hinted_prompt" if rng.random() < HINT_SHARE else "prompt"
    while True:
        example = make_example(rng, rng.choice((1, 2)), made_up=True, unseen=rng.random() < 0.1)
        yield example[column], False
        yield example["completion"] + "\n\n", True


def make_base_model(path: Path, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless it exists there."""
    return base_model.make_base_model(path, tokenizer_for_cities(), write_row, phases, random.Random(0))


def make_problems(
    rng: random.Random, count: int, conditions: tuple[int, ...], database: str, known: set[str], unseen: bool = False
) -> Dataset:
    """Makes different problems that are not `known` and whose queries return rows. They are added to `known`."""
    rows = []
    while len(rows) < count:
        row = make_example(rng, rng.choice(conditions), unseen=unseen)
        if row["prompt"] not in known and run_sql(row["answer"], database) not in ([], [(0,)], [(None,)]):
            known.add(row["prompt"])
            del row["completion"]  # the trainer does not need it
            rows.append({**row, "database": database})
    return Dataset.from_list(rows)


def run(
    name: str, seed: int, model: Path, folder: Path, num_problems: int = 1000, num_held_out: int = 200, **changes
) -> list[dict[str, float]]:
    """Does one of `RUNS`. Returns one row for each iteration, of which the first is the base model's."""
    database = make_database(folder / "city.sqlite")
    rng, known = random.Random(seed), set()
    train_dataset = make_problems(rng, num_problems, (1, 2), database, known)
    held_out = {
        "eval": make_problems(rng, num_held_out, (1, 2), database, known),
        "longer": make_problems(rng, num_held_out, (3,), database, known),
        "unseen_words": make_problems(rng, num_held_out, (1, 2), database, known, unseen=True),
    }
    trainer = STaRTrainer(
        model=str(model),
        args=STaRConfig(**{**CONFIG, **changes}, output_dir=str(folder / "out"), seed=seed),
        reward_funcs=[sql_execution_reward, exact_query_reward],
        samplers=runs.SamplerArguments(rationalization=name == "star").make_samplers(),
        train_dataset=train_dataset,
        eval_dataset=held_out["eval"],
    )
    trainer.train()
    rows = load_history(folder / "out")
    right: dict[int, list[float]] = {}  # for the kept samples, by iteration: whether the query is the right one
    for sample in load_ledger(str(folder / "out")):
        if sample["kept"]:
            rewards = {reward["name"]: reward["value"] for reward in sample["rewards"]}
            right.setdefault(sample["iteration"], []).append(rewards["exact_query_reward"])
    for row in rows[1:]:
        row["kept_right_query"] = mean(right[row["iteration"]])
    for other in ("longer", "unseen_words"):
        rows[-1][other] = trainer.evaluate(held_out[other], metric_key_prefix=other)[f"{other}_accuracy"]
    return [runs.starting_with(WANTED, row) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS, help="What to run.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds of problems and training.")
    parser.add_argument("--base_model", type=Path, default=Path("runs/sql-base"), help="Made where it is not.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="Where the results are merged into.")
    args = parser.parse_args()
    model = make_base_model(args.base_model)
    for name in args.runs:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as folder:
                rows = run(name, seed, model, Path(folder))
            runs.merge_results(args.results, name, {f"seed {seed}": rows})
            print(f"{name}, seed {seed}: {[round(row['eval_accuracy'], 3) for row in rows]}", flush=True)


if __name__ == "__main__":
    main()
