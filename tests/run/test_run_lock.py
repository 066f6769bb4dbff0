# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""One run at a time in an output directory."""

import errno
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from star_trl import load_ledger
from star_trl.run.run_lock import RunInUse, RunLock
from support.sums import solve_easy_and_hinted


@pytest.fixture
def other_process(tmp_path):
    """Another process that owns the output directory, and is killed at the end."""
    code = (
        "import sys, time; from star_trl.run.run_lock import RunLock; "
        "lock = RunLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("changes", [{}, {"overwrite_output_dir": True}])
def test_a_second_run_is_refused(make_trainer, other_process, changes):
    trainer = make_trainer(solve_easy_and_hinted, **changes)
    with pytest.raises(RunInUse, match=rf"in use by another run \(process {other_process.pid} on .*another `output_d"):
        trainer.train()
    assert trainer.engine.prompts == []
    assert not list(trainer.ledger.output_dir.glob("iteration-*"))


def test_a_killed_run_leaves_the_directory_free(make_trainer, other_process):
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()


def test_a_run_that_ends_or_fails_leaves_the_directory_free(make_trainer):
    def fail(prompt):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        make_trainer(fail).train()
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1)
    trainer.train(resume_from_checkpoint=True)
    lock = RunLock(trainer.args.output_dir)
    lock.acquire()
    lock.release()


def test_a_file_system_without_locks_is_warned_about(make_trainer, monkeypatch, caplog):
    def acquire(self):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1)
    trainer.train()
    assert trainer.iteration == 1
    assert "has no locks" in caplog.text and "only one run at a time" in caplog.text


def test_another_run_on_a_file_system_without_locks_is_named(make_trainer):
    def answer(prompt):
        path.write_text("process 7 on elsewhere\n")
        return solve_easy_and_hinted(prompt)

    trainer = make_trainer(answer)
    path = RunLock(trainer.args.output_dir).path
    with pytest.raises(RuntimeError, match=r"Another run \(process 7 on elsewhere\) has begun in .*out while"):
        trainer.train()


@pytest.mark.parametrize("moment", ["sampling", "fine-tuning"])
def test_an_output_directory_deleted_during_the_run_ends_it(make_trainer, moment):
    """In the second iteration. A run that goes on without the samples of the first one would train on fewer."""

    def answer(prompt):
        if moment == "sampling" and trainer.iteration == 1 and Path(trainer.args.output_dir, "README.md").exists():
            shutil.rmtree(trainer.args.output_dir, ignore_errors=True)
        return solve_easy_and_hinted(prompt)

    trainer = make_trainer(answer, num_iterations=3, sample_iterations=3, generation_batch_size=1)
    if moment == "fine-tuning":
        fine_tune = trainer.fine_tune

        def delete_and_fine_tune(selected, iteration):
            if iteration == 2:
                shutil.rmtree(trainer.args.output_dir)
            return fine_tune(selected, iteration)

        trainer.fine_tune = delete_and_fine_tune
    with pytest.raises(RuntimeError, match="out was deleted or replaced while the run was in progress"):
        trainer.train()
    assert not Path(trainer.args.output_dir, "star_state.json").exists()


def test_a_ledger_deleted_during_sampling_ends_the_run(make_trainer):
    def answer(prompt):
        for shard in trainer.ledger.output_dir.glob("iteration-001/*.jsonl"):
            shard.unlink()
        return solve_easy_and_hinted(prompt)

    trainer = make_trainer(answer, generation_batch_size=1)
    with pytest.raises(RuntimeError, match=r"samples-00000-of-00001.jsonl has 0 bytes, but \d+ were written"):
        trainer.train()
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.train(resume_from_checkpoint=True)
    assert len(load_ledger(trainer.args.output_dir)) == 12


def test_sampling_again_after_the_directory_was_deleted(make_trainer):
    """As in a notebook. What was appended before is not missed."""
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.sample(1)
    shutil.rmtree(trainer.args.output_dir)
    assert len(trainer.sample(1)) == 6
