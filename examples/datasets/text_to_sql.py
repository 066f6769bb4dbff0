# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
Text to SQL on GeoQuery, scored by what the queries return: STaR-SQL. A problem with its hint, the right query, and a
few-shot completion:

    Q: which rivers flow through ohio (SELECT RIVER0.RIVER_NAME FROM RIVER AS RIVER0 WHERE RIVER0.TRAVERSE = 'ohio')
    Tables: border_info(state_name, border); city(...); ...
    A: The rivers are in river, with a row for each state in traverse, which must be ohio.
    SQL: SELECT river_name FROM river WHERE traverse = 'ohio'

```bash
git clone https://github.com/jkkummerfeld/text2sql-data  # data/geography*.json and .sqlite are what is read
python examples/datasets/text_to_sql.py --output_dir runs/geoquery --data_dir text2sql-data/data

# A chat model, all lines of the paper's tables
python examples/datasets/text_to_sql.py --output_dir runs/geoquery-chat --data_dir text2sql-data/data --runs all \
    --model_name_or_path Qwen/Qwen3-0.6B --chat --chat_template_kwargs '{"enable_thinking": false}'
```

The data are those of Zelle and Mooney (1996), in the form of Finegan-Dollar et al. (2018), with their split by
question. Train and dev are trained on, test is held out.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domain import Domain
from paper_runs import main
from star_trl.rewards import extract_sql, run_sql, sql_execution_reward
from star_trl.rewards.text import CompletionLike, completion_text


SPLITS = {"train": ("train", "dev"), "eval": ("test",)}


def load(split: str, data_dir: str | None) -> list[dict]:
    """Loads questions whose query runs and returns rows. The others cannot be checked or told from wrong ones."""
    if data_dir is None:
        raise ValueError("GeoQuery is not on the hub. Give `--data_dir`, with geography.json and geography.sqlite.")
    database = next(iter(sorted(Path(data_dir).glob("geography*.sqlite"))), Path(data_dir) / "geography.sqlite")
    schema = read_schema(str(database))
    rows, failing, empty = [], 0, 0
    for question, queries in read_questions(Path(data_dir), SPLITS[split]):
        results = [(query, result) for query in queries if (result := try_query(query, str(database))) is not None]
        failing, empty = failing + (not results), empty + (bool(results) and not results[0][1])
        if results and results[0][1]:
            rows.append(make_problem(question, results[0][0], schema, str(database)))
    print(
        f"GeoQuery, {split}: {len(rows)} questions, without {failing} whose query fails and {empty} without a result."
    )
    return rows


def read_questions(folder: Path, splits: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yields the questions of a split, each with its queries, of which the first is the usual one."""
    for entry in json.loads((folder / "geography.json").read_text()):
        for sentence in entry["sentences"]:
            if sentence["question-split"] in splits:
                values = sentence["variables"]
                words = (values.get(word, word) for word in sentence["text"].split())
                yield " ".join(words), [fill_in(query, values) for query in entry["sql"]]


def fill_in(query: str, values: dict[str, str]) -> str:
    """
    Turns MySQL's strings in double quotes into SQL strings, inserts the variables' values, and makes `CITYalias0`
    `CITY0`.
    """
    query = re.sub(r"\b([A-Z_]+)alias(\d)", r"\1\2", query.strip(" ;"))
    return re.sub(r'"([^"]*)"', lambda name: "'" + values.get(name[1], name[1]).replace("'", "''") + "'", query)


def try_query(query: str, database: str) -> list[tuple] | None:
    """Returns what a query returns, or `None` if it fails."""
    try:
        return run_sql(query, database)
    except ValueError:
        return None


def read_schema(database: str) -> str:
    """Returns the tables and columns: `border_info(state_name, border); city(...); ...`"""
    connection = sqlite3.connect(f"{Path(database).absolute().as_uri()}?mode=ro", uri=True)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
    columns = [[row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables]
    connection.close()
    return "; ".join(f"{table}({', '.join(names)})" for table, names in zip(tables, columns, strict=True))


def make_problem(question: str, query: str, schema: str, database: str) -> dict:
    """Makes one row."""
    return {
        "prompt": f"Q: {question}\nTables: {schema}\nA:",
        "hinted_prompt": f"Q: {question} ({query})\nTables: {schema}\nA:",
        "answer": query,
        "database": database,
        "direct": f" SQL: {query}",
    }


def exact_query_reward(completions: list[CompletionLike], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 if the query equals the right one, up to white space and case, else 0.0."""
    queries = [extract_sql(completion_text(completion)) for completion in completions]
    return [float(normalize(query or "") == normalize(right)) for query, right in zip(queries, answer, strict=True)]


def normalize(query: str) -> str:
    return " ".join(query.strip(" ;").lower().split())


DOMAIN = Domain(
    name="text_to_sql",
    load=load,
    direct_pattern=r"SQL: .+",
    instruction='Say step by step which tables, columns and rows are needed, and end with a line "SQL: <query>".',
    direct_instruction='Answer with the query alone, as "SQL: <query>".',
    reward_funcs=[sql_execution_reward, exact_query_reward],
    defaults={"max_completion_length": 384},
)

if __name__ == "__main__":
    main(DOMAIN)
