# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What goes wrong in runs of days, and what is left of them. Kills at random moments are in `benchmarks/faults.py`."""

import json
import os
import resource
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from star_trl import RationaleSampler, STaRTrainer, load_ledger
from star_trl.output_dir import DiskFull
from star_trl.publishing.model_card import ModelCards
from star_trl.report.live import LiveReport
from star_trl.rewards import exact_match_reward
from star_trl.run import outer_run
from star_trl.run.outer_run import OuterRun
from star_trl.run.state import RunState
from support.sums import PROBLEMS, solve_easy_and_hinted


class Crash(Exception):
    pass


class CrashAt(TrainerCallback):
    """Crashes in one step, or gives a signal there; counts the steps."""

    def __init__(self, step=None, signal_number=None):
        self.step, self.signal_number, self.steps = step, signal_number, 0

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1
        if state.global_step == self.step:
            if self.signal_number is None:
                raise Crash
            os.kill(os.getpid(), self.signal_number)


@pytest.fixture
def runs(make_trainer, model, tmp_path):
    """Runs that start from the same weights; `expected` is what comes out without a fault."""

    class Runs:
        original = {name: value.clone() for name, value in model.state_dict().items()}
        settings = {"num_iterations": 2, "initial_steps": 12, "save_steps": 5}

        def start(self, answer=solve_easy_and_hinted, resume=False, **changes):
            model.load_state_dict(self.original)
            self.trainer = make_trainer(answer, **{**self.settings, **changes})
            self.trainer.train(resume_from_checkpoint=resume)
            return self.trainer

        def finish(self, *answer, **changes):
            """Runs it without a fault, elsewhere, and keeps what came out."""
            trainer = self.start(*answer, output_dir=str(tmp_path / "whole"), **changes)
            self.weights = {name: value.clone() for name, value in model.state_dict().items()}
            self.samples = load_ledger(trainer.args.output_dir).to_list()
            self.log_steps = [row["step"] for row in trainer.state.log_history if "loss" in row]

        def check(self):
            """The run that was resumed last came to the same end."""
            assert load_ledger(self.trainer.args.output_dir).to_list() == self.samples
            assert all(torch.equal(value, self.weights[name]) for name, value in model.state_dict().items())
            assert [row["step"] for row in self.trainer.state.log_history if "loss" in row] == self.log_steps

    return Runs()


def test_fine_tuning_goes_on_from_its_last_checkpoint(runs):
    runs.finish()
    with pytest.raises(Crash):
        runs.start(callbacks=[CrashAt(step=12 + 8)])
    counted = CrashAt()
    trainer = runs.start(resume=True, callbacks=[counted])
    assert counted.steps == 12 - 5  # the second iteration from step 5 on
    assert trainer.engine.prompts == []
    runs.check()
    # What it was resumed from is gone.
    assert not list(trainer.ledger.output_dir.rglob("checkpoint-*"))


@pytest.mark.parametrize("strategy", ["random", "group_by_length", "batch_rebalance"])
def test_fine_tuning_goes_on_in_a_later_epoch(runs, strategy):
    """With the rows of that epoch that are left, in its order: eight steps are an epoch, and it stops in the third."""
    rows = [{"prompt": f"Q: {number}+0?\nA:", "answer": "9"} for number in range(10, 26)]
    settings = {
        "samplers": [RationaleSampler()],
        "train_dataset": Dataset.from_list(rows),
        "num_iterations": 1,
        "initial_steps": 22,
        "train_sampling_strategy": strategy,
    }
    runs.finish(lambda prompt: " Nine.\n9", **settings)
    with pytest.raises(Crash):
        runs.start(lambda prompt: " Nine.\n9", callbacks=[CrashAt(step=21)], **settings)
    counted = CrashAt()
    runs.start(lambda prompt: " Nine.\n9", resume=True, callbacks=[counted], **settings)
    assert counted.steps == 22 - 20
    runs.check()


