# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The example of Quiet-STaR, its reproduction and its page, at a small scale."""

import random
import re

import pytest


pytest.importorskip("matplotlib")

import quiet_sums
import quiet_sums_reproduction as reproduction
from runs import read_results


def test_documents():
    rng = random.Random(0)
    documents = [quiet_sums.write_document(rng, noise=0.5) for _ in range(600)]
    spelled = [document for document in documents if ":" in document]
    assert 250 < len(spelled) < 350
    right = 0
    for document in documents:
        digits, _, answer = re.fullmatch(r"((?:\d ){6})= (?:: ((?:\d ){6})= )?(\d) \.", document).groups()
        assert int(answer) == sum(map(int, digits.split())) % 5
    for document in spelled:
        digits, sums = (list(map(int, part.split())) for part in re.findall(r"(?:\d ){6}", document))
        right += sums == quiet_sums.running_sums(digits)
    assert 0.4 < right / len(spelled) < 0.6
    assert quiet_sums.running_sums([3, 1, 4, 0, 2, 2]) == [3, 4, 3, 3, 0, 2]


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(quiet_sums, "HELD_OUT", 8)
    monkeypatch.setattr(quiet_sums, "LEAST_SPELLED", 0.0)
    monkeypatch.setattr(reproduction, "RESULTS_FILE", tmp_path / "results.json")
    monkeypatch.setattr(reproduction, "IMAGES", tmp_path)
    monkeypatch.setattr(reproduction, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("<!-- table: quiet_sums -->\n<!-- end -->\n")
    defaults = {**quiet_sums.DEFAULTS, "max_steps": 2, "per_device_train_batch_size": 2}
    monkeypatch.setattr(quiet_sums, "DEFAULTS", defaults)
    make = quiet_sums.make_base_model
    monkeypatch.setattr(quiet_sums, "make_base_model", lambda path, noise, steps, seed: make(path, noise, 2, seed))


def test_the_example_prints_a_table(small, tmp_path, capsys, run_command):
    run_command(quiet_sums.main, output_dir=tmp_path / "run", eval_every=1)
    output = capsys.readouterr().out
    for step in (0, 1, 2):
        assert re.search(rf"│ {step} +│ \d+% +│ \d+% +│ \d+% +│", output)
    assert "Thoughts behind each token" in (tmp_path / "run" / "thoughts.html").read_text()


def test_a_base_model_that_does_not_spell_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"spells out 0% of the questions.* Raise `pretraining_steps`"):
        quiet_sums.make_base_model(tmp_path / "base", noise=0.0, steps=1, seed=0)
    assert not (tmp_path / "base").exists()
    quiet_sums.make_base_model(tmp_path / "noise", noise=0.5, steps=1, seed=0)
    assert (tmp_path / "noise" / "config.json").exists()


def test_settings_run_and_are_merged(small, tmp_path, capsys, run_command, monkeypatch):
    changes = {"quiet": {"eval_every": 1}, "plain": {"plain": True, "max_steps": 2, "eval_every": 1}}
    for name, change in changes.items():
        monkeypatch.setitem(reproduction.SETTINGS, name, (reproduction.SETTINGS[name][0], change))
    for name in changes:
        run_command(reproduction.main, setting=name, seed=3, output_dir=tmp_path / "runs")
    results = read_results(reproduction.RESULTS_FILE)
    assert [row["step"] for row in results["plain"]["seed 3"]["history"]] == [0, 1, 2]
    assert "with thoughts" not in results["plain"]["seed 3"]["history"][0]
    page = (tmp_path / "page.md").read_text()
    assert "| Quiet-STaR | 1 | 2 |" in page and "| Without thoughts | 1 | 2 |" in page
    assert (tmp_path / "quiet_sums.png").exists()
    run_command(reproduction.main, setting="plain", seed=3, output_dir=tmp_path / "runs")
    assert "plain, seed 3: done before" in capsys.readouterr().out
