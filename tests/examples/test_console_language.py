# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The comparison of STaR with GRPO in the console on GeoQuery, with a model that was not made for tools."""

import json

import pytest
from test_sql_console import CAPITAL_OF_S1, looks_and_submits

import console_language
import runs
import sql_console
from console_language import METHODS, PAGE, RESULTS, make_table
from sql_console import make_examples
from support.tiny_models import build_chat_tokenizer, build_model
from tables import fill_in


def answers(prompt):
    """Looks and submits, behind an example conversation."""
    example, last, own = prompt.rpartition("Done.<|im_end|>\n")
    assert last and "what is the capital of s1<|im_end|>" in example.replace(f" The query is: {CAPITAL_OF_S1}", "")
    assert ("The query is: " in example) == ("The query is: " in own)  # both have a hint, or none
    return looks_and_submits(own)


@pytest.fixture
def small_run(geography, run_command, monkeypatch, tmp_path):
    """Runs the comparison with a tiny model, whose own template drops the calls, on a few problems."""
    tokenizer = build_chat_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    for saved in (tokenizer, build_model(tokenizer, max_position_embeddings=4096)):
        saved.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(sql_console, "EXAMPLES", {"what is the capital of s1": CAPITAL_OF_S1})
    monkeypatch.setattr(console_language, "make_smollm2", lambda path: tmp_path / "model")
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- table: console_language -->\n<!-- end -->\n")
    sizes = {"NUM_TRAINING": 6, "NUM_HELD_OUT": 4}
    for name, value in {"RESULTS": tmp_path / "results.json", "PAGE": page, **sizes}.items():
        monkeypatch.setattr(console_language, name, value)
    changes = {"bf16": False, "max_completion_length": 800}
    monkeypatch.setattr(console_language, "STAR", {**console_language.STAR, **changes, "initial_steps": 1})
    monkeypatch.setattr(console_language, "GRPO", {**console_language.GRPO, "bf16": False, "max_completion_length": 8})

    def run():
        run_command(console_language.main, data_dir=geography, output_dir=tmp_path / "runs", cpu_seconds=0.01)
        return json.loads((tmp_path / "results.json").read_text()), page.read_text()

    return run


def test_the_methods_of_the_comparison(small_run, script_engine, capsys):
    script_engine(answers)
    results, page = small_run()
    assert tuple(results) == METHODS
    curves = {name: results[name]["seed 0"]["curve"] for name in METHODS}
    solved = {curve[-1]["accuracy"] for curve in curves.values()}
    assert len(solved) == 1  # the engine is scripted
    assert all(curve[0]["seconds"] == 0 < curve[-1]["seconds"] for curve in curves.values())
    plain, hinted = curves["STaR"][-1]["samplers"].values()
    assert plain["samples"] == 6 and hinted["samples"] == hinted["kept"] == hinted["asked"] == 6 - plain["kept"] > 0
    assert curves["STaR without hints"][-1]["samplers"]["rationale"]["samples"] == 12
    assert curves["GRPO"][-1]["samplers"] == {"rationale": {"samples": 16, "kept": 0}}
    assert page.count("\n| ") == 1 + 2 * len(METHODS)

    script_engine(lambda prompt: pytest.fail("a run that is done was made again"))
    assert small_run() == (results, page)
    assert set(json.loads(capsys.readouterr().out.splitlines()[-1])) == set(METHODS)


def test_a_run_in_which_nothing_is_solved_is_recorded(small_run, script_engine, monkeypatch):
    monkeypatch.setattr(console_language, "METHODS", ("STaR without hints",))
    script_engine(lambda prompt: "Done.")
    results, _ = small_run()
    start, end = results["STaR without hints"]["seed 0"]["curve"]
    assert end["samplers"] == {"rationale": {"samples": 12, "kept": 0, "asked": 0}}
    assert start["accuracy"] == end["accuracy"] == 0


def test_the_committed_table_is_made_from_the_committed_results():
    page = PAGE.read_text()
    assert fill_in(page, {"console_language": make_table(json.loads(RESULTS.read_text()))}) == page


def test_the_example_conversations_are_of_geoquery_and_not_held_out(shared_data):
    folder = str(shared_data / "geoquery")
    held_out = sql_console.load("eval", folder)
    questions = {row["prompt"][1]["content"] for row in held_out}
    for example in make_examples(held_out[0]["database"]):
        assert example["prompt"][0]["content"] not in questions
        assert example["hinted_prompt"][0]["content"].startswith(example["prompt"][0]["content"] + " The query is: ")
        looked, result, submitted, _, done = example["completion"]
        assert looked["tool_calls"][0]["function"]["arguments"] == submitted["tool_calls"][0]["function"]["arguments"]
        assert result["content"] not in ("", "No rows.") and done["content"] == "Done."
