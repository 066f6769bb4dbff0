# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Quiet-STaR on word problems, with a tiny model in place of SmolLM2."""

import re

import pytest
from transformers import AutoTokenizer

import quiet_smollm2
import word_problems
from runs import read_results
from support.tiny_models import save_model


@pytest.fixture
def run(monkeypatch, tmp_path, run_command):
    """Runs the example at a small scale, and returns its results."""
    problems = [
        word_problems.make_problem(f"{a} pens and {a + 1}?", str(2 * a + 1), f"{a} + {a + 1}") for a in range(9)
    ]
    monkeypatch.setattr(word_problems, "load", lambda split, data_dir: problems)
    monkeypatch.setattr(quiet_smollm2, "RESULTS_FILE", tmp_path / "results.json")
    monkeypatch.setattr(quiet_smollm2, "NUM_TEXTS", 8)
    monkeypatch.setattr(quiet_smollm2, "HELD_OUT", 3)
    page = quiet_smollm2.PAGE.read_text()
    monkeypatch.setattr(quiet_smollm2, "PAGE", tmp_path / "page.md")
    quiet_smollm2.PAGE.write_text(page)
    small = {"max_steps": 4, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "learning_rate": 1e-2}
    monkeypatch.setattr(quiet_smollm2, "CONFIG", {**quiet_smollm2.CONFIG, **small})
    model = save_model(tmp_path / "model")

    def run(**options):
        run_command(quiet_smollm2.main, model=model, output_dir=tmp_path / "runs", **options)
        return read_results(quiet_smollm2.RESULTS_FILE)["word_problems"]

    return run


def test_held_out_texts_are_judged_with_and_without_thoughts(run, tmp_path):
    result = run()["seed 0"]
    parts, tokens = result["parts"], AutoTokenizer.from_pretrained(tmp_path / "model")
    # A token is a character.
    assert [parts[name]["tokens"] for name in ("equation", "answer")] == [3 * len(" 0 + 1 ="), 3 * len(" 1")]
    assert parts["question"]["tokens"] == 3 * (len(tokens("Q: 0 pens and 1?\nA:")["input_ids"]) - 1)
    whole = parts["all"]
    assert whole["plain"] < whole["base"] and whole["quiet"] < whole["base"]
    assert whole["fall_by_thinking"][0] == pytest.approx(whole["quiet"] - whole["thinking"])
    assert whole["weight"] != 0
    gains = [row["quiet"] - row["thinking"] for row in result["most"] + result["least"][::-1]]
    assert gains == sorted(gains, reverse=True)
    assert "Thoughts behind each token" in (tmp_path / "runs" / "thoughts.html").read_text()
    page = quiet_smollm2.PAGE.read_text()
    assert re.search(rf"\| seed 0 \| all \| {whole['tokens']} \|", page) and page.count("| most |") == 8


def test_a_run_goes_on_from_its_checkpoint(run, tmp_path):
    first = run()["seed 0"]
    (tmp_path / "results.json").unlink()
    again = run()["seed 0"]
    assert again["quiet"]["cpu_seconds_per_step"] is None  # no step was left to do
    assert again["parts"] == first["parts"] and again["quiet"]["history"] == first["quiet"]["history"]


def test_too_few_short_texts_are_refused(run, monkeypatch):
    monkeypatch.setattr(quiet_smollm2, "MAX_TOKENS", 10)
    with pytest.raises(ValueError, match="has 0 texts of at most 10 tokens, and 8 are needed. Give other data"):
        run()


def test_the_standard_error_is_that_of_texts():
    rows = [{"text": text, "a": value, "b": 0.0} for text, value in ((0, 1.0), (0, 1.0), (1, 3.0), (1, 3.0))]
    # Two texts with means of 1 and 3: a standard deviation of 2 ** 0.5, divided by the root of 2
    assert quiet_smollm2.difference(rows, "a", "b") == pytest.approx([2.0, 1.0])
