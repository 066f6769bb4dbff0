# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints are whole or unused, whatever became of their files."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import TrainerCallback

from star_trl import load_ledger
from star_trl.run.state import RunState
from support import SCRIPTED_RUN
from support.sums import solve_easy_and_hinted


SETTINGS = {"num_iterations": 2, "initial_steps": 6, "save_steps": 4}


class CrashAt(TrainerCallback):
    """Crashes in one step, and counts the steps."""

    def __init__(self, step=None):
        self.step, self.steps = step, 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1
        if state.global_step == self.step:
            raise InterruptedError


def delete(path):
    path.unlink()


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def zero_half(path):
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(len(content) - half))


@pytest.fixture
def runs(make_trainer, model, tmp_path):
    """Starts runs from the same weights."""
    original = {name: value.clone() for name, value in model.state_dict().items()}

    def start(resume=False, callback=None, **changes):
        model.load_state_dict(original)
        callbacks = [] if callback is None else [callback]
        trainer = make_trainer(solve_easy_and_hinted, callbacks=callbacks, **{**SETTINGS, **changes})
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return start


@pytest.fixture
def expected(runs, model, tmp_path):
    """The weights of a run without a fault."""
    runs(output_dir=str(tmp_path / "whole"))
    return {name: value.clone() for name, value in model.state_dict().items()}


FILES = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_of_the_fine_tuning_is_not_used(expected, runs, model, tmp_path, caplog, name):
    """With each damage, the fine-tuning begins anew and ends with the same weights."""
    with pytest.raises(InterruptedError):
        runs(callback=CrashAt(step=6 + 5))
    for number, damage in enumerate((delete, cut, zero_half)):
        output_dir = tmp_path / f"copy-{number}"
        shutil.copytree(tmp_path / "out", output_dir)
        damage(output_dir / "iteration-002" / "fine-tuning" / "checkpoint-4" / name)
        counted = CrashAt()
        runs(resume=True, callback=counted, output_dir=str(output_dir))
        assert counted.steps == 6
        assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert caplog.text.count("begins anew, since its checkpoint is not whole: ") == 3
    assert caplog.text.count(f"checkpoint-4/{name} is missing") == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"step": 4, "files": 1}', '{"step": NaN}'])
def test_a_damaged_note_of_the_last_checkpoint_is_not_used(expected, runs, model, tmp_path, content):
    with pytest.raises(InterruptedError):
        runs(callback=CrashAt(step=6 + 5))
    (tmp_path / "out" / "iteration-002" / "fine-tuning" / "last.json").write_text(content)
    counted = CrashAt()
    runs(resume=True, callback=counted)
    assert counted.steps == 6
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("missing", [False, True])
def test_a_checkpoint_of_an_older_version_has_no_manifest(runs, tmp_path, missing):
    with pytest.raises(InterruptedError):
        runs(callback=CrashAt(step=6 + 5))
    path = tmp_path / "out" / "iteration-002" / "fine-tuning" / "last.json"
    content = json.loads(path.read_text())
    del content["files"]
    path.write_text(json.dumps(content))
    if missing:
        shutil.rmtree(path.parent / "checkpoint-4")
    counted = CrashAt()
    runs(resume=True, callback=counted)
    assert counted.steps == (6 if missing else 2)


def test_a_checkpoint_counts_before_its_digests_are_known(runs, monkeypatch):
    """A scheduler may kill the program while they are computed."""
    computed = []

    def crash(directory):
        computed.append(directory)
        if len(computed) == 2:  # in the second iteration
            raise InterruptedError
        return {}

    monkeypatch.setattr("star_trl.run.checkpoints.manifest", crash)
    with pytest.raises(InterruptedError):
        runs()
    monkeypatch.undo()
    counted = CrashAt()
    runs(resume=True, callback=counted)
    assert counted.steps == 2


