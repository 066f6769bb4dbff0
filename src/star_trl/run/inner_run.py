# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Runs `Trainer.train()` as the inner loop of one outer iteration.

`Trainer` treats every `train()` as a run of its own: it makes a new `TrainerState`, calls `on_train_begin` and
`on_train_end` of every callback (at which trackers close), and evaluates and saves by inner steps. Here a user's
callbacks and trackers see the outer run instead. Its step is the sum of the inner steps, and its epoch is the outer
iteration. The checkpoints of the inner run serve to resume it. They are deleted once the outer iteration has a
checkpoint of its own.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..fine_tuning.row_order import begin_at_epoch
from ..seeds import seed_of
from ..star_config import STaRConfig
from .checkpoints import ResumeCheckpoints
from .termination import Termination


class InnerRun(TrainerCallback):
    """
    Forwards step and log events of the inner run to the callbacks of the outer one. These have a control of their own,
    since the inner run's control says "stop" at the end of each inner loop.

    Attributes:
        interrupted (`bool`):
            Whether a termination ended the inner run early.
    """

    def __init__(self, trainer: Trainer, checkpoints: "ResumeCheckpoints | None", termination: Termination):
        self.checkpoints = checkpoints
        self.termination = termination
        self.interrupted = False
        self.handler = trainer.callback_handler
        self.args = trainer.args
        self.state = trainer.state
        self.control = trainer.control
        self.start = copy.copy(trainer.state)

    def _forward(self, event: str, inner: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        self._advance(inner)
        self.control = getattr(self.handler, event)(self.args, self.state, self.control, **kwargs)
        # Evaluation and saving belong to the outer loop, so a callback's request for them is not forwarded.
        control.should_log |= self.control.should_log
        control.should_training_stop |= self.control.should_training_stop or self.control.should_epoch_stop
        return control

    def _advance(self, inner: TrainerState) -> None:
        self.state.global_step = self.start.global_step + inner.global_step
        self.state.epoch = self._epoch(inner.global_step, inner)
        self.state.num_input_tokens_seen = self.start.num_input_tokens_seen + inner.num_input_tokens_seen
        self.state.total_flos = self.start.total_flos + inner.total_flos

    def _epoch(self, inner_step: int, inner: TrainerState) -> float:
        return self.start.epoch + inner_step / inner.max_steps

    def on_train_begin(self, args, state, control, **kwargs):
        # Not forwarded, since the outer run has already begun. The objects that callbacks are passed are new, though.
        for name in ("model", "optimizer", "lr_scheduler", "train_dataloader"):
            setattr(self.handler, name, kwargs[name])
        begin_at_epoch(kwargs["train_dataloader"], int(state.epoch))
        # Logs of a resumed inner run from before it stopped.
        for logs in state.log_history:
            step = self.start.global_step + logs["step"]
            self.state.log_history.append({**logs, "epoch": self._epoch(logs["step"], state), "step": step})

    def on_step_begin(self, args, state, control, **kwargs):
        return self._forward("on_step_begin", state, control)

    def on_substep_end(self, args, state, control, **kwargs):
        return self._forward("on_substep_end", state, control)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        return self._forward("on_pre_optimizer_step", state, control)

    def on_optimizer_step(self, args, state, control, **kwargs):
        return self._forward("on_optimizer_step", state, control)

    def on_step_end(self, args, state, control, **kwargs):
        control = self._forward("on_step_end", state, control)
        at_end = state.global_step >= state.max_steps
        if not at_end and self.termination.requested_anywhere():
            control.should_save = self.checkpoints is not None
            control.should_training_stop = True
            self.interrupted = True
        # At the end of the inner run, the outer iteration saves the model.
        control.should_save &= not at_end
        return control

    def on_save(self, args, state, control, **kwargs):
        if self.checkpoints is not None:
            self.checkpoints.complete(state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        self._advance(state)
        logs = {**(logs or {}), "epoch": self.state.epoch}
        self.state.log_history.append({**logs, "step": self.state.global_step})
        return self._forward("on_log", state, control, logs=logs)


@dataclass(frozen=True)
class Length:
    """
    The length of an inner run, in steps and in epochs.

    Args:
        args ([`STaRConfig`]):
            Arguments of the inner run, from [`inner_arguments`].
        num_samples (`int`):
            Number of samples to train on.
        num_rows (`int`):
            Number of rows that they fill: as many, or fewer if they are packed.
        num_processes (`int`):
            Number of processes.
    """

    args: STaRConfig
    num_samples: int
    num_rows: int
    num_processes: int

    @property
    def batch_size(self) -> int:
        """Rows of an optimizer step."""
        return self.args.train_batch_size * self.args.gradient_accumulation_steps * self.num_processes

    @property
    def steps(self) -> int:
        if self.args.max_steps > 0:
            return self.args.max_steps
        # As in `Trainer`: the last step of every epoch may have fewer rows.
        return max(1, math.ceil(self.args.num_train_epochs * math.ceil(self.num_rows / self.batch_size)))

    @property
    def epochs(self) -> float:
        """How often each sample is trained on."""
        if self.args.max_steps <= 0:
            return self.args.num_train_epochs
        return self.steps * self.batch_size / self.num_rows

    def __str__(self) -> str:
        return f"{self.steps:,} steps = {self.epochs:.2g} epochs over {self.num_samples:,} samples"


def inner_arguments(args: STaRConfig, iteration: int, checkpoints: ResumeCheckpoints | None) -> STaRConfig:
    """
    Returns the arguments of `Trainer.train()` for one outer iteration. They have the iteration's number of steps and
    its seeds, and turn off what belongs to the outer loop.

    Args:
        args ([`STaRConfig`]):
            Configuration of the run.
        iteration (`int`):
            Outer iteration, counted from 1.
        checkpoints ([`ResumeCheckpoints`], *optional*):
            Checkpoints to resume from. One is written every `save_steps` steps, and at a termination. Without this,
            none is written.
    """
    inner = copy.copy(args)
    # With equal seeds, every iteration would visit the positions of its training set in the same order.
    inner.seed = _seed_of_iteration(args.seed, iteration)
    if args.data_seed is not None:
        inner.data_seed = _seed_of_iteration(args.data_seed, iteration)
    steps = args.inner_steps(iteration)
    if steps is not None:
        inner.max_steps = steps
    inner.eval_strategy = IntervalStrategy.NO
    inner.eval_on_start = False
    inner.save_strategy = SaveStrategy.NO
    inner.load_best_model_at_end = False
    if checkpoints is not None:
        inner.save_strategy = SaveStrategy.STEPS
        inner.output_dir = str(checkpoints.directory)
        inner.save_total_limit = None
        inner.save_only_model = False
        inner.push_to_hub = False
    return inner


def _seed_of_iteration(seed: int, iteration: int) -> int:
    return seed_of(seed, iteration, "fine-tuning") % 2**32  # NumPy takes no larger ones


@contextmanager
def inner_run(
    trainer: Trainer,
    train_dataset: Dataset,
    args: STaRConfig,
    checkpoints: ResumeCheckpoints | None,
    termination: Termination,
    inner: Trainer,
) -> Iterator[InnerRun]:
    """
    Makes `Trainer.train()` fine-tune on a dataset and report to the outer run while the context is open.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer. Its `state` is that of the outer run.
        train_dataset ([`~datasets.Dataset`]):
            Prepared rows.
        args ([`STaRConfig`]):
            Arguments from [`inner_arguments`].
        checkpoints ([`ResumeCheckpoints`], *optional*):
            Checkpoints to resume from.
        termination ([`Termination`]):
            Ends the run after the step in which it is requested.
        inner ([`~transformers.Trainer`]):
            The trainer whose `train()` runs: `trainer` itself, or another one, which already has its arguments and its
            dataset.
    """
    outer = {name: getattr(inner, name) for name in ("args", "state", "control", "callback_handler", "train_dataset")}
    forwarder = InnerRun(trainer, checkpoints, termination)
    if inner is trainer:
        inner.args = args
        inner.train_dataset = train_dataset
    inner.control = TrainerControl()
    inner.callback_handler = CallbackHandler(
        [DefaultFlowCallback(), forwarder], inner.model, inner.processing_class, None, None
    )
    try:
        yield forwarder
    finally:
        for name, value in outer.items():
            setattr(inner, name, value)
        # The callbacks of the outer run would keep another inner trainer's optimizer and the training set in memory.
        for name in ("optimizer", "lr_scheduler", "train_dataloader"):
            setattr(forwarder.handler, name, None)
