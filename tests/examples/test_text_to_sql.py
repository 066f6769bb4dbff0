# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The text to SQL example on all of GeoQuery, whole runs of its command line, and its synthetic version."""

import json
import random
import re

import pytest

import paper_runs
import synthetic_sql
import text_to_sql
from dataset_model import make_dataset_model
from domain import first_line, read_examples
from star_trl import load_ledger
from star_trl.rewards import extract_sql, run_sql, sql_execution_reward


SHOTS = read_examples(text_to_sql.DOMAIN)


@pytest.fixture
def geoquery(shared_data) -> str:
    return str(shared_data / "geoquery")


# Problems


def test_variables_are_filled_in_and_what_cannot_be_checked_is_left_out(geography, capsys):
    train, held_out = (text_to_sql.load(split, geography) for split in ("train", "eval"))
    assert (len(train), len(held_out)) == (14, 7)  # with the dev split, and the second variant of a query
    assert "14 questions, without 1 whose query fails and 1 without a result" in capsys.readouterr().out
    query = "SELECT STATE0.CAPITAL FROM STATE AS STATE0 WHERE STATE0.STATE_NAME = 's0'"
    assert train[0] == {
        "prompt": "Q: what is the capital of s0\nTables: state(state_name, capital)\nA:",
        "hinted_prompt": f"Q: what is the capital of s0 ({query})\nTables: state(state_name, capital)\nA:",
        "answer": query,
        "database": f"{geography}/geography.sqlite",
        "direct": f" SQL: {query}",
    }


def test_a_value_with_a_quote_stays_a_value():
    assert text_to_sql.fill_in('SELECT 1 WHERE "x0" = "y" ;', {"x0": "o'hare"}) == "SELECT 1 WHERE 'o''hare' = 'y'"


def test_every_row_of_geoquery_is_right_by_its_own_query(geoquery):
    numbers = {"train": 576, "eval": 272}
    for split, number in numbers.items():
        rows = text_to_sql.load(split, geoquery)
        assert len(rows) == number
        columns = {name: [row[name] for row in rows] for name in ("answer", "database")}
        direct = [row["direct"] for row in rows]
        for reward in text_to_sql.DOMAIN.reward_funcs:
            assert reward(completions=direct, **columns) == [1.0] * number
        assert sql_execution_reward(["SQL: SELECT 'no'"] * number, **columns) == [0.0] * number
        assert not any(re.search(r"\b[a-z_]+name0\b|alias|\n\n", row["hinted_prompt"]) for row in rows)


def test_few_shot_examples_are_right_and_not_of_the_dataset(geoquery):
    rows = [row for split in ("train", "eval") for row in text_to_sql.load(split, geoquery)]
    schema = rows[0]["prompt"].split("\n")[1]
    for shot in SHOTS:
        query = extract_sql(shot["completion"])
        assert extract_sql(shot["direct"]) == query
        assert run_sql(query, rows[0]["database"]) not in ([], [(0,)], [(None,)])
        assert shot["prompt"].split("\n")[1] == schema
        assert shot["hinted_prompt"].replace(f" ({query})", "") == shot["prompt"] != shot["hinted_prompt"]
    assert not {first_line(row) for row in rows} & {first_line(shot) for shot in SHOTS}


def test_the_exact_query_is_reported():
    completions = ["SQL: select A  from b;", "SQL: SELECT a FROM b WHERE 1", "no"]
    assert text_to_sql.exact_query_reward(completions, ["SELECT a FROM b"] * 3) == [1.0, 0.0, 0.0]


# Whole runs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    problems = [{**shot, "answer": extract_sql(shot["direct"])} for shot in SHOTS] * 4
    return make_dataset_model(path, text_to_sql.DOMAIN, problems, phases=((2, 2, 64),))


@pytest.fixture
def command(run_domain, model):
    def run(geography, *arguments):
        return run_domain(text_to_sql.DOMAIN, model, "--data_dir", geography, *arguments)

    return run


@pytest.fixture
def follow_the_hint(script_engine):
    """An engine that writes the query of the hint; without one it is right on s3 and s13, and else wrong."""
    script_engine(write_query)


def write_query(prompt):
    question = re.split(r"Q: |<\|im_start\|>user\n", prompt)[-1].split("\n")[0]
    hint = re.search(r"\((SELECT .*)\)$", question)
    guess = f"SELECT capital FROM state WHERE state_name = '{question.split()[-1]}'"
    query = hint[1] if hint else guess if question.endswith("3") else "SELECT state_name FROM state"
    return f" I look.\nSQL: {query}"


