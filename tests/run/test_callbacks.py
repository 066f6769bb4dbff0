# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Callbacks see one run, whose steps only grow."""

import gc
import weakref
from collections import Counter

import pytest
from transformers import EarlyStoppingCallback, TrainerCallback

from star_trl.run.inner_run import Length
from support.sums import PROBLEMS, solve_easy_and_hinted


class Recorder(TrainerCallback):
    def __init__(self):
        self.events = []

    def record(self, event, state, **details):
        self.events.append({"event": event, "step": state.global_step, "epoch": state.epoch, **details})

    def on_train_begin(self, args, state, control, **kwargs):
        self.record("train_begin", state)

    def on_train_end(self, args, state, control, **kwargs):
        self.record("train_end", state)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.record("epoch_begin", state)

    def on_epoch_end(self, args, state, control, **kwargs):
        self.record("epoch_end", state)

    def on_step_end(self, args, state, control, **kwargs):
        assert kwargs["optimizer"] is not None and kwargs["lr_scheduler"] is not None
        self.record("step_end", state)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.record("evaluate", state, metrics=metrics)

    def on_save(self, args, state, control, **kwargs):
        self.record("save", state)

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.record("log", state, logs=logs)


def test_a_callback_sees_one_run(make_trainer, problems):
    recorder = Recorder()
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=3, eval_dataset=problems, callbacks=[recorder])
    trainer.train()
    events = recorder.events
    counts = Counter(event["event"] for event in events)
    assert (counts["train_begin"], counts["train_end"]) == (1, 1)
    assert (events[0]["event"], events[-1]["event"]) == ("train_begin", "train_end")
    assert (counts["epoch_begin"], counts["epoch_end"], counts["save"], counts["evaluate"]) == (3, 3, 3, 4)
    steps = [event["step"] for event in events]
    assert steps == sorted(steps)
    assert [event["step"] for event in events if event["event"] == "step_end"] == list(range(1, 10))
    epochs = [event["epoch"] for event in events]
    assert epochs == sorted(epochs) and epochs[-1] == 3
    losses = [event for event in events if event["event"] == "log" and "loss" in event["logs"]]
    assert [event["step"] for event in losses] == list(range(1, 10))
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == list(range(1, 10))


def test_the_training_set_of_an_iteration_is_freed(make_trainer):
    """A few-shot prompt before each of 100,000 samples makes it a gigabyte."""
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2)
    sets = []
    make_training_set, sample = trainer.make_training_set, trainer.sample

    def make(*args):
        prepared = make_training_set(*args)
        sets.append(weakref.ref(prepared))
        return prepared

    def check(iteration):
        gc.collect()
        assert [each() for each in sets] == [None] * (iteration - 1)
        return sample(iteration)

    trainer.make_training_set, trainer.sample = make, check
    trainer.train()
    assert len(sets) == 2


@pytest.mark.parametrize("event", ["on_step_end", "on_evaluate"])
def test_a_callback_can_stop_the_run(make_trainer, problems, event):
    class Stop(TrainerCallback):
        pass

    def stop(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= 2

    setattr(Stop, event, stop)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=5, eval_dataset=problems, callbacks=[Stop()])
    trainer.train()
    assert trainer.state.global_step == {"on_step_end": 2, "on_evaluate": 3}[event]
    assert trainer.ledger.iterations() == [0, 1]


def test_early_stopping_callback(make_trainer, problems):
    trainer = make_trainer(
        solve_easy_and_hinted,
        num_iterations=9,
        eval_dataset=problems,
        load_best_model_at_end=True,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )
    trainer.train()
    assert trainer.ledger.iterations() == [0, 1, 2]


def test_metrics_that_a_person_follows(make_trainer, problems):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems)
    metrics = trainer.train().metrics
    expected = {
        "rationale/solved": 0.5,
        "rationalization/solved": 0.25,
        "rationalization/yield": 0.5,
        "train_data_used": 0.75,
        "rationale/reward": 0.5,
        "reward": 0.5,
        "rewards/exact_match_reward/mean": 0.5,
        "rewards/exact_match_reward/std": 3**-0.5,
        "rationale/completion_length": 17,
        "samples/selected": 3,
        "samples/dropped_wrong": 3,
        "eval_accuracy": 0.5,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert all(metrics[name] > 0 for name in ("seconds/sample", "seconds/fine_tune", "tokens_per_second", "seconds"))
    logged = {name for entry in trainer.state.log_history for name in entry}
    assert expected.keys() <= logged


@pytest.mark.parametrize(("num_train_epochs", "steps"), [(2, 4), (1.5, 3), (0.1, 1)])
def test_the_length_in_epochs_is_that_of_the_trainer(make_args, num_train_epochs, steps):
    """The last step of each epoch has fewer rows: ten rows in steps of eight."""
    args = make_args(
        initial_steps=None,
        num_train_epochs=num_train_epochs,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
    )
    length = Length(args, num_samples=10, num_rows=10, num_processes=1)
    assert (length.steps, length.epochs) == (steps, num_train_epochs)


def test_a_metric_that_is_nan_is_never_the_best(make_trainer, problems):
    trainer = make_trainer(eval_dataset=problems)
    values = {1: float("nan"), 2: 0.5, 3: float("nan")}
    noted = [
        trainer.outer_run._note_best({"iteration": number, "eval_accuracy": value}) for number, value in values.items()
    ]
    assert noted == [0, 2, 0]
    assert trainer.outer_run.state.best_metric == 0.5


def test_the_completions_table_of_grpo(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1)
    assert trainer._logs["prompt"] == []
    trainer.train()
    logs = trainer._logs
    assert logs["prompt"] == [row["prompt"] for row in PROBLEMS] and logs["completion"][0] == " Let me count.\n3"
    assert logs["rewards"] == {"exact_match_reward": [1.0, 1.0, 0.0, 0.0]} and logs["advantages"] == [0.0] * 4
