# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The V-STaR example, at a small scale."""

import re

import pytest

from star_trl import preference_dataset
from support.samples import make_sample


pytest.importorskip("matplotlib")

import v_star


def test_the_example_runs_and_reports(tmp_path, capsys, run_command, small_adder):
    run_command(
        v_star.main,
        output_dir=tmp_path / "run",
        base_model=small_adder,
        max_digits=1,
        problems_per_digit=24,
        eval_problems_per_digit=6,
        initial_steps=2,
        k=3,
        draw_temperature=1.5,
        verifier_steps=2,
    )
    output = capsys.readouterr().out
    assert f"{len(preference_dataset(tmp_path / 'run/iteration-001/draws'))} pairs" in output
    for row in ("one sample", "greedy", "majority of 3", "best of 3 by the verifier", "any of 3"):
        assert re.search(rf"{row}.* \d+\.\d% +\d+\.\d%", output)


def test_how_one_of_k_is_chosen(capsys):
    def drawn(*answers):
        return [make_sample(completion=f"</scratch>\n{answer}", kept=answer == "5") for answer in answers]

    problems = [drawn("4", "5", "5"), drawn("5", "4", "4")]
    v_star.report([problems[0][0], problems[1][0]], problems, {"verifier": [3.0, 1.0, 2.0, 2.0, 1.0, 0.0]}, [1, 2])
    rows = re.findall(r"^ *(\S.*?)  +([\d.]+)% +([\d.]+)% +([\d.]+)%", capsys.readouterr().out, re.MULTILINE)
    assert rows == [
        ("one sample, on average", "66.7", "33.3", "50.0"),
        ("greedy", "0.0", "100.0", "50.0"),
        ("majority of 3", "100.0", "0.0", "50.0"),
        ("best of 3 by the verifier", "0.0", "100.0", "50.0"),
        ("any of 3 (oracle)", "100.0", "100.0", "100.0"),
    ]
