# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Runs the queries of `sql_execution_reward` in a separate process (`worker.py`). Nothing here writes. Each query has
limits on time, rows and bytes. The process has a limit on memory, and ends if a query gets stuck.
"""

import datetime
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any


MAX_RESULT_BYTES = 8 * 1024**2
HEAP_LIMIT = 128 * 1024**2  # of SQLite, for sorting and temporary tables; there are no temporary files
# Number of SQLite opcodes between two checks of the clock.
OPCODES = 100

# The clock is not checked within a call of a function. `instr` and `replace` take time quadratic in the length of
# their texts, 7 s for a million characters and 0.07 s for 100,000.
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 100_000,  # bytes of a value, and of a row that is sorted
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 20_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 100_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}
# All functions that read nothing but their arguments and the clock, and that give the same result each time.
FUNCTIONS = set(
    """
    abs avg ceil ceiling char coalesce concat concat_ws count cume_dist current_date current_time current_timestamp
    date datetime degrees dense_rank exp first_value floor format glob group_concat hex ifnull if iif instr json
    json_array json_array_length json_extract json_group_array json_group_object json_object json_quote json_type
    json_valid -> ->> julianday lag last_value lead length like likelihood likely ln log log10 log2 lower ltrim max
    median min mod nth_value ntile nullif octet_length percent_rank percentile pi pow power printf quote radians rank
    replace round row_number rtrim sign sqrt strftime string_agg substr substring sum time timediff total trim trunc
    typeof unicode unixepoch unlikely upper acos acosh asin asinh atan atan2 atanh cos cosh sin sinh tan tanh
    """.split()
)
TABLE_FUNCTIONS = {"json_each", "json_tree"}


def load() -> Callable[..., dict]:
    """Sets those limits of the process that no query needs to exceed, and returns the function that runs a query."""
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file can be written
    return run


def run(database: str, query: str, seconds: float, max_rows: int) -> dict[str, Any]:
    """
    Runs a query, and reads its first rows.

    Returns:
        `dict`: `rows`, or `error` with `unreachable`, which is true if the database and not the query was to blame.
    """
    make = _connect_url if "://" in database else _connect_file
    try:
        execute, close = make(database, seconds)
    except Exception as error:
        return {"error": _say(error), "unreachable": True}
    try:
        return {"rows": _take(execute(query), max_rows), "error": None}
    except Exception as error:  # drivers raise more than their own exceptions: NUL characters, lone surrogates, ...
        return {"error": _say(error), "unreachable": getattr(error, "connection_invalidated", False)}
    finally:
        close()


def _say(error: Exception) -> str:
    text = str(getattr(error, "orig", error)).split("\n")[0]
    if text == "interrupted" or "statement timeout" in text:
        return "timeout"
    return f"{type(error).__name__}: {text[:300]}"


def _connect_file(database: str, seconds: float) -> tuple[Callable, Callable]:
    """Returns two functions: one runs a query on a SQLite file, the other closes the file."""
    # `immutable` opens the file without locks and without the files that a reader of a write-ahead log creates beside
    # it.
    connection = sqlite3.connect(f"{Path(database).absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        connection.isolation_level = None
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        for pragma in (f"hard_heap_limit={HEAP_LIMIT}", "temp_store=memory", "query_only=on", "trusted_schema=off"):
            connection.execute(f"PRAGMA {pragma}")
        tables = {name.lower() for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        modules = {name.lower() for (name,) in connection.execute("PRAGMA module_list")}
        if "json_each" in modules:  # their first use creates them, by a statement that `authorize` would refuse
            connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").fetchall()
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
    except BaseException:
        connection.close()
        raise

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_READ and first is not None:
            table = first.lower()
            own = table in tables or table in TABLE_FUNCTIONS or table not in modules
            allowed = own and not table.startswith(("sqlite_", "pragma_"))
        elif action == sqlite3.SQLITE_FUNCTION and second is not None:
            allowed = second.lower() in FUNCTIONS
        else:
            allowed = action in ACTIONS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, OPCODES)

    def execute(query: str) -> Iterable:
        cursor = connection.execute(query)
        if cursor.description is None:
            raise ValueError("the query returns nothing, not even columns")
        return cursor

    return execute, connection.close


_engines: dict[str, Any] = {}


def _connect_url(database: str, seconds: float) -> tuple[Callable, Callable]:
    """
    Returns two functions: one runs a query on PostgreSQL, the other closes the transaction. The connection stays open
    for the next query.
    """
    import sqlalchemy

    if database not in _engines:
        _engines[database] = sqlalchemy.create_engine(database, pool_size=1, pool_pre_ping=True)
    connection = _engines[database].connect()
    try:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(1000 * seconds)}")
    except BaseException:
        connection.close()
        raise

    def execute(query: str) -> Iterable:
        query = query.strip().removesuffix(";")
        if ";" in query:  # the driver would run several statements; the first could end the read-only transaction
            raise ValueError("there is a `;` within the query, which must be a single statement")
        # A server-side cursor accepts only queries and sends rows as they are asked for. `no_parameters` leaves `%` as
        # it is.
        options = {"stream_results": True, "max_row_buffer": 100, "no_parameters": True}
        return connection.exec_driver_sql(query, execution_options=options)

    return execute, connection.close  # closing rolls back


def _take(rows: Iterable, max_rows: int) -> list[list]:
    """Returns the first rows in a form that JSON can hold. Raises if they are too large."""
    taken: list[list] = []
    size = 0
    for row in islice(rows, max_rows):
        taken.append([_plain(value) for value in row])
        size += sum(len(value) if isinstance(value, (str, list)) else 8 for value in taken[-1])
        if size > MAX_RESULT_BYTES:
            raise ValueError(f"more than {MAX_RESULT_BYTES} bytes of rows")
    return taken


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == int(value) else float(value)
    if isinstance(value, float):
        return value if value == value else "NaN"
    if isinstance(value, (bytes, memoryview)):
        return ["blob", bytes(value).hex()]  # a list, so that no text equals it
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
