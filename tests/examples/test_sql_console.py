# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The console on a database: what it shows, what it refuses, its reward and its hint, and a run of the example."""

import json
import re

import pytest

import sql_console
from sql_console import NUM_CHARACTERS, NUM_ROWS, SqlConsole, load, show
from star_trl import load_ledger
from support.tiny_models import build_chat_tokenizer, build_model


CAPITAL_OF_S1 = "SELECT capital FROM state WHERE state_name = 's1'"


@pytest.fixture
def console(geography):
    console = SqlConsole()
    row = load("train", geography)[1]
    assert row["answer"].endswith("= 's1'")
    assert console.reset(**row) is None
    return console


def test_a_query_shows_the_first_rows(console):
    assert console.query("SELECT *, NULL FROM state WHERE state_name < 's11'") == (
        "s0 | s0's capital | NULL\ns1 | s1's capital | NULL\ns10 | s10's capital | NULL"
    )
    assert console.query("SELECT 1 FROM state").split("\n") == ["1"] * NUM_ROWS + ["..."]
    assert console.query("SELECT 1 WHERE 0") == "No rows."
    assert console.query("SELECT CAST(x'ff' AS TEXT)") == "?"
    assert len(show([("x" * 2 * NUM_CHARACTERS,)])) == NUM_CHARACTERS + len(" ...")


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT nowhere FROM state", "no such column: nowhere"),
        ("DELETE FROM state", "not authorized"),
        ("ATTACH '/etc/passwd' AS other", "not authorized"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i FROM c) SELECT count(*) FROM c", "timeout"),
        (["SELECT 1"], "TypeError"),
        (None, "TypeError"),
    ],
)
def test_a_query_that_fails_is_an_error_and_no_submission(console, sql, error, monkeypatch):
    monkeypatch.setattr(sql_console, "TIMEOUT", 0.5)
    for method in (console.query, console.submit):
        with pytest.raises(ValueError, match=error):
            method(sql)
    assert console.get_reward() == 0.0
    assert console.submit(CAPITAL_OF_S1) == "Submitted."
    assert console.get_reward() == 1.0


@pytest.mark.parametrize(
    ("sql", "reward"),
    [
        (CAPITAL_OF_S1, 1.0),
        ("SELECT capital FROM state WHERE state_name = 's2'", 0.0),
        ("SELECT capital FROM state", 0.0),
        ("SELECT capital FROM state WHERE 0", 0.0),
    ],
)
def test_the_first_submission_counts(console, sql, reward):
    console.submit(sql)
    for method in (console.query, console.submit):
        with pytest.raises(ValueError, match="has been submitted"):
            method(CAPITAL_OF_S1)
    assert console.get_reward() == reward


def test_the_hint_is_a_query_that_is_right(geography):
    console = SqlConsole()
    for row in load("eval", geography):
        _, _, query = console.reset(**row, hint=True).partition("The query is: ")
        console.submit(query)
        assert console.get_reward() == 1.0
        assert console.reset(**row) is None and console.get_reward() == 0.0


def test_every_problem_of_geoquery_is_solved_by_its_hint(shared_data):
    console = SqlConsole()
    for row in load("eval", str(shared_data / "geoquery"), limit=20):
        _, _, query = console.reset(**row, hint=True).partition("The query is: ")
        assert console.query(query) != "No rows."
        console.submit(query)
        assert console.get_reward() == 1.0


def call(name, sql):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': {'sql': sql}})}\n</tool_call>"


def looks_and_submits(prompt):
    """Looks at the table first. Then submits the query of the hint, or one that is right about s3."""
    question = prompt.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
    hint = re.search("The query is: (.*)", question)
    turn = prompt.count("<tool_response>")
    queries = ["SELECT * FROM state", hint[1] if hint else "SELECT capital FROM state WHERE state_name = 's3'"]
    return call(["query", "submit"][turn], queries[turn]) if turn < 2 else "Done."


@pytest.mark.parametrize("few_shot", [False, True])
def test_a_run_of_the_example(few_shot, geography, script_engine, run_command, monkeypatch, tmp_path):
    monkeypatch.setattr(sql_console, "EXAMPLES", {"what is the capital of s0": CAPITAL_OF_S1.replace("s1", "s0")})
    tokenizer = build_chat_tokenizer()
    for saved in (tokenizer, build_model(tokenizer, max_position_embeddings=4096)):
        saved.save_pretrained(tmp_path / "model")

    def answers(prompt):
        example, _, own = prompt.rpartition("Done.<|im_end|>\n")
        assert bool(example) == few_shot
        return looks_and_submits(own)

    script_engine(answers)
    run_command(
        sql_console.main,
        output_dir=tmp_path / "run",
        few_shot=few_shot,
        p_show_hint=1.0,
        data_dir=geography,
        model_name_or_path=tmp_path / "model",
        max_train_problems=5,
        max_eval_problems=1,
        num_iterations=1,
        initial_steps=1,
        gradient_accumulation_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
    )
    samples = load_ledger(tmp_path / "run")
    assert [(row["sampler"], row["problem_id"]) for row in samples if row["kept"]] == [
        ("rationale", 3),
        *[("rationalization", number) for number in (0, 1, 2, 4) if number or not few_shot],
    ]
    for row in samples:
        assert row["hint_shown"] == (row["sampler"] == "rationalization")
        messages = json.loads(row["extra"])["messages"]
        shown, submitted = (turn["content"] for turn in messages if turn["role"] == "tool")
        assert shown.startswith("s0 | s0's capital\n") and submitted == "Submitted."
        assert "The query is" not in row["prompt"]
