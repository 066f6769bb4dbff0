# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The comparison of STaR with GRPO in an environment, and the measurements of broken environments."""

import json
from collections import Counter
from dataclasses import replace

import pytest

import broken_environments
import environments
import key_and_door
import runs
from broken_environments import ENVIRONMENTS, PAGE, RESULTS, make_table, measure
from environments import GRPO, SPEED, STAR
from key_and_door import KeyAndDoor, find_way, make_problems
from support.game import follow
from tables import fill_in


def play(prompt: str) -> str:
    """Follows the way where it is shown, and knows it from the two first columns."""
    cell, key, door = (prompt.partition(name)[2][:2] for name in ("You are at ", "The key is at ", "The door is at "))
    way = f"The way is {' '.join(find_way(cell, key, door))}." if cell[0] in "ab" else ""
    return follow(prompt if "The way is " in prompt else way + prompt)


def test_the_methods_of_the_comparison(untrained_player, script_engine, run_command, monkeypatch, tmp_path, capsys):
    (untrained_player / "base").rename(untrained_player / "key_and_door")
    for name in ("RESULTS", "IMAGES"):
        monkeypatch.setattr(runs, name, tmp_path)
    monkeypatch.setattr(environments, "NUM_HELD_OUT", 8)
    game = replace(environments.GAMES["key_and_door"], num_training=16, p_show_hint=1.0)
    monkeypatch.setitem(environments.GAMES, "key_and_door", game)
    monkeypatch.setitem(environments.WITHOUT_HINTS, "initial_steps", 2)
    for name, value in {"initial_steps": 1, "max_completion_length": 120}.items():
        monkeypatch.setitem(key_and_door.CONFIG, name, value)
    script_engine(play)
    iterations = []

    class Watched(environments.Budget):
        def on_epoch_end(self, args, state, control, **kwargs):
            iterations.append((state.global_step, self.trainer.ledger.read(1)))
            super().on_epoch_end(args, state, control, **kwargs)

    monkeypatch.setattr(environments, "Budget", Watched)

    run_command(environments.main, output_dir=untrained_player, cpu_seconds=0.01)
    results = json.loads((tmp_path / "environments.json").read_text())
    assert set(results) == {*STAR, *GRPO, SPEED}
    known = sum(row["cell"][0] in "ab" for row in make_problems(0, 8)) / 8
    assert 0 < known < 1
    for name in (*STAR, *GRPO):
        start, end = results[name]["seed 0"]
        assert start["accuracy"] == end["accuracy"] == known  # the engine is scripted
        assert start["tokens"] == 0 < end["tokens"] and start["seconds"] == 0 < end["seconds"]
    (speed,) = results[SPEED].values()
    assert speed["conversations"] == 16 and speed["turns"] > 16 and speed["engine_turns"] % 16 == 0
    assert (tmp_path / "environments.png").exists()
    (steps, with_hints), (steps_without, without_hints) = iterations
    assert (steps, steps_without) == (1, 2)
    assert {(sample.sampler, sample.hint_shown) for sample in with_hints if sample.kept} == {
        ("rationale", False),
        ("rationalization", True),
    }
    assert {sample.sample_index for sample in with_hints} == {0}
    assert Counter((sample.sampler, sample.sample_index) for sample in without_hints) == {
        ("rationale", 0): 16,
        ("rationale", 1): 16,
    }
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["STaR"] == round(known, 3)

    script_engine(lambda prompt: pytest.fail("a run that is done was made again"))
    run_command(environments.main, output_dir=untrained_player, cpu_seconds=0.01)
    assert json.loads((tmp_path / "environments.json").read_text()) == results


@pytest.mark.parametrize(
    ("name", "outcomes", "error"),
    [
        ("fast", {"wrong": 2, "kept": 2}, None),
        ("its tool raises", {"wrong": 4}, None),
        ("`reset` raises", {"error": 4}, "reset: RuntimeError('no connection')"),
        ("`get_reward` raises", {"error": 4}, "get_reward: RuntimeError('no connection')"),
        ("its tool hangs", {"wrong": 2, "error": 2}, "`go` gave no answer within 2 seconds"),
        ("`reset` hangs", {"error": 4}, "reset: OutOfTime('`reset` gave no answer within 2 seconds')"),
        ("its coroutine blocks the event loop", {"wrong": 2, "error": 2}, "`go` gave no answer within 2 seconds"),
        ("its tool returns 10 MB", {"wrong": 2, "truncated": 2}, None),
    ],
)
def test_what_becomes_of_a_broken_environment(name, outcomes, error, untrained_player, script_engine, monkeypatch):
    timeout = 2.0 if "hangs" in name or "blocks" in name else None  # holds for the other environments as well
    for constant, value in {"NUM_PROBLEMS": 20, "TIMEOUT": timeout, "ENORMOUS": 2000}.items():
        monkeypatch.setattr(broken_environments, constant, value)
    script_engine(play)
    environment, _ = ENVIRONMENTS[name]
    result = measure(str(untrained_player / "base"), environment, every=10, initial_steps=1)
    assert result["outcomes_of_faulty"] == outcomes
    assert list(result["errors"]) == ([] if error is None else [error])
    assert result["conversations"] - result["faulty"] > 18 and result["kept"] >= 18 and result["iterations"] == 1


def test_the_slow_environment_sleeps_in_every_call(monkeypatch):
    slept = []
    monkeypatch.setattr(broken_environments.time, "sleep", slept.append)
    environment, every = ENVIRONMENTS["slow, 0.2 s in every call"]
    game = environment()
    game.reset(faulty=True, cell="a1", key="b1", door="c1")
    game.go("east")
    game.get_reward()
    assert slept == [0.2] * 3 and every == 1


def test_the_committed_table_is_made_from_the_committed_results():
    page, results = PAGE.read_text(), json.loads(RESULTS.read_text())["one iteration"]
    assert fill_in(page, {"broken_environments": make_table(results)}) == page
    assert list(results) == list(ENVIRONMENTS)


def test_the_broken_game_is_the_game_to_the_model():
    environment, _ = ENVIRONMENTS["its coroutine blocks the event loop"]
    assert environment().go.__doc__ == KeyAndDoor().go.__doc__
