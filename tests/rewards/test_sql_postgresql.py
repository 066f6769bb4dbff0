# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The reward on a PostgreSQL server that the test starts, where PostgreSQL, SQLAlchemy and psycopg are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from star_trl.rewards import run_sql, sql_execution_reward
from star_trl.rewards.sql.sql import _without_password


sqlalchemy = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")


def find_binaries() -> Path | None:
    """Debian keeps the server's programs out of the path."""
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    return Path(found).parent if found else None


BINARIES = find_binaries()


@pytest.fixture(scope="module")
def server():
    """URLs of the owner and of a role that may read, of a server that listens on a socket only."""
    if BINARIES is None:
        pytest.skip("PostgreSQL's `initdb` is not installed")
    as_root = os.geteuid() == 0  # as whom PostgreSQL refuses to run
    user = pwd.getpwnam("nobody") if as_root else None
    how = {"user": user.pw_uid, "group": user.pw_gid} if user else {}
    with tempfile.TemporaryDirectory() as folder:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = Path(folder) / "data"

        def call(*command):
            subprocess.run([BINARIES / command[0], *command[1:]], check=True, capture_output=True, cwd=folder, **how)

        call("initdb", "-D", data, "-U", "owner", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c fsync=off -c unix_socket_directories={folder}"
        call("pg_ctl", "-D", data, "-l", Path(folder) / "log", "-w", "-o", options, "start")
        try:
            url = f"postgresql+psycopg://{{}}@/postgres?host={folder}"
            engine = sqlalchemy.create_engine(url.format("owner"))
            with engine.begin() as connection:
                for statement in SETUP:
                    connection.exec_driver_sql(statement)
            engine.dispose()
            yield url.format("owner"), url.format("reader")
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")


SETUP = [
    "CREATE TABLE state (name TEXT, area NUMERIC, density FLOAT, founded DATE, big BOOL, flag BYTEA)",
    "INSERT INTO state VALUES ('ohio', 41, 2.5, '1803-03-01', true, '\\x00ff')",
    "INSERT INTO state VALUES ('utah', 82.5, 'NaN', NULL, false, NULL)",
    "CREATE SEQUENCE counter",
    # What docs/text_to_sql.md tells the user to do.
    "CREATE ROLE reader LOGIN",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
]


@pytest.fixture(params=["owner", "reader"])
def database(request, server):
    return server[request.param == "reader"]


@pytest.mark.parametrize(
    ("right", "predicted", "reward"),
    [
        ("SELECT name, area FROM state", "SELECT area, name FROM state ORDER BY 1 DESC", 1.0),
        ("SELECT name FROM state ORDER BY name", "SELECT name FROM state ORDER BY name DESC", 0.0),
        ("SELECT name FROM state", "SELECT name FROM state LIMIT 1", 0.0),
        ("SELECT name FROM state WHERE name LIKE 'o%'", "SELECT 'ohio';", 1.0),
        ("SELECT area FROM state", "SELECT area::float FROM state", 1.0),
        ("SELECT founded, big FROM state", "SELECT founded::text, big FROM state", 1.0),
        ("SELECT density FROM state", "SELECT density FROM state WHERE density > 0", 1.0),  # with a NaN
        ("SELECT flag FROM state", "SELECT flag FROM state", 1.0),
        ("SELECT 1 WHERE 'a:b' = 'a:b'", "SELECT 1", 1.0),
        ("SELECT name FROM state", "SELECT nowhere FROM state", 0.0),
    ],
)
def test_results(database, right, predicted, reward):
    assert sql_execution_reward([f"SQL: {predicted}"], [right], database) == [reward]


HOSTILE = [
    "DELETE FROM state",
    "WITH gone AS (DELETE FROM state RETURNING name) SELECT name FROM gone",
    "SELECT 1; DELETE FROM state",
    "SELECT 1; COMMIT; DELETE FROM state",
    "COMMIT; DROP TABLE state",
    "ROLLBACK; DROP TABLE state;",
    "DROP TABLE state",
    "CREATE TABLE x (y INT)",
    "CREATE TEMP TABLE x (y INT)",
    "SELECT * INTO x FROM state",
    "SELECT nextval('counter')",
    "SELECT setval('counter', 100)",
    "SELECT name FROM state FOR UPDATE",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('statement_timeout', '0', false)",
    "SET TRANSACTION READ WRITE",
    "SET statement_timeout = 0",
    "BEGIN",
    "COMMIT",
    "END",
    "DO $$ BEGIN DELETE FROM state; END $$",
    "COPY state TO '/tmp/stolen'",
    "COPY (SELECT 1) TO PROGRAM 'touch stolen'",
    "LISTEN x",
    "LOCK TABLE state",
    "VACUUM",
    "EXPLAIN ANALYZE DELETE FROM state",
    "PREPARE x AS DELETE FROM state",
    "DECLARE x CURSOR FOR SELECT 1",
    "SELECT pg_sleep(1000)",
    "SELECT count(*) FROM generate_series(1, 1000000000000) a, generate_series(1, 1000000) b",
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c",
    "SELECT repeat('x', 900000000)",
    "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)",
    "SELECT generate_series(1, 100000000)",
    "SELECT '\x00'",
    "SELECT %s, %(x)s, :x, $1",
    "",
    "-- nothing",
]


def test_no_hostile_query_does_harm(server):
    """Not even with the owner's rights, where only the read-only transaction stands before the table."""
    owner, _ = server
    rows = run_sql("SELECT name, area FROM state", owner)
    for query in HOSTILE:
        start = time.monotonic()
        completion = f"SQL: x\n```sql\n{query}\n```"
        assert sql_execution_reward([completion], ["SELECT 'right', 'so'"], owner, timeout=0.5) == [0.0], query
        assert time.monotonic() - start < 10, query
    assert run_sql("SELECT name, area FROM state", owner) == rows
    assert run_sql("SELECT last_value, is_called FROM counter", owner) == [(1, False)]
    assert run_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", owner) == [(1,)]
    assert run_sql("SELECT current_setting('statement_timeout')", owner, timeout=7) == [("7s",)]


def test_the_role_can_only_read(server):
    _, reader = server
    engine = sqlalchemy.create_engine(reader)
    for statement in ("DELETE FROM state", "INSERT INTO state (name) VALUES ('x')", "CREATE TABLE x (y INT)"):
        with engine.connect() as connection, pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"):
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_errors_say_what_is_wrong(server):
    owner, _ = server
    logged = {}
    reward = partial(sql_execution_reward, database=owner, timeout=0.5, log_extra=logged.__setitem__)
    completions = ["SQL: SELECT nowhere FROM state", "SQL: SELECT pg_sleep(9)", "SQL: DELETE FROM state"]
    assert reward(completions, ["SELECT 1"] * 3) == [0.0] * 3
    unknown, late, write = logged["sql_error"]
    assert 'column "nowhere" does not exist' in unknown and late == "timeout" and "syntax error" in write
    with pytest.raises(ValueError, match="right query .* fails.*nowhere"):
        reward(completions[:1], ["SELECT nowhere FROM state"])


def test_a_server_that_is_away_is_not_the_queries_fault():
    url = "postgresql+psycopg://reader:secret@/postgres?host=/nowhere"
    with pytest.raises(RuntimeError, match=r"reader:\*\*\*@.*cannot be read") as error:
        sql_execution_reward(["SQL: SELECT 1"], ["SELECT 1"], url)
    assert "secret" not in str(error.value)
    assert _without_password("postgresql://reader@host/db") == "postgresql://reader@host/db"
