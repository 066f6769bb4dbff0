# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What arrives at the hub, and when. A stand-in on this machine takes its place."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from star_trl.run.outer_run import Observer
from support import SCRIPTED_RUN
from support.hub_stand_in import HubStandIn
from support.sums import solve_easy_and_hinted


MODEL = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
RUNS = {
    "org/every-save": {"hub_private_repo": True, "save_steps": 1, "then": ["push_to_hub"]},
    "org/all-checkpoints": {"hub_strategy": "all_checkpoints", "hub_revision": "trial"},
    "org/end": {"hub_strategy": "end", "then": ["save_model"]},
    "org/best": {"save_strategy": "best", "metric_for_best_model": "completion_length", "greater_is_better": False},
    "org/down": {"num_iterations": 1},
    "me/plain": {"push_to_hub": False, "hub_model_id": None, "num_iterations": 1, "then": ["push_to_hub"]},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run for each repository: the stand-in, the folder of the runs and what they wrote to the terminal."""
    folder = tmp_path_factory.mktemp("runs")
    settings = [
        {
            "output_dir": str(folder / name.split("/")[1]),
            "push_to_hub": True,
            "hub_model_id": name,
            # Else a push is left out while the one before is in progress.
            "hub_always_push": True,
            **changes,
        }
        for name, changes in RUNS.items()
    ]
    with HubStandIn() as hub:
        hub.down.add("org/down")
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "hf_of_nobody",
            "HF_HOME": str(folder / "home"),
        }
        command = [sys.executable, str(SCRIPTED_RUN), *map(json.dumps, settings)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not hub.unknown
    return hub, folder, result.stderr


def test_every_save_pushes_each_outer_iteration(runs):
    """And none of the checkpoints that the inner loop is resumed from, of which there is one in every step."""
    messages = runs[0].messages("org/every-save")
    assert messages == [
        "Training in progress, iteration 1",
        "Training in progress, iteration 2",
        "End of training",
    ]


def test_model_tokenizer_and_card_arrive_and_nothing_else(runs):
    hub = runs[0]
    for commit in hub.commits:
        assert {path.split("/")[-1] for path in commit["files"]} == MODEL
    assert set(hub.files("org/every-save")) == MODEL


def test_problems_and_samples_do_not_arrive(runs):
    texts = [content for commit in runs[0].commits for content in commit["files"].values()]
    assert not any(b"Let me count" in text or b"4+5" in text for text in texts)


@pytest.mark.parametrize("name", ["org/every-save", "org/end", "me/plain"])
def test_what_arrived_is_the_model(runs, tmp_path, name):
    hub, folder, _ = runs
    for path, content in hub.files(name).items():
        (tmp_path / path).write_bytes(content)
    last = max((folder / name.split("/")[1]).glob("iteration-*/checkpoint"))
    expected = AutoModelForCausalLM.from_pretrained(last).state_dict()
    pushed = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(pushed[key], expected[key]) for key in expected)
    assert AutoTokenizer.from_pretrained(tmp_path)("4+5")["input_ids"]


def test_the_card_has_the_table_and_the_name_of_the_repository(runs):
    first, second, last = [commit for commit in runs[0].commits if commit["repo"] == "org/every-save"]
    for commit, number in ((first, 1), (second, 2), (last, 2)):
        text = commit["files"]["README.md"].decode()
        assert f"The weights are those of iteration {number}." in text
        assert f"\n| **{number}** | **50.0%** |" in text and 'model="org/every-save"' in text
        assert ModelCard(text).data.library_name == "transformers"


def test_the_repository_is_private_when_asked_for(runs):
    assert runs[0].repos["org/every-save"] and not runs[0].repos["org/end"]


def test_all_checkpoints_have_folders(runs):
    files = runs[0].files("org/all-checkpoints")
    assert set(files) == MODEL | {f"iteration-00{number}/{name}" for number in (1, 2) for name in MODEL}
    assert {commit["revision"] for commit in runs[0].commits if commit["repo"] == "org/all-checkpoints"} == {"trial"}


def test_at_the_end_it_pushes_when_the_model_is_saved(runs):
    assert runs[0].messages("org/end") == ["Model save"]


def test_only_the_best_is_pushed_with_that_strategy(runs):
    # All have the same lengths, and the base model, which is not saved, was the first.
    assert runs[0].messages("org/best") == []


def test_a_hub_that_is_away_does_not_end_the_run(runs):
    _, folder, log = runs
    assert "A push to the hub failed, and the run goes on" in log
    assert (folder / "down" / "iteration-001" / "checkpoint" / "model.safetensors").exists()


def test_push_to_hub_without_the_setting(runs):
    """As with any trainer, the repository is called like the output directory."""
    assert runs[0].messages("me/plain") == ["End of training"]
    assert set(runs[0].files("me/plain")) == MODEL


def test_nothing_is_left_in_the_output_directory(runs):
    assert not list(runs[1].rglob("hub.tmp"))


def test_a_strategy_that_cannot_be_kept_is_refused(make_args):
    with pytest.raises(ValueError, match="the samples, which stay in `output_dir`"):
        make_args(push_to_hub=True, hub_strategy="checkpoint", hub_token="x")


def test_what_is_being_pushed_is_not_deleted(make_trainer, monkeypatch):
    class Reader(Observer):
        reads_checkpoints = True

        def end(self, run):
            self.reads_checkpoints = False

    reader = Reader()
    removed, remove = [], shutil.rmtree

    def watched(path, **options):
        removed.append((reader.reads_checkpoints, Path(path).parent.name, Path(path).exists()))
        remove(path, **options)

    monkeypatch.setattr("star_trl.run.outer_run.shutil.rmtree", watched)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=3, save_total_limit=1)
    trainer.outer_run.observers.append(reader)
    trainer.train()
    assert [was for was, name, existed in removed if name == "iteration-002" and existed] == [False]
