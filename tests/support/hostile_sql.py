# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Queries that a model should not write, by class. `python tests/support/hostile_sql.py` prints the table of
`docs/text_to_sql.md`: what stops each class, and how long the longest took.
"""

import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from star_trl.rewards import sql_execution_reward
from star_trl.rewards.sql.sql import GRACE


def counted(condition="", start="1", step="i + 1"):
    return f"WITH RECURSIVE c(i) AS (SELECT {start} UNION ALL SELECT {step} FROM c {condition})"


def text(length, letter="a"):
    return f"printf('%.*c', {length}, '{letter}')"


TABLES = ("state", "city", "other")
FILE = "stolen.db"  # no query may make it

HOSTILE: dict[str, list[str]] = {
    "writes": [
        *(f"DELETE FROM {table}" for table in TABLES),
        *(f"DROP TABLE {table}" for table in TABLES),
        *(f"UPDATE {table} SET name = 'x'" for table in TABLES),
        *(f"INSERT INTO {table} SELECT * FROM {table}" for table in TABLES),
        *(f"{verb} INTO state VALUES ('x', 1, 'y')" for verb in ("INSERT", "REPLACE", "INSERT OR IGNORE")),
        *(f"ALTER TABLE state {what}" for what in ("RENAME TO x", "ADD COLUMN x", "DROP COLUMN name")),
        "INSERT INTO state(name) VALUES ('x') RETURNING name",
        "DELETE FROM state RETURNING name",
        "UPDATE state SET name = 'x' RETURNING *",
        "INSERT INTO state VALUES ('ohio', 1, 'x') ON CONFLICT DO UPDATE SET name = 'x'",
        "DELETE FROM state ORDER BY name LIMIT 1",
        "CREATE TABLE x AS SELECT * FROM state",
        "CREATE TABLE x (y)",
        "CREATE INDEX x ON state(name)",
        "CREATE UNIQUE INDEX x ON state(name)",
        "CREATE VIEW x AS SELECT 1",
        "DROP VIEW big",
        "DROP INDEX by_name",
        "REINDEX",
        "REINDEX state",
        "ANALYZE",
        "ANALYZE state",
        "VACUUM",
    ],
    "writes in a CTE": [
        "WITH x AS (SELECT 'ohio' AS n) DELETE FROM state WHERE name IN (SELECT n FROM x)",
        "WITH x AS (SELECT 1) INSERT INTO state SELECT 'x', 1, 'y'",
        "WITH x AS (SELECT 1) UPDATE state SET name = 'x'",
        "WITH x AS (SELECT 1) REPLACE INTO state SELECT 'x', 1, 'y'",
        "WITH x AS (DELETE FROM state RETURNING *) SELECT * FROM x",
        "WITH x AS (INSERT INTO state VALUES ('x', 1, 'y') RETURNING *) SELECT * FROM x",
        "WITH x AS (UPDATE state SET name = 'x' RETURNING name) SELECT name FROM x",
        "SELECT * FROM (DELETE FROM state RETURNING name)",
    ],
    "triggers and temporary tables": [
        "CREATE TRIGGER x AFTER INSERT ON state BEGIN DELETE FROM state; END",
        "CREATE TEMP TRIGGER x BEFORE UPDATE ON state BEGIN SELECT 1; END",
        "CREATE TRIGGER x INSTEAD OF INSERT ON big BEGIN DELETE FROM state; END",
        "CREATE TEMP TABLE x (y)",
        "CREATE TEMP TABLE x AS SELECT * FROM state",
        "CREATE TEMPORARY VIEW state AS SELECT 'x' AS name",
        "CREATE TABLE temp.state (name)",
        "INSERT INTO temp.sqlite_master VALUES ('table', 'x', 'x', 1, 'CREATE TABLE x (y)')",
        "DROP TRIGGER x",
    ],
    "other files": [
        f"ATTACH '{FILE}' AS x",
        f"ATTACH DATABASE 'file:{FILE}?mode=rwc' AS x",
        f"ATTACH 'file:{FILE}?vfs=unix-none' AS x KEY 'y'",
        "ATTACH ':memory:' AS x",
        "ATTACH '' AS x",
        "ATTACH '/etc/passwd' AS x",
        "ATTACH (SELECT name FROM state) AS x",
        "DETACH main",
        "DETACH temp",
        f"VACUUM INTO '{FILE}'",
        f"VACUUM main INTO '{FILE}'",
        f"VACUUM INTO 'file:{FILE}?mode=rwc'",
        "SELECT readfile('/etc/passwd')",
        f"SELECT writefile('{FILE}', 'x')",
        f"SELECT edit('x', 'touch {FILE}')",
        "SELECT * FROM fsdir('/')",
        "SELECT * FROM csv('/etc/passwd')",
        "SELECT * FROM zipfile('x.zip')",
        "SELECT * FROM main.x, aux.state",
    ],
    "extensions and internals": [
        *(f"SELECT load_extension('{name}')" for name in ("x", "/lib/libc.so.6", "libsqlitefunctions", "")),
        "SELECT load_extension('x', 'sqlite3_init')",
        "SELECT LOAD_EXTENSION(name) FROM state",
        "SELECT fts3_tokenizer('x', x'4141414141414141')",
        "SELECT fts3_tokenizer('simple')",
        "CREATE VIRTUAL TABLE x USING fts3(y)",
        "CREATE VIRTUAL TABLE x USING fts5(y)",
        "CREATE VIRTUAL TABLE x USING rtree(a, b, c)",
        "CREATE VIRTUAL TABLE temp.x USING csv(filename='/etc/passwd')",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_stmt",
        "SELECT * FROM fts5vocab",
        "SELECT * FROM fts3tokenize",
        "SELECT * FROM sqlite_dbpage",
        "SELECT rtreenode(2, x'00')",
        "SELECT rtreecheck('state')",
        "SELECT sqlite_log(1, 'x')",
        "SELECT sqlite_compileoption_get(1)",
        "SELECT sqlite_version()",
        "SELECT sqlite_source_id()",
        "SELECT last_insert_rowid(), changes(), total_changes()",
        "SELECT random()",
        "SELECT name FROM state ORDER BY random()",
    ],
    "the schema": [
        "SELECT * FROM sqlite_master",
        "SELECT sql FROM sqlite_schema",
        "SELECT * FROM main.sqlite_master",
        "SELECT * FROM sqlite_temp_master",
        "SELECT count(*) FROM sqlite_master",
        "SELECT name FROM (SELECT name FROM sqlite_schema)",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE state (x)'",
        "DELETE FROM sqlite_master",
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 1, 'x')",
        "DROP TABLE sqlite_master",
        "SELECT * FROM sqlite_sequence",
        "SELECT * FROM sqlite_stat1",
    ],
    "pragmas": [
        *(
            f"PRAGMA {pragma}"
            for pragma in """
            writable_schema=1 query_only=off journal_mode=WAL journal_mode=DELETE user_version=7 application_id=7
            schema_version=7 synchronous=off temp_store=file temp_store_directory='.' locking_mode=exclusive
            cache_size=-10000000 cache_spill=on mmap_size=1000000000000 hard_heap_limit=0 soft_heap_limit=0
            max_page_count=1 wal_checkpoint incremental_vacuum integrity_check quick_check foreign_keys=on
            trusted_schema=on recursive_triggers=on threads=8 busy_timeout=1000000 encoding='UTF-16' key='x'
            database_list table_info(state) function_list module_list compile_options data_store_directory='.'
            optimize secure_delete=off auto_vacuum=1 page_size=512 shrink_memory analysis_limit=0
            """.split()
        ),
        "SELECT * FROM pragma_table_info('state')",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM pragma_function_list",
        "SELECT * FROM pragma_compile_options",
        "SELECT * FROM pragma_query_only",
        "SELECT * FROM pragma_user_version",
        "SELECT * FROM pragma_integrity_check",
        "SELECT * FROM state, pragma_module_list",
    ],
    "transactions": [
        *("BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT x", "RELEASE x"),
        "ROLLBACK TO x",
    ],
    "several statements": [
        *(f"SELECT 1; {second}" for second in ("DELETE FROM state", "DROP TABLE state", "PRAGMA query_only=off")),
        *(f"SELECT name FROM state; {second}" for second in ("SELECT 1", f"ATTACH '{FILE}' AS x", "VACUUM", "x")),
        "SELECT 1;; SELECT 2",
        "; DELETE FROM state",
        "SELECT 1 /* ; */ ; DELETE FROM state",
        "SELECT ';'; DELETE FROM state",
        "SELECT 1;\nDELETE FROM state;",
        "BEGIN; DELETE FROM state; COMMIT",
        "SELECT 1; -- x\nDELETE FROM state",
        "SELECT 1\x00; DELETE FROM state",
    ],
    "comments": [
        *(
            "--",
            "-- SELECT name FROM state",
            "/* SELECT name FROM state */",
            "/*",
            "/* /* */ */",
            "--\n--\n",
            ";",
            ";;",
        ),
        "/* x */ DELETE /* y */ FROM /* z */ state",
        "SELECT 1 -- \nUNION SELECT 2; DELETE FROM state",
        "-- x\nDELETE FROM state",
        "SELECT/**/1/**/;/**/DELETE/**/FROM/**/state",
        "#!/bin/sh",
    ],
    "recursion without end": [
        f"{counted()} SELECT count(*) FROM c",
        f"{counted()} SELECT i FROM c",
        f"{counted()} SELECT max(i) FROM c",
        f"{counted()} SELECT i FROM c ORDER BY i DESC",
        f"{counted()} SELECT sum(i) OVER (ORDER BY i) FROM c",
        f"{counted()} SELECT i FROM c WHERE i < 0",
        f"{counted()} SELECT DISTINCT i FROM c",
        f"{counted()} SELECT group_concat(i) FROM c",
        f"{counted()} SELECT json_group_array(i) FROM c",
        f"{counted()} SELECT * FROM c a, c b WHERE a.i = -b.i",
        f"{counted()} SELECT i FROM c EXCEPT SELECT i FROM c",
        f"{counted()} SELECT i FROM c LIMIT 1 OFFSET 100000000000",
        f"{counted()} SELECT name FROM state WHERE area IN c",
        f"{counted()} SELECT name FROM state WHERE EXISTS (SELECT 1 FROM c WHERE i = 0)",
        f"{counted(start=text(50_000), step='i')} SELECT count(*) FROM c",
        f"{counted(start=text(50_000), step='i')} SELECT i FROM c",
        f"{counted(start=text(50_000), step='i')} SELECT i FROM c ORDER BY i",
        f"{counted(start=chr(39) * 2, step='i || ' + text(1000))} SELECT max(length(i)) FROM c",
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION SELECT i * 2 % 1000000007 FROM c) SELECT count(*) FROM c",
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i FROM c ORDER BY 1) SELECT 1 FROM c WHERE i = 2",
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT c.i FROM c, state) SELECT count(*) FROM c",
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT a.i FROM c a, c b) SELECT count(*) FROM c",
        "WITH x AS (SELECT * FROM y), y AS (SELECT * FROM x) SELECT * FROM x",
        "WITH x AS (SELECT * FROM x) SELECT * FROM x",
    ],
    "cross joins": [
        *(f"SELECT count(*) FROM {', '.join(f'city c{i}' for i in range(size))}" for size in (5, 8, 16, 40, 64)),
        *(f"SELECT * FROM {', '.join(f'city c{i}' for i in range(size))}" for size in (3, 8, 64, 65, 200)),
        f"SELECT max(c0.population) FROM {' CROSS JOIN '.join(f'city c{i}' for i in range(12))}",
        f"SELECT c0.name FROM {' NATURAL JOIN '.join(f'other c{i}' for i in range(12))} WHERE 0 = c0.name",
        f"SELECT DISTINCT c0.name || c4.name FROM {', '.join(f'city c{i}' for i in range(6))}",
        f"SELECT c0.name FROM {', '.join(f'city c{i}' for i in range(6))} ORDER BY c5.name || c3.name",
        f"SELECT c0.name, count(*) FROM {', '.join(f'city c{i}' for i in range(6))} GROUP BY c0.name, c1.name",
        f"SELECT count(*) FROM {', '.join(f'city c{i}' for i in range(20))} WHERE "
        + " AND ".join(
            f"(c{i}.name = c{j}.state OR c{i}.population = c{j}.population)" for i in range(20) for j in range(i)
        ),
        f"SELECT count(*) FROM {' LEFT JOIN '.join(f'city c{i} ON 1' if i else 'city c0' for i in range(30))}",
        f"SELECT count(*) FROM {' FULL JOIN '.join(f'city c{i} ON 1' if i else 'city c0' for i in range(30))}",
        "SELECT count(*) FROM big a, big b, big c, big d",
        "SELECT (SELECT count(*) FROM city a, city b, city c, city d WHERE a.name > e.name) FROM city e",
    ],
    "huge values": [
        *(f"SELECT zeroblob({size})" for size in (100_001, 10**9, 2**31, 2**63 - 1)),
        *(f"SELECT randomblob({size})" for size in (10, 10**9)),
        *(f"SELECT hex(zeroblob({size}))" for size in (10**5, 10**9)),
        *(f"SELECT printf('%{width}d', 1)" for width in (10**5, 10**8, 2**31 - 1, 2**31, 10**20)),
        *(f"SELECT printf('%.{width}f', 1)" for width in (10**5, 10**8, 2**31 - 1)),
        *(f"SELECT printf('%,{width}d', 1)" for width in (10**8, 2**31 - 1)),
        *(f"SELECT printf('%.*c', {width}, 'x')" for width in (100_001, 10**9, 2**31, -1)),
        "SELECT printf('%*d', 2147483647, 1)",
        "SELECT printf('%*.*f', 2147483647, 2147483647, 1.5)",
        f"SELECT printf('{'%s' * 5000}', 1)",
        f"SELECT {text(99_000)} || {text(99_000)}",
        f"SELECT hex(hex(hex({text(99_000)})))",
        f"SELECT replace({text(90_000)}, 'a', {text(90_000)})",
        f"SELECT quote({text(99_000, chr(39) * 2)})",
        f"SELECT group_concat({text(9_000)}) FROM city a, city b",
        f"SELECT group_concat(a.name, {text(90_000)}) FROM city a",
        f"SELECT upper({text(99_000)}), {', '.join([text(99_000)] * 500)}",
        f"SELECT {', '.join([text(99_000)] * 400)} FROM city a, city b",
        f"SELECT {text(99_000)} FROM city a, city b, city c",
        f"SELECT DISTINCT {text(90_000)} || a.name || b.name FROM city a, city b",
        f"SELECT max({text(90_000)} || a.name || b.name) OVER (PARTITION BY b.name) FROM city a, city b",
        f"SELECT name FROM state WHERE name IN (SELECT {text(90_000)} || a.name || b.name FROM city a, city b)",
        "SELECT 1e999, -1e999, 9223372036854775807 + 1, -9223372036854775808 / -1, abs(-9223372036854775808)",
        f"SELECT 0x{'f' * 17}",
        f"SELECT {'9' * 15_000}",
        f"SELECT x'{'00' * 9_000}'",
        f"SELECT char({', '.join(['1114111'] * 126)})",
        "SELECT substr('a', -9223372036854775808, 9223372036854775807)",
        "SELECT round(1.5, 2147483647), round(1e300, 1000000000)",
        "SELECT exp(1000), power(10, 1000), log(-1), sqrt(-1)",
    ],
    "slow functions": [
        f"SELECT instr({text(99_999)}, {text(50_000)} || 'b')",
        f"SELECT {' + '.join([f'instr({text(99_999)}, {text(50_000)} || 1)'] * 100)}",
        f"SELECT sum(instr({text(99_999)}, {text(50_000)} || a.name)) FROM city a, city b",
        f"SELECT length(replace({text(99_999)}, {text(50_000)} || 'b', ''))",
        f"SELECT sum(length(replace({text(99_999)}, {text(50_000)} || a.name, ''))) FROM city a, city b",
        f"SELECT length(trim({text(99_999)}, {text(90_000, 'b')} || 'a'))",
        f"SELECT {text(99_999)} LIKE '{'%a' * 40}%b'",
        f"SELECT {text(99_999)} LIKE '%{'_' * 90}b'",
        f"SELECT {text(99_999)} LIKE '{'%_a' * 60}b' FROM city",
        f"SELECT {text(99_999)} LIKE {text(99_000, '%')}",
        f"SELECT {text(99_999)} GLOB '{'*a' * 40}*b'",
        f"SELECT {text(99_999)} GLOB '{'*[a-z]' * 30}b'",
        f"SELECT {text(99_999)} GLOB '*{'[a-z]' * 30}[b]' FROM city",
        f"SELECT {text(99_999)} GLOB '[{'a-z' * 50}]*b'",
        f"SELECT {text(99_999)} GLOB {text(99_000, '*')}",
        "SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' REGEXP '(a+)+$'",
        "SELECT regexp('(a+)+$', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!')",
        "SELECT name FROM state WHERE name REGEXP '.*'",
        "SELECT name FROM state WHERE name MATCH 'x'",
        f"SELECT soundex({text(99_999)})",
        f"SELECT sum(length(upper(lower({text(99_999)})))) FROM city a, city b, city c",
        "SELECT count(*) FROM city a, city b, city c WHERE strftime('%J', a.name || b.name) = c.name",
    ],
    "JSON": [
        f"SELECT json({text(50_000, '[')})",
        f"SELECT json({text(45_000, '[')} || {text(45_000, ']')})",
        f"SELECT json_valid({text(99_000, '[')})",
        f"SELECT json_extract({text(900, '[')} || {text(900, ']')}, '$' || replace({text(900)}, 'a', '[0]'))",
        f"SELECT count(*) FROM json_each('[' || replace({text(30_000)}, 'a', '1,') || '1]') a, "
        f"json_each('[' || replace({text(30_000)}, 'a', '1,') || '1]') b",
        f"SELECT count(*) FROM json_tree('[' || replace({text(9_000)}, 'a', '[[1]],') || '1]') a, city b, city c",
        f"SELECT * FROM json_each('[' || replace({text(40_000)}, 'a', '1,') || '1]')",
        "SELECT json_group_array(a.name || b.name || c.name) FROM city a, city b, city c",
        "SELECT json_group_object(a.name, b.name) FROM city a, city b, city c",
        "SELECT json_patch('{}', '{}')",
        "SELECT json_set('{}', '$.x', 1)",
        f"{counted('WHERE i < 100000')} SELECT json_insert('{{}}', '$.k' || i, i) FROM c",
        "SELECT json('{\"a\": ' || hex(name)) FROM state",
        "SELECT json_extract('{}', '$[')",
        "SELECT '[1]' -> '$[99999999999999999999]'",
        f"SELECT json_quote({text(99_000, chr(1))})",
        "SELECT json(x'00')",
    ],
    "deep nesting": [
        *(f"SELECT {'(' * depth}1{')' * depth}" for depth in (50, 500, 5000)),
        *(f"SELECT {'-' * 0}{'+' * depth}1" for depth in (300, 15_000)),
        *(f"SELECT {'NOT ' * depth}1" for depth in (300, 4000)),
        *(f"SELECT {'abs(' * depth}1{')' * depth}" for depth in (50, 300, 3000)),
        *(f"SELECT {'1 + ' * depth}1" for depth in (300, 4000)),
        *(f"SELECT {' || '.join(['name'] * depth)} FROM state" for depth in (300, 1500)),
        *(f"{'SELECT * FROM (' * depth}SELECT 1{')' * depth}" for depth in (20, 90, 900)),
        *(f"SELECT 1 WHERE 1 IN ({'SELECT 1 WHERE 1 IN (' * depth}1{')' * depth})" for depth in (20, 90, 600)),
        *(f"SELECT {'CASE WHEN 1 THEN ' * depth}1{' END' * depth}" for depth in (50, 300)),
        *(" UNION ALL ".join(["SELECT 1"] * size) for size in (51, 500, 1500)),
        *(" INTERSECT ".join(["SELECT 1"] * size) for size in (51, 500)),
        f"SELECT name FROM state WHERE area IN ({', '.join(map(str, range(4000)))})",
        f"SELECT {', '.join(['1'] * 2001)}",
        f"SELECT {', '.join(['*'] * 1000)} FROM state, city, other",
        f"SELECT max({', '.join(['1'] * 500)})",
        f"VALUES {', '.join(['(1)'] * 4000)}",
        "WITH "
        + ", ".join(f"c{i} AS (SELECT * FROM c{i - 1}, c{i - 1} x)" if i else "c0 AS (SELECT 1)" for i in range(20))
        + " SELECT count(*) FROM c19",
        "WITH "
        + ", ".join(
            f"c{i} AS (SELECT * FROM c{i - 1} UNION ALL SELECT * FROM c{i - 1})" if i else "c0 AS (SELECT 1)"
            for i in range(30)
        )
        + " SELECT count(*) FROM c29",
        f"SELECT {'x' * 19_000}",
        f'SELECT 1 AS "{"x" * 19_000}"',
        f"SELECT '{'x' * 25_000}'",
        f"SELECT * FROM state {'JOIN city ON 1 ' * 1000}",
    ],
    "aggregates and windows": [
        "SELECT sum(a.population) OVER (ORDER BY a.name, b.name) FROM city a, city b, city c",
        "SELECT count(*) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM city a, city b, city c",
        "SELECT nth_value(a.name, 9223372036854775807) OVER (ORDER BY b.name) FROM city a, city b",
        "SELECT lag(name, 9223372036854775807) OVER () FROM city",
        "SELECT ntile(0) OVER () FROM city",
        "SELECT ntile(9223372036854775807) OVER (ORDER BY a.name) FROM city a, city b",
        "SELECT sum(population) OVER (ROWS BETWEEN 9223372036854775807 PRECEDING AND 1 FOLLOWING) FROM city",
        "SELECT sum(population) OVER (ORDER BY population RANGE BETWEEN 1e308 PRECEDING AND CURRENT ROW) FROM city",
        "SELECT group_concat(a.name) OVER (ORDER BY a.name, b.name) FROM city a, city b",
        f"SELECT {', '.join(f'sum(population + {i}) OVER (ORDER BY population + {i})' for i in range(100))} FROM city",
        f"SELECT {', '.join(f'count(DISTINCT population + {i})' for i in range(200))} FROM city",
        # The form of CVE-2025-6965: more aggregate terms than columns.
        f"SELECT {', '.join(f'max(name || {i})' for i in range(900))} FROM other",
        "SELECT sum(sum(population)) FROM city",
        "SELECT count(*) FROM city GROUP BY 99999",
        "SELECT avg(1e308) * 1e308, total(1e308) FROM city",
    ],
    "explain": [
        "EXPLAIN SELECT name FROM state",
        "EXPLAIN QUERY PLAN SELECT name FROM state",
        "EXPLAIN DELETE FROM state",
        "EXPLAIN QUERY PLAN DROP TABLE state",
        "EXPLAIN PRAGMA user_version=7",
        f"EXPLAIN ATTACH '{FILE}' AS x",
    ],
    "odd text": [
        "SELECT '\x00'",
        "\x00",
        "SELECT name\x00 FROM state",
        "SELECT '\ud800'",
        "\udfff\udffe",
        "SELECT CAST(x'ff' AS TEXT)",
        "SELECT CAST(x'fffefdc080' AS TEXT), x'ff'",
        "SELECT CAST(x'00ff00' AS TEXT) || 'a'",
        "SELECT upper(CAST(x'eda080' AS TEXT)), lower(char(55296))",
        "SELECT substr(CAST(x'c3' AS TEXT), 1, 1)",
        "SELECT char(0, 1114111, 55296, -1)",
        "\ufeffSELECT name FROM state",
        "ＳＥＬＥＣＴ name FROM state",
        "SELECT name FROM state",  # noqa: RUF001 (another space)
        "SELECT n\u200bame FROM state",
        "SELECT 'a' AS \u202e, 'b'",
        "SELECT '🜨' FROM \"🜨\"",
        "SELECT ?",
        "SELECT ?1, :x, @y, $z",
        "SELECT ?99999999",
        "SELECT {name} FROM state",
        "'; DELETE FROM state; --",
        '{"database": "x", "query": "DROP TABLE state"}',
        "SELECT name FROM state\r\n\x1b[2J\x07",
        f"SELECT '{'é' * 9_000}'",
        "ready",
        "\\x53\\x45LECT 1",
    ],
    "not a query": [
        *("I do not know.", "SELECT", "SELECT FROM", "WITH", "None", "import os", "rm -rf /", ".shell ls", ".read x"),
        "SELECT name FROM nowhere",
        "SELECT nothing FROM state",
        "SELECT name FROM state WHERE",
        "SELECT name FROM state WHERE name = 'ohio",
        "name FROM state",
        "EXEC xp_cmdshell 'ls'",
        "COPY state TO PROGRAM 'sh'",
        "SELECT pg_sleep(1000)",
        "SELECT sleep(1000)",
        "SELECT benchmark(1000000000, 1)",
        "SELECT name INTO OUTFILE 'x' FROM state",
        "DO $$ BEGIN END $$",
        "CALL x()",
        "SHOW TABLES",
        "GRANT ALL ON state TO x",
        "SET x = 1",
        "LOCK TABLE state",
    ],
}


def make_database(folder: Path) -> str:
    """A small database, with a view and an index."""
    path = folder / "geo.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE state (name TEXT UNIQUE, area REAL, capital TEXT);
        CREATE TABLE city (name TEXT, population INT, state TEXT);
        CREATE TABLE other (name TEXT);
        CREATE INDEX by_name ON city (name);
        CREATE VIEW big AS SELECT * FROM city WHERE population > 10;
        """
    )
    connection.executemany("INSERT INTO state VALUES (?, ?, ?)", [(f"s{i}", i / 7, f"c{i}") for i in range(50)])
    connection.executemany("INSERT INTO city VALUES (?, ?, ?)", [(f"c{i}", i, f"s{i % 50}") for i in range(400)])
    connection.execute("INSERT INTO other VALUES ('right')")
    connection.commit()
    connection.close()
    return str(path)