def test_resumed_training_loss_is_the_mean_of_the_steps_made(runs):
    with pytest.raises(Crash):
        runs.start(num_iterations=1, learning_rate=0.0, callbacks=[CrashAt(step=11)])
    trainer = runs.start(num_iterations=1, learning_rate=0.0, resume=True)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row][-2:]  # steps 11 and 12
    assert trainer.outer_run.history[-1]["train_loss"] == pytest.approx(sum(losses) / 2, rel=1e-3)


def test_torn_checkpoint_is_not_gone_on_from(runs, monkeypatch):
    """A crash while the state of the optimizer is written, when the weights are there already."""
    runs.finish()
    crash_at_10 = CrashAt()

    def save(trainer, output_dir):
        if trainer.state.global_step == 10:
            raise Crash
        return original_save(trainer, output_dir)

    from transformers import Trainer

    original_save = Trainer._save_optimizer_and_scheduler
    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", save)
    with pytest.raises(Crash):
        runs.start(callbacks=[crash_at_10])
    monkeypatch.undo()
    counted = CrashAt()
    runs.start(resume=True, callbacks=[counted])
    assert counted.steps == (12 - 5) + 12
    runs.check()


def test_resuming_says_where_it_goes_on(runs, capsys):
    def crash(prompt):
        if len(runs.trainer.engine.prompts) == 3:
            raise Crash
        return solve_easy_and_hinted(prompt)

    def line():
        """Said of the run that was resumed last."""
        (found,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Resuming the run in ")]
        return found.partition("/out: ")[2]

    with pytest.raises(Crash):
        runs.start(crash, generation_batch_size=1)
    assert "Resuming" not in capsys.readouterr().err
    with pytest.raises(Crash):
        runs.start(resume=True, callbacks=[CrashAt(step=8)])
    assert line() == "iteration 1: 2 of 4 problems sampled."
    runs.start(resume=True)
    shown = capsys.readouterr().err
    assert "/out: iteration 1: sampled, fine-tuning.\n" in shown
    assert "The fine-tuning continues after step 5.\n" in shown
    runs.start(resume=True)
    assert line() == "iteration 2 was the last one: nothing is left to do."


def test_sigterm_while_sampling(runs):
    """The batch at hand is scored and recorded; the exit code asks for the same command again."""

    def reward(prompts, completions, answer, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return exact_match_reward(prompts=prompts, completions=completions, answer=answer)

    reward.__name__ = "exact_match_reward"
    runs.finish(generation_batch_size=3)
    with pytest.raises(SystemExit) as ended:
        runs.start(generation_batch_size=3, reward_funcs=reward)
    assert ended.value.code == 75
    assert len(runs.trainer.ledger.read(1)) == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    trainer = runs.start(generation_batch_size=3, resume=True)
    assert len(trainer.engine.prompts) == 12 - 3
    runs.check()


def test_sigterm_while_fine_tuning(runs):
    """A checkpoint is made in the step in which it comes."""
    runs.finish()
    with pytest.raises(SystemExit):
        runs.start(callbacks=[CrashAt(step=8, signal_number=signal.SIGTERM)])
    counted = CrashAt()
    runs.start(resume=True, callbacks=[counted])
    assert counted.steps == (12 - 8) + 12
    runs.check()


def test_sigterm_with_a_handler_of_the_program(runs):
    """It is the program's to handle."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    try:
        runs.start(callbacks=[CrashAt(step=8, signal_number=signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [True]
    assert runs.trainer.iteration == 2


def test_evaluation_goes_on_where_it_stopped(runs, problems, capsys):
    """The model is saved before its evaluation, and the samples of the evaluation are recorded as well."""
    runs.finish(eval_dataset=problems, generation_batch_size=2)
    asked = 0

    def crash(prompt):
        nonlocal asked
        asked += 1
        if asked == 4 + 6 + 4:  # the base, the first iteration, and the last problem of its evaluation
            raise Crash
        return solve_easy_and_hinted(prompt)

    with pytest.raises(Crash):
        runs.start(crash, eval_dataset=problems, generation_batch_size=2)
    counted = CrashAt()
    trainer = runs.start(eval_dataset=problems, generation_batch_size=2, resume=True, callbacks=[counted])
    assert "iteration 1: 3 problems evaluated, the model is trained." in capsys.readouterr().err
    assert counted.steps == 12
    assert len(trainer.engine.prompts) == 1 + 6 + 4
    runs.check()
    history = trainer.outer_run.history
    assert [metrics["eval_accuracy"] for metrics in history] == [0.5, 0.5, 0.5]
    assert history[1]["samples/selected"] == 3  # also what was measured before the crash
    evaluated = load_ledger(trainer.args.output_dir, "eval")
    assert evaluated["iteration"][:] == [0] * 4 + [1] * 4 + [2] * 4


def test_crash_between_saving_and_noting_it(runs, monkeypatch):
    """The checkpoint of the iteration before is still there, though only one is kept."""
    runs.finish(save_total_limit=1)

    def save(state, output_dir):
        if state.checkpoint_iteration == 2:
            raise Crash
        return original_save(state, output_dir)

    original_save = RunState.save
    monkeypatch.setattr(RunState, "save", save)
    with pytest.raises(Crash):
        runs.start(save_total_limit=1)
    monkeypatch.undo()
    runs.start(resume=True, save_total_limit=1)
    runs.check()


def test_full_disk(runs):
    """
    A write fails in the middle of a line. What was recorded before stays, and the run goes on when there is room. A
    limit on the size of files, while samples are made, stands for the disk.
    """
    runs.finish(generation_batch_size=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(prompt):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
        return solve_easy_and_hinted(prompt)

    try:
        with pytest.raises(
            DiskFull, match=r"File too large while .*samples-00000-of-00001.jsonl was written.*Make room"
        ):
            runs.start(fill, generation_batch_size=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (shard,) = runs.trainer.ledger.output_dir.glob("iteration-001/samples-*")
    recorded = runs.trainer.ledger.read(1)
    assert recorded and not shard.read_bytes().endswith(b"\n")
    trainer = runs.start(generation_batch_size=1, resume=True)
    assert len(trainer.engine.prompts) == 12 - len(recorded)
    runs.check()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
def test_disk_full_while_a_checkpoint_is_written(runs, tmp_path, name):
    """Torch and safetensors have errors of their own for it."""
    runs.finish(callbacks=[CrashAt()])
    with pytest.raises(Crash):
        runs.start(callbacks=[CrashAt(step=6)], output_dir=str(tmp_path / "other"))
    (written,) = (tmp_path / "other").glob(f"iteration-001/fine-tuning/checkpoint-5/{name}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Fill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            resource.setrlimit(resource.RLIMIT_FSIZE, (written.stat().st_size - 100, limits[1]))

    try:
        with pytest.raises(
            DiskFull, match=r"File too large while .*fine-tuning.* was written.*Make room .* and resume"
        ):
            runs.start(callbacks=[Fill()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    runs.start(resume=True, callbacks=[CrashAt()])
    runs.check()


def test_a_ledger_deleted_after_sampling_ends_the_run(runs, monkeypatch):
    """The training set is read from it."""
    runs.finish(sample_iterations=2)
    select = STaRTrainer.select

    def delete_and_select(trainer, iteration):
        if iteration == 2:
            next(trainer.ledger.output_dir.glob("iteration-002/samples-*.jsonl")).unlink()
        return select(trainer, iteration)

    monkeypatch.setattr(STaRTrainer, "select", delete_and_select)
    with pytest.raises(RuntimeError, match=r"iteration-002/samples-00000-of-00001.jsonl has 0 bytes, but \d+ were"):
        runs.start(sample_iterations=2)
    monkeypatch.undo()
    runs.start(resume=True, sample_iterations=2)
    runs.check()


def test_shards_of_another_number_of_processes(runs):
    """What two processes recorded is gone on with by one."""
    runs.finish()
    with pytest.raises(Crash):
        runs.start(callbacks=[CrashAt(step=1)])
    (shard,) = runs.trainer.ledger.output_dir.glob("iteration-001/samples-*")
    lines = shard.read_text().splitlines(keepends=True)
    shard.unlink()
    for process in range(2):
        path = shard.with_name(f"samples-{process:05d}-of-00002.jsonl")
        path.write_text("".join(lines[process::2])[: None if process else -10])  # one of them torn
    trainer = runs.start(resume=True)
    assert len(trainer.engine.prompts) == 1 + 6
    runs.check()


def test_another_number_of_sequences_per_step_is_refused(runs):
    """Another number of processes is fine as long as a step stays what it was."""
    with pytest.raises(Crash):
        runs.start(callbacks=[CrashAt(step=1)])
    with pytest.raises(ValueError, match="`sequences per optimizer step` was 2 and is 4"):
        runs.start(resume=True, gradient_accumulation_steps=2)
    runs.start(resume=True, gradient_accumulation_steps=2, per_device_train_batch_size=1)


def test_other_few_shot_examples_are_refused(runs):
    runs.start(num_iterations=1)
    with pytest.raises(ValueError, match="there were 1 few-shot examples, now 0"):
        runs.start(resume=True, few_shot_examples=None)


def test_killed_before_the_first_sample(runs):
    """There is a run from its first moment on."""

    def crash(prompt):
        raise Crash

    with pytest.raises(Crash):
        runs.start(crash)
    runs.finish()
    runs.start(resume=True)
    runs.check()


def test_run_that_has_ended_is_not_gone_on_with(runs, problems):
    settings = {"eval_dataset": problems, "num_iterations": 4, "patience": 1, "initial_steps": 1}
    assert runs.start(**settings).iteration == 1
    trainer = runs.start(resume=True, **settings)
    assert trainer.engine.prompts == [] and trainer.iteration == 1


def test_a_run_without_an_evaluation_set_stops_at_the_same_plateau(runs, monkeypatch):
    """After a crash between saving a model and noting what measured the one before."""

    def answer(prompt):
        """The model of the first iteration solves what the others do not."""
        return " Sum.\n9" if runs.trainer.iteration == 1 and "4+5" in prompt else solve_easy_and_hinted(prompt)

    settings = {"num_iterations": 9, "patience": 2, "initial_steps": 2}
    runs.finish(answer, **settings)
    expected = runs.trainer.outer_run.state
    assert (expected.best_iteration, expected.best_metric, expected.iteration) == (1, 0.75, 4)

    def end(run, eval_metrics):
        if run.trainer.iteration == 2:
            raise Crash
        return original_end(run, eval_metrics)

    original_end = OuterRun.end_iteration
    monkeypatch.setattr(OuterRun, "end_iteration", end)
    with pytest.raises(Crash):
        runs.start(answer, **settings)
    monkeypatch.undo()
    found = runs.start(answer, resume=True, **settings).outer_run.state
    assert (found.best_iteration, found.best_metric, found.iteration) == (1, 0.75, 4)
    assert found.trainer_state["best_global_step"] == expected.trainer_state["best_global_step"] == 2
    runs.check()


def test_damaged_line_is_named(runs):
    with pytest.raises(Crash):
        runs.start(callbacks=[CrashAt(step=1)])
    shard = next(runs.trainer.ledger.output_dir.glob("iteration-001/samples-*"))
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join([lines[0], '{"iteration": 1\n', *lines[1:]]))
    with pytest.raises(ValueError, match=r"Line 2 of .*samples-00000-of-00001.jsonl is not a sample"):
        load_ledger(runs.trainer.args.output_dir)


def test_engine_that_dies(runs):
    """What it finished before is scored and recorded."""

    def die(prompt):
        if "4+5" in prompt:
            raise Crash
        return solve_easy_and_hinted(prompt)

    with pytest.raises(Crash):
        runs.start(die)
    # In the order of the engine: the last problem comes first, the third one dies.
    assert [sample.problem_id for sample in runs.trainer.ledger.read(1)] == [3]


class Reward:
    """Exact match, with a fault in some calls."""

    def __init__(self, fault):
        self.__name__ = "faulty"
        self.fault = fault
        self.calls = 0

    def __call__(self, prompts, completions, answer, **kwargs):
        self.calls += 1
        rewards = exact_match_reward(prompts=prompts, completions=completions, answer=answer)
        return self.fault(self.calls, prompts, rewards) or rewards


def on_one_problem(fault):
    """A fault whenever the third problem is among the completions."""
    return lambda call, prompts, rewards: fault() if PROBLEMS[2]["prompt"] in prompts else None


def fail():
    raise ConnectionError("service is away")


def test_reward_function_that_fails_for_one_completion(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=Reward(on_one_problem(fail)), reward_retries=0)
    trainer.train()
    samples = {(sample.sampler, sample.problem_id): sample for sample in trainer.ledger.read(1)}
    failed = samples["rationale", 2]
    assert (failed.kept, failed.drop_reason, failed.rewards) == (False, "error", {"faulty": None})
    assert failed.extra == {"error": "faulty: ConnectionError('service is away')"}
    assert samples["rationale", 0].kept and samples["rationale", 3].drop_reason == "wrong"
    assert trainer.outer_run.history[-1]["samples/dropped_error"] == 2


def test_reward_function_that_hangs(make_trainer):
    reward = Reward(on_one_problem(lambda: time.sleep(30)))
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=0, reward_timeout=0.5)
    start = time.time()
    trainer.sample(1)
    assert time.time() - start < 20
    samples = {(sample.sampler, sample.problem_id): sample for sample in trainer.ledger.read(1)}
    assert samples["rationale", 2].drop_reason == "error"
    assert "within `reward_timeout=0.5` seconds" in samples["rationale", 2].extra["error"]
    assert samples["rationale", 0].kept


def test_coroutine_that_hangs(make_trainer):
    import asyncio

    async def slow(prompts, completions, answer, **kwargs):
        if PROBLEMS[2]["prompt"] in prompts:
            await asyncio.sleep(30)
        return exact_match_reward(prompts=prompts, completions=completions, answer=answer)

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=slow, reward_retries=0, reward_timeout=0.5)
    trainer.sample(1)
    samples = {(sample.sampler, sample.problem_id): sample for sample in trainer.ledger.read(1)}
    assert samples["rationale", 2].drop_reason == "error" and samples["rationale", 0].kept


def test_reward_function_that_works_again(make_trainer):
    reward = Reward(lambda call, prompts, rewards: fail() if call == 1 else None)
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=1)
    trainer.sample(1)
    assert reward.calls == 3  # twice for the rationales, once for the rationalizations
    assert sum(sample.kept for sample in trainer.ledger.read(1)) == 3


def test_an_error_in_a_reward_function_is_waited_for_once(make_trainer, monkeypatch):
    """It may be due to the answer of a service that is overloaded. The same error again is one of the code."""
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    reward = Reward(lambda call, prompts, rewards: {}["answers"])
    with pytest.raises(KeyError, match="answers"):
        make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=2).train()
    assert reward.calls == 2 + 4
    assert waits == [1]


def test_an_overloaded_service_is_asked_again(make_trainer, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    reward = Reward(lambda call, prompts, rewards: {}["answers"] if call == 1 else None)
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=2)
    assert sum(sample.kept for sample in trainer.sample(1)) == 3


def test_sigterm_with_a_handler_that_exits_while_scoring(runs):
    """The handler is the program's, and its exit code is no failure of the reward function."""

    def reward(completions, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return [1.0] * len(completions)

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit) as ended:
            runs.start(reward_funcs=reward)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143


def test_reward_function_that_never_works(make_trainer):
    """A broken function, or a service that is away for good: better no run than one without rewards."""
    reward = Reward(lambda call, prompts, rewards: fail())
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=0)
    with pytest.raises(ConnectionError, match="service is away"):
        trainer.train()
    assert reward.calls == 1 + 4


def test_reward_function_that_never_works_is_given_up_early(make_trainer):
    reward = Reward(lambda call, prompts, rewards: fail())
    many = Dataset.from_list([{**PROBLEMS[0], "prompt": f"Q: {number}+2?\nA:"} for number in range(20)])
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=0, train_dataset=many)
    with pytest.raises(ConnectionError):
        trainer.train()
    assert reward.calls == 1 + 8


