# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Times of a run that is interrupted: they add up. The clock is a stand-in that only the work below moves."""

from types import SimpleNamespace

import pytest
from transformers import TrainerCallback

from star_trl.run import phase_times
from star_trl.run.phase_times import PhaseTimes
from support.sums import solve_easy_and_hinted


class Crash(Exception):
    pass


class Work:
    """A completion takes 10 seconds, and a step of the optimizer 3. It crashes when it is told to."""

    def __init__(self):
        self.now, self.prompts, self.steps = 1000.0, 0, 0
        self.crash_in = ""

    def do(self, kind: str, seconds: float) -> None:
        self.now += seconds
        setattr(self, kind, getattr(self, kind) + 1)
        if f"{kind} {getattr(self, kind)}" == self.crash_in:
            raise Crash


@pytest.fixture
def work(monkeypatch):
    work = Work()
    monkeypatch.setattr(phase_times, "time", SimpleNamespace(monotonic=lambda: work.now))
    return work


@pytest.fixture
def start(make_trainer, model, problems, work):
    """Starts a run of one iteration, or resumes it."""

    original = {name: value.clone() for name, value in model.state_dict().items()}

    def answer(prompt):
        work.do("prompts", 10)
        return solve_easy_and_hinted(prompt)

    class Steps(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            work.do("steps", 3)

    def start(resume=False, crash_in=""):
        work.crash_in = crash_in
        model.load_state_dict(original)
        trainer = make_trainer(
            answer,
            num_iterations=1,
            initial_steps=6,
            save_steps=2,
            generation_batch_size=1,
            eval_dataset=problems,
            callbacks=[Steps()],
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return start


@pytest.mark.parametrize("killed", [False, True])
def test_times_add_up_over_interruptions(start, work, tmp_path, monkeypatch, killed):
    if killed:  # the process has no time left to write anything
        monkeypatch.setattr(PhaseTimes, "leave", lambda self: None)
    with pytest.raises(Crash):
        start(crash_in="prompts 7")  # of 4 samples of the original model and 6 of the iteration
    with pytest.raises(Crash):
        start(resume=True, crash_in="steps 5")  # after a checkpoint at step 4
    with pytest.raises(Crash):
        start(resume=True, crash_in="prompts 14")
    trainer = start(resume=True)
    base, row = trainer.outer_run.history
    assert (work.prompts, work.steps) == (4 + 6 + 4 + 2, 7)
    lost = 3 if killed else 0  # since the file was written last
    assert row["seconds/sample"] == 10 * 6 + (0 if killed else 10)
    assert row["seconds/fine_tune"] == 3 * 7 - lost
    assert row["eval_runtime"] == pytest.approx(10 * 4 + (0 if killed else 10), abs=1)  # of the time of day
    phases = row["seconds/sample"] + row["seconds/fine_tune"] + row["eval_runtime"]
    assert row["seconds"] == pytest.approx(phases, abs=1)
    assert row["tokens_per_second"] * row["seconds/sample"] == pytest.approx(6 * 17)  # also those from before
    assert not (tmp_path / "out/iteration-001/seconds.json").exists()


def test_what_is_not_part_of_a_run_is_measured_by_itself(start, work, problems):
    trainer = start()
    assert trainer.evaluate()["eval_runtime"] == trainer.evaluate()["eval_runtime"] == pytest.approx(40, abs=1)


def test_a_damaged_file_is_named(start, tmp_path):
    with pytest.raises(Crash):
        start(crash_in="prompts 7")
    path = tmp_path / "out/iteration-001/seconds.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="seconds.json is damaged.*Delete it"):
        start(resume=True)
    path.unlink()
    assert start(resume=True).iteration == 1