def test_a_damaged_model_of_an_iteration_is_refused(runs, tmp_path):
    """It is named, with what is wrong and the way out."""
    runs()
    checkpoint = tmp_path / "out" / "iteration-002" / "checkpoint" / "model.safetensors"
    content = checkpoint.read_bytes()

    def swap(path):
        shutil.copy(tmp_path / "out" / "iteration-001" / "checkpoint" / "model.safetensors", path)

    for damage, problem in (
        (delete, "is missing"),
        (cut, "bytes in place of"),
        (zero_half, "has other content than the run wrote"),
        (swap, "has other content than the run wrote"),
    ):
        damage(checkpoint)
        with pytest.raises(ValueError, match=rf"model.safetensors .*{problem}.*Put the file back .* or start over"):
            runs(resume=True, num_iterations=3)
        checkpoint.write_bytes(content)
    assert runs(resume=True, num_iterations=3).iteration == 3


def test_a_model_card_may_change(runs, tmp_path):
    runs()
    (tmp_path / "out" / "iteration-002" / "checkpoint" / "README.md").write_text("Mine.")
    runs(resume=True)


def test_the_manifests_of_deleted_checkpoints_are_forgotten(runs, tmp_path):
    runs(num_iterations=3, save_total_limit=1)
    # The state is saved before the checkpoint of the second iteration is deleted.
    assert list(RunState.load(tmp_path / "out").checkpoints) == ["2", "3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "star_state.json is missing, though there are folders `iteration-"),
        ("", "star_state.json is damaged"),
        ("\0" * 100, "star_state.json is damaged"),
        ("[1]", "star_state.json is damaged .*a JSON object is expected, and it holds a list"),
        ('{"settings": {}}', "star_state.json is not the state of a run"),
    ],
)
def test_a_lost_or_damaged_state_has_one_way_out(runs, tmp_path, content, message):
    """Whether the run is resumed or started, and `overwrite_output_dir` is that way."""
    runs(num_iterations=1)
    path = tmp_path / "out" / "star_state.json"
    if content is None:
        path.unlink()
        with pytest.raises(FileExistsError, match=message) as e:
            runs()
        assert "`overwrite_output_dir=True`" in str(e.value) and "resume_from_checkpoint" not in str(e.value)
    else:
        path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"{message}.*`overwrite_output_dir=True`"):
        runs(resume=True)
    assert runs(overwrite_output_dir=True, num_iterations=1).iteration == 1


def test_a_clock_that_is_set_back_leaves_times_positive(make_trainer, problems, monkeypatch):
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("time.time", lambda: float(next(now)))
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems)
    trainer.train()
    metrics = trainer.outer_run.history[-1]
    names = ["seconds", "seconds/sample", "seconds/fine_tune", "tokens_per_second"]
    names += ["eval_runtime", "eval_samples_per_second"]
    assert all(metrics[name] >= 0 for name in names)


def test_json_on_disk_is_strict(runs, tmp_path):
    """A loss that is NaN is null there, so that every reader of JSON reads the files."""

    class Diverge(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            state.log_history[-1]["note"] = float("inf")
            state.log_history[-1]["loss"] = float("nan")

    def refuse(name):
        raise AssertionError(name)

    trainer = runs(callback=Diverge(), num_iterations=1)
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    state = RunState.load(trainer.args.output_dir)
    assert {entry["note"] for entry in state.trainer_state["log_history"]} == {None}
    assert runs(resume=True, num_iterations=2).iteration == 2


def test_a_run_of_an_earlier_version_with_nan_is_resumed(runs, tmp_path):
    """That version wrote NaN and Infinity."""
    runs(num_iterations=1)
    path = tmp_path / "out" / "star_state.json"
    content = json.loads(path.read_text())
    content["trainer_state"]["log_history"][0].update(grad_norm=float("nan"), loss=float("-inf"))
    path.write_text(json.dumps(content))
    trainer = runs(resume=True)
    assert trainer.iteration == 2
    assert trainer.state.log_history[0]["grad_norm"] is trainer.state.log_history[0]["loss"] is None


def test_the_hash_seed_of_python_changes_nothing(tmp_path):
    outcomes = []
    for seed in ("1", "2"):
        output_dir = tmp_path / seed
        command = [sys.executable, str(SCRIPTED_RUN), json.dumps({"output_dir": str(output_dir)})]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        weights = [path.read_bytes() for path in sorted(output_dir.glob("iteration-*/checkpoint/model.safetensors"))]
        outcomes.append((load_ledger(output_dir).to_list(), load_ledger(output_dir, "eval").to_list(), weights))
    assert outcomes[0] == outcomes[1] and outcomes[0][2]