def test_single_completion_that_cannot_be_scored(make_trainer):
    """One by one they are marked: otherwise a run with one such problem left could never be resumed."""
    reward = Reward(on_one_problem(fail))
    trainer = make_trainer(
        solve_easy_and_hinted, reward_funcs=reward, reward_retries=0, generation_batch_size=1, num_iterations=1
    )
    trainer.train()
    reasons = {(sample.sampler, sample.problem_id): sample.drop_reason for sample in trainer.ledger.read(1)}
    assert reasons["rationale", 2] == reasons["rationalization", 2] == "error"


def test_nan_does_not_apply(make_trainer):
    reward = Reward(lambda call, prompts, rewards: [float("nan"), *rewards[1:]])
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward)
    trainer.sample(1)
    unverified = [sample for sample in trainer.ledger.read(1) if sample.drop_reason == "unverified"]
    assert len(unverified) == 2 and all(sample.rewards == {"faulty": None} for sample in unverified)


def test_tracker_that_cannot_be_reached(make_trainer, monkeypatch, caplog):
    def unreachable(self, *args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(TensorBoardCallback, "on_train_begin", lambda self, *args, **kwargs: None)
    monkeypatch.setattr(TensorBoardCallback, "on_log", unreachable)
    trainer = make_trainer(solve_easy_and_hinted, callbacks=[TensorBoardCallback(tb_writer=object())])
    trainer.args.report_to = ["tensorboard"]
    from star_trl.monitoring.trackers import outlive_trackers

    outlive_trackers(trainer.callback_handler.callbacks, ["tensorboard"])
    trainer.train()
    assert trainer.iteration == 2
    assert "`TensorBoardCallback.on_log` failed" in caplog.text


def test_original_weights_are_kept_in_host_memory_once(make_trainer, model):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.train()
    weights = trainer.keep_original_weights()
    tied = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    assert weights.num_bytes == tied
    assert {tensor.device.type for tensor in weights._tensors.values()} == {"cpu"}


def test_moments_of_the_optimizer_start_empty(make_trainer):
    """In every outer iteration."""
    sizes = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, optimizer, **kwargs):
            if state.global_step % 3 == 0:
                sizes.append(len(optimizer.state))

    make_trainer(solve_easy_and_hinted, initial_steps=3, callbacks=[Look()]).train()
    assert sizes == [0, 0]