# As many rows as this one has are read of a query.
REFERENCE = "SELECT a.name, b.name, 'right' FROM city a, city b LIMIT 5000"


def score(database: str, query: str, timeout: float) -> tuple[float, str | None, float]:
    """Reward, error and seconds of a query."""
    logged: dict = {}
    start = time.perf_counter()
    completion = f"<think></think>```sql\n{query}\n```"
    (reward,) = sql_execution_reward(
        [completion], [REFERENCE], database, timeout=timeout, log_extra=logged.__setitem__
    )
    return reward, logged["sql_error"][0], time.perf_counter() - start


def main(timeout: float = 1.0) -> None:
    sys.stdout.write("| class | queries | what stops them | longest |\n|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder))
        score(database, "SELECT 1", timeout)
        for name, queries in HOSTILE.items():
            results = [score(database, query, timeout) for query in queries]
            # Where SQLite does not look at the clock, the process is ended.
            late = timeout + 0.9 * GRACE
            reasons = Counter("process ended" if took > late else _reason(error) for _, error, took in results)
            said = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
            longest = max(seconds for *_, seconds in results)
            sys.stdout.write(f"| {name} | {len(queries)} | {said} | {1000 * longest:.0f} ms |\n")
    sys.stdout.write(f"{sum(map(len, HOSTILE.values()))} queries\n")


REASONS = {
    "authorizer": ("not authorized", "prohibited", "authorization denied"),
    "time limit": ("timeout",),
    "memory limit": ("MemoryError", "out of memory", "bytes of rows"),
    "one statement only": ("one statement at a time",),
    "no such table or function": ("no such", "not a function"),
    "length limit": ("too big", "too large", "pattern too complex", "too long"),
    "nesting and number limits": ("maximum depth", "too many", "stack overflow", "at most 64"),
    "read-only": ("readonly", "read-only"),
    "process ended": ("ended with",),
}


def _reason(error: str | None) -> str:
    if error is None:
        return "another result"
    return next((name for name, parts in REASONS.items() if any(part in error for part in parts)), "does not parse")


if __name__ == "__main__":
    main()
