# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Each tracker gets one run whose steps only grow, and a table of the samples where it has tables."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from star_trl.monitoring.sample_table import sample_table
from star_trl.rewards import exact_match_reward
from support import SCRIPTED_RUN
from support.sums import solve_easy_and_hinted


INSTALLED = [name for name in ("wandb", "trackio") if find_spec(name)]
COLUMNS = [
    "iteration",
    "step",
    "problem_id",
    "sampler",
    "group",
    "prompt",
    "completion",
    "exact_match_reward",
    "kept",
    "drop_reason",
]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> Path:
    """A run that reports to all trackers that are installed, without a network."""
    folder = tmp_path_factory.mktemp("tracked")
    settings = {
        "output_dir": str(folder / "out"),
        "report_to": ["tensorboard", *INSTALLED],
        "run_name": "a run",
        "project": "sums",
        "log_completions": True,
        "num_completions_to_print": 0,
    }
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder),
        "TRACKIO_DIR": str(folder / "trackio"),
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
    }
    command = [sys.executable, str(SCRIPTED_RUN), json.dumps(settings)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def history(tracked: Path, name: str) -> list[dict]:
    """What was logged, in its order."""
    return wandb_history(tracked) if name == "wandb" else trackio_history(tracked)


def wandb_history(folder: Path) -> list[dict]:
    """From the one file of an offline run: records of protobuf in the log format of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    log, position, whole, rows = path.read_bytes(), 7, b"", []
    while position + 7 <= len(log):
        left = 32768 - position % 32768
        if left < 7:  # too short for a header, so filled up with zeros
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", log[position : position + 7])
        whole += log[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # complete, or the last part
            record = Record.FromString(whole)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
            whole = b""
    return rows


def trackio_history(folder: Path) -> list[dict]:
    with sqlite3.connect(folder / "trackio" / "sums.db") as database:
        found = database.execute("select run_name, metrics from metrics order by id").fetchall()
    assert {name for name, _ in found} == {"a run"}
    return [json.loads(metrics) for _, metrics in found]


def tables(tracked: Path, name: str) -> list[list[dict]]:
    rows = history(tracked, name)
    if name == "trackio":
        return [row["completions"]["_value"] for row in rows if "completions" in row]
    (files,) = tracked.glob("wandb/offline-run-*/files")
    paths = [row["completions/path"] for row in rows if "completions/path" in row]
    contents = [json.loads((files / path).read_text()) for path in paths]
    return [[dict(zip(content["columns"], row, strict=True)) for row in content["data"]] for content in contents]


def test_tensorboard_gets_one_run(tracked):
    (events,) = (tracked / "tensorboard").rglob("events.*")
    accumulator = EventAccumulator(str(events)).Reload()
    assert [scalar.step for scalar in accumulator.Scalars("eval/accuracy")] == [0, 3, 6]
    assert [scalar.step for scalar in accumulator.Scalars("train/loss")] == list(range(1, 7))
    assert [scalar.step for scalar in accumulator.Scalars("train/rationale/solved")] == [0, 3]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_one_run_whose_steps_grow(tracked, name):
    pytest.importorskip(name)
    rows = history(tracked, name)
    steps = [row["train/global_step"] for row in rows if "train/global_step" in row]
    assert steps == sorted(steps) and steps[-1] == 6
    assert [row["train/global_step"] for row in rows if "train/loss" in row] == list(range(1, 7))
    assert [row["train/global_step"] for row in rows if "eval/accuracy" in row] == [0, 3, 6]
    assert [row["eval/accuracy/easy"] for row in rows if "eval/accuracy" in row] == [1, 1, 1]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_a_table_of_each_iteration(tracked, name):
    pytest.importorskip(name)
    first, second = tables(tracked, name)
    assert [len(first), len(second)] == [6, 6]
    assert {row["iteration"] for row in first} == {1} and {row["iteration"] for row in second} == {2}
    assert {row["step"] for row in first} == {0} and {row["step"] for row in second} == {3}
    assert list(first[0]) == COLUMNS
    (rationalized,) = [row for row in first if row["sampler"] == "rationalization" and row["kept"]]
    assert rationalized["prompt"] == "Q: 4+5? (9)\nA:"
    assert rationalized["completion"] == " Let me count.\n9"
    assert (rationalized["group"], rationalized["exact_match_reward"]) == ("hard", 1.0)


def test_resumed_runs_go_on_with_their_steps(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "first"))
    make_trainer(solve_easy_and_hinted, num_iterations=1, report_to="tensorboard").train()
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "second"))
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, report_to="tensorboard")
    # Of the first run the model fixture has been trained.
    monkeypatch.setattr("star_trl.run.state.RunState.check_same_run", lambda *args: None)
    trainer.train(resume_from_checkpoint=True)
    (events,) = (tmp_path / "second").rglob("events.*")
    assert [scalar.step for scalar in EventAccumulator(str(events)).Reload().Scalars("train/loss")] == [4, 5, 6]


def test_what_reward_functions_recorded_is_in_the_table(make_trainer):
    def with_notes(prompts, completions, answer, log_extra, **kwargs):
        log_extra("length", [len(completion) for completion in completions])
        return exact_match_reward(prompts=prompts, completions=completions, answer=answer)

    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, reward_funcs=with_notes)
    trainer.train()
    table = sample_table(trainer.task, trainer.args, trainer.ledger.read(1), step=1)
    assert "group" not in table and list(table["length"]) == [str(len(text)) for text in table["completion"]]
    assert list(table[~table["kept"]]["drop_reason"]) == ["wrong"] * 3


class Backend:
    """In place of a tracker's module."""

    def __init__(self):
        self.logged = []

    def Table(self, dataframe):  # noqa: N802 - the trackers' name
        return dataframe

    def log(self, values):
        self.logged.append(values)


@pytest.mark.parametrize(("unique", "expected"), [(False, 12), (True, 6)])
def test_log_unique_prompts(make_trainer, monkeypatch, unique, expected):
    backend = Backend()
    monkeypatch.setattr("star_trl.monitoring.sample_table._backends", lambda report_to: [backend])
    settings = {"log_completions": True, "log_unique_prompts": unique, "num_generations": 2, "temperature": 1.0}
    make_trainer(solve_easy_and_hinted, num_iterations=1, **settings).train()
    (logged,) = backend.logged
    assert len(logged["completions"]) == expected


def test_no_table_without_log_completions(make_trainer, monkeypatch):
    backend = Backend()
    monkeypatch.setattr("star_trl.monitoring.sample_table._backends", lambda report_to: [backend])
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    assert not backend.logged


def test_large_tables_are_a_part_drawn_at_random(make_trainer, monkeypatch):
    backend = Backend()
    monkeypatch.setattr("star_trl.monitoring.sample_table._backends", lambda report_to: [backend])
    monkeypatch.setattr("star_trl.monitoring.sample_table.MAX_ROWS", 4)
    make_trainer(solve_easy_and_hinted, num_iterations=1, log_completions=True).train()
    assert len(backend.logged[0]["completions"]) == 4


def test_a_tracker_without_its_table_does_not_end_the_run(make_trainer, monkeypatch, caplog):
    class Broken(Backend):
        __name__ = "broken"

        def log(self, values):
            raise ConnectionError("away")

    monkeypatch.setattr("star_trl.monitoring.sample_table._backends", lambda report_to: [Broken()])
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, log_completions=True)
    trainer.train()
    assert trainer.iteration == 1 and "did not reach broken: ConnectionError('away')" in caplog.text
