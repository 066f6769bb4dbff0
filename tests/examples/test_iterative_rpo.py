# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The example of Iterative RPO and SPIN, at a small scale."""

import pytest

from star_trl import load_history


pytest.importorskip("matplotlib")

import iterative_rpo


@pytest.mark.parametrize("method", ["rpo", "spin"])
def test_the_example_runs_and_reports(tmp_path, capsys, monkeypatch, small_adder, method):
    settings = {
        "output_dir": tmp_path / "run",
        "base_model": small_adder,
        "max_digits": 1,
        "problems_per_digit": 12,
        "eval_problems_per_digit": 6,
        "initial_steps": 2,
        "temperature": 1.5,
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr("sys.argv", ["iterative_rpo.py", method, *options])
    iterative_rpo.main()
    assert all(row["pairs"] for row in load_history(tmp_path / "run")[1:])
    assert "Accuracy on held-out sums" in capsys.readouterr().out
