# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A reward for text to SQL, which compares the results of queries."""

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...sandbox.worker import Worker
from ..text import CompletionLike, after_thinking, before_next_question, completion_text
from .results import same_result


# A model wrote the queries. SQLite's own limits do not suffice without a separate process. One call of a function can
# take seconds without looking at the clock. The limit on memory holds for the whole process, in which trackers use
# SQLite as well. A bug in its C code (as CVE-2025-6965, which a SELECT alone reaches) would end the training.
MEMORY_LIMIT = 1024**3  # bytes of address space
GRACE = 1.0  # seconds between SQLite's own time limit and the end of the process

# `SQL: SELECT ...`, `SQL query: ...`, `**SQL:** ...`
_MARKER = re.compile(r"\bSQL(?: (?:query|answer))?[*_]{0,3}:[*_]{0,3}", re.IGNORECASE)
_SQL_FENCE = re.compile(r"(?:sql\w{0,10}|postgres\w{0,10}|mysql)(?=\s)", re.IGNORECASE)
_QUERY = re.compile(r"\s*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
# Text without a clause of its own, parentheses, and the clause that orders the rows of a query. What does not end
# goes on to the end of the query, so that no part of it is searched twice.
_ORDER = re.compile(
    r"'[^']*'?|\"[^\"]*\"?|`[^`]*`?|\[[^\]]*\]?|--[^\n]*|/\*(?:.*?\*/|.*)"
    r"|(?P<open>\()|(?P<close>\))|\b(?P<order>ORDER\s++BY)\b",
    re.IGNORECASE | re.DOTALL,
)

_worker = Worker(Path(__file__).with_name("worker.py"), MEMORY_LIMIT)


def sql_execution_reward(
    completions: list[CompletionLike],
    answer: list[str | None],
    database: list[str] | str,
    log_extra: Callable[[str, list], None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    timeout: float = 5.0,
    max_rows: int = 10_000,
    match_empty: bool = False,
    **kwargs: Any,
) -> list[float | None]:
    r"""
    1.0 if the query of a completion returns what the right query returns (execution accuracy), else 0.0. Both must
    return the same rows, each equally often, in any order of the columns. The order of the rows counts if the right
    query has an `ORDER BY` of its own, outside of its subqueries.

    The query is the last block between ` ```sql ` and ` ``` `. Without such a block, it is the text after the last
    `SQL:`, up to a blank line, or else the whole completion if it starts as a query does. See [`extract_sql`].

    Queries run read-only, in a separate process, with limits on time, memory, rows and functions, which
    `docs/text_to_sql.md` lists. A query that fails gets 0.0. The ledger holds the reason (`sql_error`), and the metric
    `sql/failed` the share of such queries. It needs Linux or macOS.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Completions to score, as text or as messages. Text before `</think>` does not count.
        answer (`list[str | None]`):
            The right queries. `None` means that the function does not apply.
        database (`list[str]` or `str`):
            Database of each completion, or one for all of them (`functools.partial(sql_execution_reward,
            database="geo.sqlite")`). Either the path of a SQLite database that is not written to meanwhile, or the
            SQLAlchemy URL of a PostgreSQL database (`"postgresql+psycopg://reader@localhost/geo"`) with a role that
            may only `SELECT`.
        log_extra (`Callable`, *optional*):
            Given by the trainer.
        log_metric (`Callable`, *optional*):
            Given by the trainer.
        timeout (`float`, *optional*, defaults to `5.0`):
            Seconds for one query.
        max_rows (`int`, *optional*, defaults to `10000`):
            Maximum number of rows of a right query. Of other queries, at most one row more than the right one has is
            read.
        match_empty (`bool`, *optional*, defaults to `False`):
            Whether a query without rows is right if the right one has none. Many wrong queries return no rows, too.
        **kwargs:
            Other columns, not used.

    Returns:
        `list[float | None]`: One reward per completion.

    Raises:
        `FileNotFoundError`: If there is no such database.
        `ValueError`: If a right query does not run, or returns too much.
        `RuntimeError`: If a database can no longer be opened or reached.
        `ImportError`: If a URL is given and SQLAlchemy is not installed.

    Example:
    ```python
    >>> import sqlite3, tempfile
    >>> from star_trl.rewards import sql_execution_reward

    >>> path = tempfile.mkdtemp() + "/geo.sqlite"
    >>> with sqlite3.connect(path) as connection:
    ...     _ = connection.executescript("CREATE TABLE state (name, area); INSERT INTO state VALUES ('ohio', 41)")
    >>> completions = ["The area is in state.\nSQL: SELECT name, area FROM state", "SQL: SELECT name FROM state"]
    >>> sql_execution_reward(completions, answer=["SELECT area, name FROM state"] * 2, database=path)
    [1.0, 0.0]
    ```
    """
    databases = [database] * len(completions) if isinstance(database, str) else database
    rewards: list[float | None] = []
    errors: list[str | None] = []
    for completion, right, where in zip(completions, answer, databases, strict=True):
        reward, error = None, None
        if right is not None:
            expected = _reference(right, where, timeout, max_rows)
            reward, error = 0.0, "no query"
            query = extract_sql(completion_text(completion))
            if query is not None:
                # One row more than the right query has is enough to see that a query is wrong.
                rows, error = _run(query, where, timeout, len(expected) + 1)
                if rows is not None and (expected or match_empty):
                    reward = float(same_result(expected, rows, has_order(right)))
        rewards.append(reward)
        errors.append(error)
    if log_extra is not None:
        log_extra("sql_error", errors)
    if log_metric is not None and errors:
        log_metric("sql/failed", sum(error is not None for error in errors) / len(errors))
    return rewards


def extract_sql(text: str) -> str | None:
    r"""
    Returns the query that [`sql_execution_reward`] takes as the answer of a text.

    Args:
        text (`str`):
            Text of a completion.

    Returns:
        `str` or `None`: The query; `None` if there is none.

    Example:
    ```python
    >>> from star_trl.rewards import extract_sql

    >>> extract_sql("The area is in state.\nSQL: SELECT area FROM state\n\nThat is all.")
    'SELECT area FROM state'
    >>> fence = "`" * 3
    >>> extract_sql(f"{fence}sql\nSELECT 1\n{fence}\nNo, that is wrong.\n{fence}sql\nSELECT 2\n{fence}")
    'SELECT 2'
    ```
    """
    text = before_next_question(after_thinking(text))
    fenced = [block for block in text.split("```")[1::2] if _SQL_FENCE.match(block)]
    *_, marked = _MARKER.split(text)
    if fenced:
        query = _SQL_FENCE.sub("", fenced[-1], count=1)
    elif marked != text:
        marked = marked.strip()
        block = marked.split("```")[1] if marked.startswith("```") else marked.strip("`")
        query = _BLANK_LINE.split(block.strip(), maxsplit=1)[0]
    else:
        query = text if _QUERY.match(text) else ""
    return query.strip() or None


def run_sql(query: str, database: str, timeout: float = 5.0, max_rows: int = 10_000) -> list[tuple]:
    """
    Runs a query as [`sql_execution_reward`] does. Use it, for example, to check the right queries of a dataset before
    training.

    Args:
        query (`str`):
            One query.
        database (`str`):
            Path of a SQLite database, or the SQLAlchemy URL of a PostgreSQL database.
        timeout (`float`, *optional*, defaults to `5.0`):
            Seconds.
        max_rows (`int`, *optional*, defaults to `10000`):
            Maximum number of rows.

    Returns:
        `list[tuple]`: The rows. Bytes are tuples of `"blob"` and their hexadecimal digits.

    Raises:
        `FileNotFoundError`: If there is no such database.
        `ValueError`: If the query does not run, or returns too much.
        `RuntimeError`: If the database cannot be opened or reached.
        `ImportError`: If a URL is given and SQLAlchemy is not installed.

    Example:
    ```python
    >>> import sqlite3, tempfile
    >>> from star_trl.rewards import run_sql

    >>> path = tempfile.mkdtemp() + "/empty.sqlite"
    >>> sqlite3.connect(path).close()
    >>> run_sql("SELECT 1, 'one'", path)
    [(1, 'one')]
    ```
    """
    _check_database(database)
    rows, error = _run(query, database, timeout, max_rows + 1)
    if rows is None or len(rows) > max_rows:
        raise ValueError(
            f"A query does not run on {_without_password(database)}: {error or f'more than {max_rows} rows'}. It is: "
            f"{query!r}. Correct it, or leave its row out; one that takes or returns much may need more than "
            f"`timeout={timeout}` and `max_rows={max_rows}`."
        )
    return _as_tuples(rows)


def first_sql_rows(query: str, database: str, num_rows: int, timeout: float = 5.0) -> list[tuple]:
    """
    Returns the first rows of a query that a model wrote. It runs as in [`sql_execution_reward`]. Use it in an
    environment whose model may query a database.

    Args:
        query (`str`):
            One query.
        database (`str`):
            Database, as in [`run_sql`].
        num_rows (`int`):
            Maximum number of rows. Further rows are not read.
        timeout (`float`, *optional*, defaults to `5.0`):
            Seconds.

    Returns:
        `list[tuple]`: The rows. Bytes are tuples of `"blob"` and their hexadecimal digits. Text that is no UTF-8 has
        lone surrogates, which tokenizers refuse: `text.encode(errors="replace").decode()`.

    Raises:
        `FileNotFoundError`: If there is no such database.
        `ValueError`: If the query does not run, with the database's message or the limit that it reached, or if
            `database` is not as in [`run_sql`].
        `RuntimeError`: If the database cannot be opened or reached.
        `ImportError`: If a URL is given and SQLAlchemy is not installed.

    Example:
    ```python
    >>> import sqlite3, tempfile
    >>> from star_trl.rewards import first_sql_rows

    >>> path = tempfile.mkdtemp() + "/empty.sqlite"
    >>> sqlite3.connect(path).close()
    >>> first_sql_rows("SELECT 1 UNION SELECT 2", path, num_rows=1)
    [(1,)]
    ```
    """
    _check_database(database)
    rows, error = _run(query, database, timeout, num_rows)
    if rows is None:
        raise ValueError(error)
    return _as_tuples(rows)


def has_order(query: str) -> bool:
    """
    Returns whether a query orders its rows itself, with an `ORDER BY` outside of parentheses, strings and comments.

    Example:
    ```python
    >>> from star_trl.rewards.sql.sql import has_order

    >>> has_order("SELECT a FROM t ORDER BY b"), has_order("SELECT a FROM (SELECT a FROM t ORDER BY b)")
    (True, False)
    ```
    """
    depth = 0
    for match in _ORDER.finditer(query):
        depth += (match["open"] is not None) - (match["close"] is not None)
        if match["order"] and depth == 0:
            return True
    return False


# A problem's completions come one after the other, and again in every iteration. Errors are not cached.
@lru_cache(maxsize=16_384)
def _reference(query: str, database: str, timeout: float, max_rows: int) -> list[tuple]:
    try:
        return run_sql(query, database, timeout, max_rows)
    except ValueError as error:
        raise ValueError(f"The right query (`answer`) of a problem fails. {error}") from None


def _check_database(database: str) -> None:
    if "://" in database:
        if not database.startswith("postgresql"):
            raise ValueError(
                f"`database={database.partition('://')[0]}://...` is not supported: only of PostgreSQL it is known "
                "how to make a transaction read-only and limit its time. Give the path of a SQLite file as it is, "
                "without `sqlite://`."
            )
        if find_spec("sqlalchemy") is None:
            raise ImportError("A database that is no SQLite file needs SQLAlchemy: pip install 'star-trl[sql]'")
    elif not Path(database).is_file():
        raise FileNotFoundError(
            f"There is no database {database!r} (seen from {Path.cwd()}). The column or argument `database` is the "
            "path of a SQLite file or the URL of a PostgreSQL database."
        )
    elif (log := Path(f"{database}-wal")).exists() and log.stat().st_size:
        raise ValueError(
            f"{database} has a write-ahead log ({log}) that is not part of it yet, and would not be seen. Run "
            f"`sqlite3 {database} 'PRAGMA journal_mode=DELETE'` first, and do not write to it while training."
        )


def _as_tuples(rows: list[list]) -> list[tuple]:
    return [tuple(tuple(value) if isinstance(value, list) else value for value in row) for row in rows]


def _run(query: str, database: str, timeout: float, max_rows: int) -> tuple[list[list] | None, str | None]:
    """Returns the rows, or the error."""
    reply = _worker.ask(database=database, query=query, seconds=timeout, max_rows=max_rows, timeout=timeout + GRACE)
    if reply.get("unreachable"):
        raise RuntimeError(f"The database {_without_password(database)} cannot be read: {reply['error']}")
    return reply.get("rows"), reply["error"]


def _without_password(database: str) -> str:
    return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:***@", database)
