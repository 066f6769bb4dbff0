# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What several examples need: a base model that is made once, a small database, and a run of the game."""

import json
import sqlite3
from pathlib import Path

import pytest
from datasets import Dataset
from filelock import FileLock

from star_trl import STaRConfig, load_ledger
from support.game import follow
from support.scripted_engine import ScriptedEngine


@pytest.fixture(scope="session")
def small_adder(tmp_path_factory) -> Path:
    """A model that is right on some sums of one digit and wrong on others."""
    from scratchpads import make_base_model

    folder = tmp_path_factory.getbasetemp().parent
    with FileLock(folder / "small-adder.lock"):
        return make_base_model(folder / "small-adder", phases=((80, 32, 32, (1,)), (40, 16, 64, (1,))))


@pytest.fixture
def geography(tmp_path) -> str:
    """A folder with data in the form of GeoQuery's files."""
    connection = sqlite3.connect(tmp_path / "geography.sqlite")
    connection.execute("CREATE TABLE state (state_name TEXT, capital TEXT)")
    names = [f"s{i}" for i in range(20)]
    connection.executemany("INSERT INTO state VALUES (?, ?)", [(name, f"{name}'s capital") for name in names])
    connection.commit()
    connection.close()
    query = 'SELECT STATEalias0.CAPITAL FROM STATE AS STATEalias0 WHERE STATEalias0.STATE_NAME = "state_name0" ;'
    sentences = [
        {"text": "what is the  capital of state_name0", "variables": {"state_name0": name}, "question-split": split}
        for name, split in zip([*names, "nowhere"], [*["train"] * 12, "dev", *["test"] * 7, "train"], strict=True)
    ]
    failing = {"sql": ["SELECT 1 > ALL (SELECT 2)"], "sentences": sentences[:1]}
    variant = {"sql": ["SELECT nowhere FROM state", "SELECT 1 FROM state"], "sentences": sentences[:1]}
    variant["sentences"] = [{**sentences[0], "text": "which number is it"}]
    entries = [{"sql": [query], "sentences": sentences}, failing, variant]
    (tmp_path / "geography.json").write_text(json.dumps(entries))
    return str(tmp_path)


@pytest.fixture
def untrained_player(tmp_path) -> Path:
    """A folder with a base model of the game that has hardly been trained, since the engine is scripted."""
    from key_and_door import make_base_model

    make_base_model(tmp_path / "game" / "base", phases=((1, 2, None),))
    return tmp_path / "game"


@pytest.fixture
def play_the_game(untrained_player):
    """
    Trains for one iteration on problems of the game, with a model that follows the way where it is shown. Returns
    which samples are kept. Other arguments are those of the trainer.
    """
    import key_and_door

    def play(rows, **others) -> dict[tuple[str, int], bool]:
        settings = {**key_and_door.CONFIG, "num_iterations": 1, "initial_steps": 1}
        config = STaRConfig(**settings, output_dir=str(untrained_player / "out"))
        trainer = key_and_door.make_trainer(untrained_player / "base", config, Dataset.from_list(list(rows)), **others)
        trainer.engine = ScriptedEngine(trainer.processing_class, follow)
        trainer.train()
        return {(sample.sampler, sample.problem_id): sample.kept for sample in trainer.ledger.read(1)}

    return play


@pytest.fixture
def run_game(untrained_player, script_engine, run_command, monkeypatch):
    """
    Runs the `main` of an example of the game for one iteration on 20 problems, with a model that follows the way where
    it is shown. Returns the number of kept samples.
    """
    import key_and_door

    def run(module) -> int:
        script_engine(follow)
        monkeypatch.setattr(module, "CONFIG", {**key_and_door.CONFIG, "initial_steps": 1})
        run_command(module.main, output_dir=untrained_player, num_iterations=1, problems=20)
        return sum(load_ledger(untrained_player / "run")["kept"])

    return run
