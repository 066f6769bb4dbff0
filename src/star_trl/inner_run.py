# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Lets `Trainer.train()` run as the inner loop of one outer iteration.

`Trainer` treats every `train()` as a run of its own: a new `TrainerState`, `on_train_begin` and `on_train_end` for
every callback (at which trackers close), evaluation and checkpoints by inner steps. Here a user's callbacks and
trackers see the outer run, whose step is the sum of the inner steps and whose epoch is the outer iteration.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy


class _Forwarder(TrainerCallback):
    """
    Passes step and log events of the inner run on to the callbacks of the outer one, which have a control of their
    own: the inner run's says "stop" at the end of each inner loop.
    """

    def __init__(self, trainer: Trainer):
        self.handler = trainer.callback_handler
        self.args = trainer.args
        self.state = trainer.state
        self.control = trainer.control
        self.start = copy.copy(trainer.state)

    def _forward(self, event: str, inner: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        self._advance(inner)
        self.control = getattr(self.handler, event)(self.args, self.state, self.control, **kwargs)
        # Evaluating and saving belong to the outer loop, so a callback's wish for them in the middle is not passed.
        control.should_log |= self.control.should_log
        control.should_training_stop |= self.control.should_training_stop or self.control.should_epoch_stop
        return control

    def _advance(self, inner: TrainerState) -> None:
        self.state.global_step = self.start.global_step + inner.global_step
        self.state.epoch = self.start.epoch + inner.global_step / inner.max_steps
        self.state.num_input_tokens_seen = self.start.num_input_tokens_seen + inner.num_input_tokens_seen
        self.state.total_flos = self.start.total_flos + inner.total_flos

    def on_train_begin(self, args, state, control, **kwargs):
        # Not passed on: the outer run has begun already. What callbacks are given besides the state is new, though.
        for name in ("model", "optimizer", "lr_scheduler", "train_dataloader"):
            setattr(self.handler, name, kwargs[name])

    def on_step_begin(self, args, state, control, **kwargs):
        return self._forward("on_step_begin", state, control)

    def on_substep_end(self, args, state, control, **kwargs):
        return self._forward("on_substep_end", state, control)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        return self._forward("on_pre_optimizer_step", state, control)

    def on_optimizer_step(self, args, state, control, **kwargs):
        return self._forward("on_optimizer_step", state, control)

    def on_step_end(self, args, state, control, **kwargs):
        return self._forward("on_step_end", state, control)

    def on_log(self, args, state, control, logs=None, **kwargs):
        self._advance(state)
        logs = {**(logs or {}), "epoch": self.state.epoch}
        self.state.log_history.append({**logs, "step": self.state.global_step})
        return self._forward("on_log", state, control, logs=logs)


@contextmanager
def inner_run(trainer: Trainer, train_dataset: Dataset, max_steps: int | None) -> Iterator[None]:
    """
    While it is open, `Trainer.train()` fine-tunes on a dataset and reports to the outer run.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer; its `state` is the outer run's.
        train_dataset ([`~datasets.Dataset`]):
            Prepared training sequences.
        max_steps (`int`, *optional*):
            Number of optimizer steps. `None` leaves it to the arguments.
    """
    args = copy.copy(trainer.args)
    args.eval_strategy = IntervalStrategy.NO
    args.eval_on_start = False
    args.save_strategy = SaveStrategy.NO
    args.load_best_model_at_end = False
    if max_steps is not None:
        args.max_steps = max_steps
    outer = {
        name: getattr(trainer, name) for name in ("args", "state", "control", "callback_handler", "train_dataset")
    }
    forwarder = _Forwarder(trainer)
    trainer.args = args
    trainer.control = TrainerControl()
    trainer.train_dataset = train_dataset
    trainer.callback_handler = CallbackHandler(
        [DefaultFlowCallback(), forwarder], trainer.model, trainer.processing_class, None, None
    )
    try:
        yield
    finally:
        for name, value in outer.items():
            setattr(trainer, name, value)