def test_the_other_processes_wait_for_what_the_first_one_writes_alone(make_trainer, problems, monkeypatch):
    """The report, the card and what it deletes, before the work in which all take part goes on."""
    events = []

    def note(event, function=lambda *args: None):
        def call(*args, **kwargs):
            events.append(event)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(outer_run, "clear_run", note("alone", outer_run.clear_run))
    monkeypatch.setattr(ModelCards, "write", note("alone", ModelCards.write))
    for name in ("begin", "iteration_complete"):
        monkeypatch.setattr(LiveReport, name, note("alone", getattr(LiveReport, name)))
    monkeypatch.setattr(RunState, "save", note("alone", RunState.save))

    @contextmanager
    def raise_together():
        yield
        events.append("wait")

    monkeypatch.setattr(outer_run, "raise_together", raise_together)
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=problems)
    for name in ("keep_original_weights", "evaluate", "sample", "save_model"):
        setattr(trainer, name, note("together", getattr(trainer, name)))
    trainer.train()
    events.append("together")  # whatever the script does next
    assert events.count("alone") > 8 and events.count("together") > 6
    assert ("alone", "together") not in set(zip(events, events[1:], strict=False))


def test_state_is_readable_at_any_time(runs):
    """It is replaced in one step, so that no reader ever finds half of it."""
    seen = []

    class Look(TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            path = Path(args.output_dir) / "star_state.json"
            seen.append(json.loads(path.read_text())["checkpoint_iteration"])
            shutil.copy(path, path.with_suffix(".copy"))

    runs.start(callbacks=[Look()])
    assert seen == [1, 2]