@pytest.mark.parametrize(
    "arguments", [[], ["--chat", "--chat_template_kwargs", '{"enable_thinking": false}']], ids=["base", "chat"]
)
def test_star_sql(command, geography, arguments, follow_the_hint, capsys):
    samples = load_ledger(command(geography, *arguments) / "star")
    kept = [row["sampler"] for row in samples if row["kept"]]
    assert (kept.count("rationale"), kept.count("rationalization")) == (1, 13)
    assert "14.3%" in capsys.readouterr().out.split("strict")[-1]  # one of seven


def test_every_run(command, geography, follow_the_hint):
    runs = command(geography, "--runs", "all", "--num_train_epochs", "0.1")
    assert {path.parent.name for path in runs.glob("*/result.json")} == set(paper_runs.RUNS)


def test_the_other_runs_go_on_where_nothing_survives(command, geography, script_engine, capsys):
    def write_hint(prompt):
        hinted = "(SELECT" in prompt.split("Q: ")[-1]
        return write_query(prompt) if hinted else " I look.\nSQL: SELECT capital FROM state"

    script_engine(write_hint)
    names = ("star_without_rationalization", "star")
    runs = command(geography, "--runs", *names)
    without, used = (json.loads((runs / name / "result.json").read_text())["train_data_used"] for name in names)
    assert without == 0.0 < used
    assert "star_without_rationalization: No sample of iteration 1 survives" in capsys.readouterr().out


# The synthetic version


def test_a_synthetic_question_says_what_its_query_asks(tmp_path):
    database = synthetic_sql.make_database(tmp_path / "city.sqlite")
    tokenizer = synthetic_sql.tokenizer_for_cities()
    for seed in range(200):
        example = synthetic_sql.make_example(random.Random(seed), 1 + seed % 3, unseen=seed % 2 == 0)
        query = extract_sql(example["completion"])
        assert query == example["answer"] and query in example["hinted_prompt"]
        run_sql(query, database)
        text = example["hinted_prompt"] + example["completion"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
        for name, words in synthetic_sql.COLUMNS.items():
            assert any(f" {word} " in example["prompt"] for word in words) == bool(re.search(rf"\b{name}\b", query))


def test_made_up_examples_differ_from_their_questions():
    wrong = 0
    for seed in range(200):
        right, made_up = (
            synthetic_sql.make_example(random.Random(seed), 2, made_up=made_up) for made_up in (False, True)
        )
        said = {
            name for name, words in synthetic_sql.COLUMNS.items() for word in words if f" {word} " in made_up["prompt"]
        }
        wrong += said != set(re.findall("|".join(synthetic_sql.COLUMNS), made_up["answer"]))
        assert extract_sql(right["completion"]) in right["hinted_prompt"]
    assert wrong > 150


def test_synthetic_problems_are_different_and_have_results(tmp_path):
    database = synthetic_sql.make_database(tmp_path / "city.sqlite")
    known: set[str] = set()
    rng = random.Random(0)
    train, held_out = (synthetic_sql.make_problems(rng, 50, (1, 2), database, known) for _ in range(2))
    prompts = [*train["prompt"], *held_out["prompt"]]
    assert len(set(prompts)) == 100 and known == set(prompts)
    assert all(run_sql(query, database) for query in train["answer"])
    assert "completion" not in train.column_names


@pytest.mark.parametrize("name", synthetic_sql.RUNS)
def test_a_synthetic_run_of_a_few_steps(name, tmp_path, script_engine):
    """With an engine that is a script, which knows the right query with a hint and, of the first problem, without."""
    base_model = synthetic_sql.make_base_model(tmp_path / "base", phases=((3, 4, 64),))
    database = synthetic_sql.make_database(tmp_path / "another.sqlite")
    first = synthetic_sql.make_problems(random.Random(0), 1, (1, 2), database, set())[0]

    def answer(prompt):
        hint = re.search(r"\( (SELECT .*) \)", prompt)
        query = hint[1] if hint else first["answer"] if prompt == first["prompt"] else "SELECT name FROM city"
        return f"SQL: {query}"

    script_engine(answer)
    rows = synthetic_sql.run(name, 0, base_model, tmp_path, 4, 3, num_iterations=1, initial_steps=1)
    assert [row["iteration"] for row in rows] == [0, 1]
    assert rows[1]["rationale/solved"] == 0.25 and rows[1]["kept_right_query"] == 1.0
    assert rows[1].get("rationalization/solved") == (0.75 if name == "star" else None)
    assert {"eval_accuracy", "longer", "unseen_words"} <= set(rows[1])
