# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Execution accuracy: what counts as the same result, and nothing that a model writes does harm."""

import random
import re
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from star_trl import load_ledger
from star_trl.rewards import extract_sql, run_sql, sql_execution_reward
from star_trl.rewards.sql.results import same_result
from star_trl.rewards.sql.sql import MEMORY_LIMIT, _reference, _worker, has_order
from support.hostile_sql import HOSTILE, REFERENCE, make_database


TIMEOUT = 0.2  # seconds for a query


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "geo with space?.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE state (name TEXT, area REAL, capital TEXT, flag BLOB);
        INSERT INTO state VALUES ('ohio', 41.0, 'columbus', x'00ff'), ('utah', 82.1, 'salt lake city', NULL),
            ('iowa', 56.3, 'des moines', x'01'), ('guam', 41, 'hagåtña', CAST(x'ff' AS TEXT));
        """
    )
    connection.close()
    return str(path)


RESULTS = [
    # right, predicted, reward
    ("SELECT name FROM state", "SELECT name FROM state ORDER BY name", 1.0),
    ("SELECT name FROM state", "SELECT name FROM state;", 1.0),
    ("SELECT name FROM state", "SELECT name FROM state WHERE area > 0 -- all", 1.0),
    ("SELECT name FROM state", "SELECT name FROM state LIMIT 3", 0.0),
    ("SELECT name FROM state", "SELECT name FROM state UNION ALL SELECT 'ohio'", 0.0),
    ("SELECT area FROM state", "SELECT DISTINCT area FROM state", 0.0),  # as often
    ("SELECT name, area FROM state", "SELECT area, name FROM state", 1.0),
    ("SELECT name, area FROM state", "SELECT area FROM state", 0.0),
    ("SELECT name, area FROM state", "SELECT name, area, capital FROM state", 0.0),
    ("SELECT name FROM state ORDER BY area, name", "SELECT name FROM state ORDER BY area, name", 1.0),
    ("SELECT name FROM state ORDER BY area, name", "SELECT name FROM state ORDER BY area DESC", 0.0),
    ("SELECT area, name FROM state ORDER BY name", "SELECT name, area FROM state ORDER BY name", 1.0),
    ("SELECT name FROM (SELECT name FROM state ORDER BY area)", "SELECT name FROM state ORDER BY name", 1.0),
    ("SELECT count(*) FROM state", "SELECT 4.0", 1.0),
    ("SELECT count(*) FROM state", "SELECT '4'", 0.0),
    ("SELECT avg(area) FROM state", "SELECT sum(area) / count(area) FROM state", 1.0),
    ("SELECT 0.1 + 0.2", "SELECT 0.3", 1.0),
    ("SELECT 0.3", "SELECT 0.3000001", 0.0),
    ("SELECT 9007199254740993", "SELECT 9007199254740992", 0.0),
    ("SELECT flag FROM state WHERE name = 'ohio'", "SELECT x'00ff'", 1.0),
    ("SELECT flag FROM state WHERE name = 'ohio'", "SELECT '00ff'", 0.0),
    ("SELECT flag FROM state WHERE name = 'guam'", "SELECT CAST(x'ff' AS TEXT)", 1.0),
    ("SELECT flag FROM state WHERE name = 'guam'", "SELECT CAST(x'fe' AS TEXT)", 0.0),
    ("SELECT flag FROM state WHERE name = 'utah'", "SELECT NULL", 1.0),
    ("SELECT flag FROM state WHERE name = 'utah'", "SELECT ''", 0.0),
    ("SELECT capital FROM state WHERE name = 'guam'", "SELECT 'hagåtña'", 1.0),
    ("SELECT name FROM state WHERE area < 0", "SELECT name FROM state WHERE area < 0", 0.0),  # both empty
    ("SELECT name FROM state", "SELECT name FROM state WHERE area < 0", 0.0),
    ("SELECT name FROM state WHERE area < 0", "SELECT name FROM state", 0.0),
    ("SELECT name FROM state", "SELECT SELECT name FROM state", 0.0),
    ("SELECT value FROM json_each('[1, 2]')", "VALUES (2), (1)", 1.0),
    (None, "SELECT 1", None),
]


@pytest.mark.parametrize(("right", "predicted", "reward"), RESULTS)
def test_results(database, right, predicted, reward):
    assert sql_execution_reward([f"SQL: {predicted}"], [right], [database]) == [reward]


def test_empty_results_match_when_asked_for(database):
    empty, full = "SELECT name FROM state WHERE area < 0", "SELECT name FROM state"
    completions = [f"SQL: {query}" for query in (empty, full, "SELECT 1, 2 WHERE 0")]
    reward = partial(sql_execution_reward, database=database, match_empty=True)
    assert reward(completions, [empty] * 3) == [1.0, 0.0, 1.0]
    assert reward(completions[:1], [full]) == [0.0]


EXTRACTED = [
    ("SQL: SELECT 1", "SELECT 1"),
    ("I look.\nSQL: SELECT 1\nFROM state\n\nThat is all.", "SELECT 1\nFROM state"),
    ("SQL: SELECT 1\nNo.\nSQL: SELECT 2", "SELECT 2"),
    ("**SQL query:** `SELECT 1`", "SELECT 1"),
    ("sql:\n```\nSELECT 1\n```\nDone.", "SELECT 1"),
    ("```sql\nSELECT 1\n```", "SELECT 1"),
    ("```sqlite\nSELECT 1\n```", "SELECT 1"),
    ("```SQL\nSELECT 1;\n\nSELECT 2\n```", "SELECT 1;\n\nSELECT 2"),  # which does not run
    ("```sql\nSELECT 1\n```\nor\n```sql\nSELECT 2\n```\nI think.", "SELECT 2"),
    ("SQL: SELECT 1\n```sql\nSELECT 2\n```", "SELECT 2"),
    ("```sql\nSELECT 2\n```\nSQL: SELECT 1", "SELECT 2"),
    ("```sql\nSELECT 2", "SELECT 2"),
    ("```python\nprint(1)\n```", None),
    ("select 1", "select 1"),
    ("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
    ("The answer is 1.", None),
    ("PostgreSQL: yes", None),
    ("", None),
    ("SQL:", None),
    ("<think>SQL: SELECT 1</think>SQL: SELECT 2", "SELECT 2"),
    ("<think>SQL: SELECT 1", None),
    ("SQL: SELECT 1\nQ: another?\nA: SQL: SELECT 2", "SELECT 1"),
]


@pytest.mark.parametrize(("text", "query"), EXTRACTED)
def test_extraction(text, query):
    assert extract_sql(text) == query


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order\n by a", True),
        ("SELECT a FROM t UNION SELECT b FROM t ORDER BY 1", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a) x ORDER BY b", True),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM t ORDER BY c LIMIT 1)", False),
        ("SELECT 'ORDER BY a' FROM t", False),
        ("SELECT 'it''s) ORDER BY a' FROM t", False),
        ('SELECT "order by" FROM t -- ORDER BY a', False),
        ("SELECT a /* ( */ FROM t /* ORDER BY\n a */ ORDER BY a", True),
        ("SELECT [order by], `(` FROM t", False),
    ],
)
def test_order_counts_at_the_top_level(query, ordered):
    assert has_order(query) == ordered


# Comparison


@pytest.mark.parametrize("columns", [1, 2, 5, 40])
def test_shuffled_columns_and_rows_are_the_same_and_a_changed_cell_is_not(columns):
    rng = random.Random(columns)
    for values in (2, 3, 1000):
        rows = [[rng.randrange(values) for _ in range(columns)] for _ in range(100)]
        order = rng.sample(range(columns), columns)
        shuffled = [[row[column] for column in order] for row in rng.sample(rows, len(rows))]
        assert same_result(rows, shuffled)
        shuffled[0][0] += 1
        assert not same_result(rows, shuffled)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.1 + 0.2, 0.3, True),
        (3e12 * 1.1, 3.3e12, True),
        (1234567890123.0, 1234567890123.0002, True),
        (1234567890123, 1234567890123.0002, True),
        (-1234567890123, -1234567890123.0002, True),
        (1234567890123.0, 1234567890124.0, False),
        (1234567890123, 1234567890124, False),
        (1234567890123, 1234567890124.0, False),
        (12345678901.5, 12345678901.6, False),
        (float("inf"), float("inf"), True),
        (float("inf"), 1e308, False),
    ],
)
def test_numbers(one, other, same):
    assert same_result([[one]], [[other]]) == same_result([[other]], [[one]]) == same


def test_rows_have_to_hold_together():
    """Each column has the same values, and no assignment of columns gives the same rows."""
    assert not same_result([[1, 1], [2, 2]], [[1, 2], [2, 1]])
    assert not same_result([[1, 1, 1], [2, 2, 2]], [[1, 2, 1], [2, 1, 2]])


def test_wide_results_take_bounded_time():
    """Columns that differ by their rows only: permutations of the same values, of which all are tried one by one."""
    rng = random.Random(0)
    for size, width in ((2, 200), (40, 200), (2000, 200)):
        column = list(range(size))
        first, second = (list(zip(*(rng.sample(column, size) for _ in range(width)), strict=True)) for _ in range(2))
        start = time.monotonic()
        same_result(first, second)
        same_result(first, [tuple(reversed(row)) for row in first])
        assert time.monotonic() - start < 20


# Limits


def test_no_hostile_query_does_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    database = make_database(tmp_path)
    before = Path(database).read_bytes()
    queries = [query for queries in HOSTILE.values() for query in queries]
    assert len(queries) > 400
    reward = partial(sql_execution_reward, database=database, timeout=TIMEOUT)
    for _ in range(50):  # a busy machine may not run the right query in time, which then is not remembered
        with suppress(ValueError):
            reward(["no query"], [REFERENCE])
            break
    peak = 0
    start = time.monotonic()
    for query in queries:
        assert reward([f"SQL: x\n```sql\n{query}\n```"], [REFERENCE]) == [0.0], query
        if sys.platform == "linux" and _worker.process is not None:
            status = Path(f"/proc/{_worker.process.pid}/status").read_text()
            peak = max(peak, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024)
    assert time.monotonic() - start < len(queries) * 1.0  # of which most take no time
    assert peak < MEMORY_LIMIT / 2
    assert sql_execution_reward([f"```sql\n{REFERENCE}\n```"], [REFERENCE], database=database) == [1.0]
    assert Path(database).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [Path(database).name]


def test_what_sqlite_does_not_stop_ends_the_process_and_the_next_is_scored(database):
    hangs = "SELECT instr(printf('%.*c', 99999, 'a'), printf('%.*c', 50000, 'a') || 'b')"
    hangs = hangs.replace("SELECT ", "SELECT " + " + ".join([hangs.removeprefix("SELECT ")] * 190) + " + ")
    logged = {}
    rewards = sql_execution_reward(
        ["SQL: SELECT 1", f"SQL: {hangs}", "SQL: SELECT 1"],
        ["SELECT 1"] * 3,
        database,
        timeout=2.0,  # enough to start the next process on a busy machine
        log_extra=logged.__setitem__,
        log_metric=logged.__setitem__,
    )
    assert rewards == [1.0, 0.0, 1.0]
    assert logged == {"sql_error": [None, "timeout", None], "sql/failed": pytest.approx(1 / 3)}


def test_errors_are_logged_and_another_result_is_none(database):
    logged = {}
    completions = ["SQL: SELECT nowhere FROM state", "I do not know.", "SQL: SELECT 1", "SQL: DROP TABLE state"]
    sql_execution_reward(completions, ["SELECT 2"] * 4, database, log_extra=logged.__setitem__)
    first, *others = logged["sql_error"]
    assert first == "OperationalError: no such column: nowhere"
    assert others == ["no query", None, "DatabaseError: not authorized"]


def test_a_database_that_is_open_elsewhere_gets_no_files_beside_it(tmp_path):
    writer = sqlite3.connect(tmp_path / "x.sqlite")
    writer.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1); BEGIN IMMEDIATE;")
    before = {path.name for path in tmp_path.iterdir()}
    assert sql_execution_reward(["SQL: SELECT a FROM t"], ["SELECT 1"], str(tmp_path / "x.sqlite")) == [1.0]
    assert {path.name for path in tmp_path.iterdir()} == before
    writer.close()


def test_threads_get_their_own_results(database):
    rewards = {}

    def score(number):
        completions = [f"SQL: SELECT {value}" for value in (1, 2, 3)] * 20
        rewards[number] = sql_execution_reward(completions, [f"SELECT {number}"] * 60, database)

    threads = [threading.Thread(target=score, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rewards == {1: [1, 0, 0] * 20, 2: [0, 1, 0] * 20, 3: [0, 0, 1] * 20}


# References


def test_a_reference_runs_once(database, monkeypatch):
    asked = []
    ask = _worker.ask
    monkeypatch.setattr(_worker, "ask", lambda **request: asked.append(request["query"]) or ask(**request))
    _reference.cache_clear()
    for _ in range(3):
        assert sql_execution_reward(["SQL: SELECT 3 - 1"] * 4, ["SELECT 2"] * 4, database) == [1.0] * 4
    assert asked.count("SELECT 2") == 1 and asked.count("SELECT 3 - 1") == 12


def test_references_are_not_confused_between_databases(database, tmp_path):
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).executescript("CREATE TABLE state (name); INSERT INTO state VALUES ('peru')").close()
    query = "SELECT count(*) FROM state"
    assert sql_execution_reward(["SQL: SELECT 4"] * 2, [query] * 2, [database, str(other)]) == [1.0, 0.0]


def test_a_missing_database_is_named(tmp_path):
    path = str(tmp_path / "nowhere.sqlite")
    with pytest.raises(FileNotFoundError, match=r"no database '.*nowhere.sqlite' .*`database` is the path"):
        sql_execution_reward(["SQL: SELECT 1"], ["SELECT 1"], path)
    assert not Path(path).exists()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT nowhere FROM state", "no such column: nowhere"),
        ("DELETE FROM state", "not authorized"),
        ("SELECT a.name FROM state a, state b, state c, state d, state e, state f, state g", "more than 10000 rows"),
        ("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i FROM c) SELECT count(*) FROM c", "timeout"),
    ],
)
def test_a_reference_that_fails_is_named(database, query, reason):
    with pytest.raises(ValueError, match=rf"right query .* fails.*{reason}.*Correct it") as error:
        sql_execution_reward(["SQL: SELECT 1"], [query], database, timeout=2.0)
    assert repr(query) in str(error.value)
    with pytest.raises(ValueError, match=reason):
        run_sql(query, database, timeout=2.0)


def test_a_file_that_is_no_database_is_not_the_queries_fault(tmp_path):
    (tmp_path / "x.sqlite").write_text("no database, but long enough to be looked into" * 100)
    with pytest.raises(RuntimeError, match="x.sqlite cannot be read: DatabaseError: file is not a database"):
        sql_execution_reward(["SQL: SELECT 1"], ["SELECT 1"], str(tmp_path / "x.sqlite"))


def test_a_write_ahead_log_is_refused(tmp_path):
    writer = sqlite3.connect(tmp_path / "x.sqlite")
    writer.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (a);")
    with pytest.raises(ValueError, match="write-ahead log"):
        run_sql("SELECT * FROM t", str(tmp_path / "x.sqlite"))
    writer.close()
    assert run_sql("SELECT * FROM t", str(tmp_path / "x.sqlite")) == []


# In a run


def test_a_run_with_a_database_for_all_or_by_row(make_trainer, problems, database):
    problems = problems.remove_columns("answer").add_column("answer", ["SELECT name FROM state"] * len(problems))
    for reward, dataset in (
        (partial(sql_execution_reward, database=database), problems),
        (sql_execution_reward, problems.add_column("database", [database] * len(problems))),
    ):
        trainer = make_trainer(
            lambda prompt: " SQL: SELECT name FROM state" if "1+2" in prompt[-12:] else " SQL: SELECT x",
            reward_funcs=reward,
            train_dataset=dataset,
            overwrite_output_dir=True,
        )
        trainer.sample(1)
        samples = load_ledger(trainer.ledger.output_dir)
        assert {row["problem_id"] for row in samples if row["kept"]} == {0}
        assert all("no such column: x" in str(row["extra"]) for row in samples if not row["kept"])


def test_a_run_ends_where_the_references_fail(make_trainer, problems, database):
    """The answers of these problems, `3` and so on, are no queries."""
    trainer = make_trainer(
        lambda prompt: "SQL: SELECT 1", reward_funcs=partial(sql_execution_reward, database=database)
    )
    with pytest.raises(ValueError, match="right query"):
        trainer.sample(1)


# Other databases


def test_urls_of_other_kinds_and_a_missing_library_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"mysql://...` is not supported: only of PostgreSQL"):
        run_sql("SELECT 1", "mysql://reader:secret@localhost/geo")
    monkeypatch.setattr("star_trl.rewards.sql.sql.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"star-trl\[sql\]"):
        run_sql("SELECT 1", "postgresql://localhost/geo")
