# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Shows the progress of a run: bars in a terminal or a notebook, plain lines in a log."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import datasets
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.utils import is_in_notebook
from transformers.utils import logging as transformers_logging
from trl import RichProgressCallback

from ..ledger.ledger import Sample
from ..run.inner_run import Length


Show = Callable[[Sequence[Sample]], None]

# Minimum time between two lines about one phase, in seconds.
LINE_INTERVAL = 60


class STaRProgressCallback(TrainerCallback):
    """Shows a bar for the outer loop and, below it, one for the current phase."""

    def __init__(self):
        self.outer_bar = None
        self.inner_bar = None
        self.epochs = ""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.outer_bar = tqdm(total=state.num_train_epochs, desc="STaR", unit="iteration", dynamic_ncols=True)
            self.outer_bar.update(int(state.epoch or 0))

    def on_step_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero and self.inner_bar is None:
            iteration = int(state.epoch) + 1
            self.inner_bar = tqdm(
                total=args.inner_steps(iteration),
                desc=f"iteration {iteration}, fine-tuning",
                unit="step",
                postfix=self.epochs,
                leave=False,
                dynamic_ncols=True,
            )

    def on_step_end(self, args, state, control, **kwargs):
        if self.inner_bar is not None:
            self.inner_bar.update()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.inner_bar is not None and "loss" in logs:
            self.inner_bar.set_postfix_str(f"loss {logs['loss']:.4f}, {self.epochs}")
        if self.inner_bar is not None and "train_loss" in logs:
            self.inner_bar.close()
            self.inner_bar = None

    def fine_tuning(self, iteration: int, length: Length) -> None:
        self.epochs = f"{length.epochs:.2g} epochs"

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.outer_bar is not None:
            self.outer_bar.update()

    def on_train_end(self, args, state, control, **kwargs):
        if self.outer_bar is not None:
            self.outer_bar.close()
            self.outer_bar = None

    @contextmanager
    def sampling(self, total: int, description: str) -> Iterator[Show]:
        with tqdm(total=total, desc=description, unit="sample", leave=False, dynamic_ncols=True) as bar:
            right = 0

            def show(samples: Sequence[Sample]) -> None:
                nonlocal right
                right += sum(sample.kept for sample in samples)
                bar.update(len(samples))
                bar.set_postfix_str(f"right {right / bar.n:.1%}" if bar.n else "")

            yield show


class PlainProgressCallback(PrinterCallback):
    """Writes a line when a phase ends, every minute during a longer phase, and for each logged training step."""

    def __init__(self):
        self.in_run = False

    def on_train_begin(self, args, state, control, **kwargs):
        self.in_run = True

    def on_train_end(self, args, state, control, **kwargs):
        self.in_run = False

    def on_log(self, args, state, control, logs=None, **kwargs):
        values = {name: value for name, value in (logs or {}).items() if name not in ("epoch", "total_flos")}
        # The other metrics of a run are in the line that ends the iteration.
        if not state.is_world_process_zero or (self.in_run and "loss" not in values):
            return
        of = f" of {state.max_steps:,} in all" if state.max_steps else ""
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, (int, float)))
        if self.in_run:
            say(f"iteration {math.ceil(state.epoch)}, step {state.global_step:,}{of}: {text}")
        else:
            say(text, sys.stdout)

    def fine_tuning(self, iteration: int, length: Length) -> None:
        say(f"iteration {iteration}, fine-tuning: {length}")

    @contextmanager
    def sampling(self, total: int, description: str) -> Iterator[Show]:
        right = done = 0
        begun = said = time.monotonic()

        def line(count: str) -> str:
            return f"{description}: {count} samples, {right / max(done, 1):.1%} right, {_seconds(begun)}"

        def show(samples: Sequence[Sample]) -> None:
            nonlocal right, done, said
            right += sum(sample.kept for sample in samples)
            done += len(samples)
            if done < total and time.monotonic() > said + LINE_INTERVAL:
                said = time.monotonic()
                say(line(f"{done:,} of {total:,}"))

        yield show
        if done:
            say(line(f"{done:,}"))


def show_progress(trainer: Trainer) -> None:
    """
    Replaces `Trainer`'s progress by that of the outer loop: bars in a terminal or a notebook, lines elsewhere or with
    `disable_tqdm`. A user's [`~trl.RichProgressCallback`] is left alone.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer.
    """
    plain = trainer.args.disable_tqdm or not (sys.stderr.isatty() or is_in_notebook())
    trainer.remove_callback(PrinterCallback if trainer.args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
    if not any(isinstance(callback, RichProgressCallback) for callback in trainer.callback_handler.callbacks):
        trainer.add_callback(PlainProgressCallback if plain else STaRProgressCallback)


@contextmanager
def sampling_progress(trainer: Trainer, total: int, description: str) -> Iterator[Show]:
    """
    Shows the number of samples and the share of them that is right.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer, whose callback shows the progress.
        total (`int`):
            Number of samples to come.
        description (`str`):
            Title of the progress.

    Yields:
        `Callable[[list[Sample]], None]`: Function to call with new samples.
    """
    callback = own_callback(trainer)
    if callback is None or not trainer.is_world_process_zero():
        yield lambda samples: None
    else:
        with callback.sampling(total, description) as show:
            yield show


def show_line(trainer: Trainer, line: str) -> None:
    """
    Shows a line, unless a user's callback shows the progress.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer, whose callback shows the progress.
        line (`str`):
            The line.
    """
    if own_callback(trainer) is not None and trainer.is_world_process_zero():
        say(line)


def show_fine_tuning(trainer: Trainer, iteration: int, length: Length) -> None:
    """
    Shows the length of a fine-tuning that begins.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer, whose callback shows the progress.
        iteration (`int`):
            Outer iteration.
        length ([`~star_trl.run.inner_run.Length`]):
            Its length.
    """
    callback = own_callback(trainer)
    if callback is not None and trainer.is_world_process_zero():
        callback.fine_tuning(iteration, length)


@contextmanager
def follow_sampling(
    trainer: Trainer, after_samples: Callable[[], None], total: int, description: str
) -> Iterator[Show]:
    """Like [`sampling_progress`]. The function that it yields also calls `after_samples`."""
    with sampling_progress(trainer, total, description) as show:

        def follow(samples: Sequence[Sample]) -> None:
            show(samples)
            after_samples()

        yield follow


@contextmanager
def undisturbed(trainer: Trainer) -> Iterator[None]:
    """
    Keeps the progress display intact while the context is open. Log messages go above the bars, and the libraries show
    no bars of their own (for writing a checkpoint, or packing), which would stay on the screen in every iteration.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer.
    """
    with ExitStack() as stack:
        if isinstance(own_callback(trainer), STaRProgressCallback):
            stack.enter_context(logging_redirect_tqdm([logging.root, logging.getLogger("transformers")]))
        if transformers_logging.is_progress_bar_enabled():
            transformers_logging.disable_progress_bar()
            stack.callback(transformers_logging.enable_progress_bar)
        if not datasets.are_progress_bars_disabled():
            datasets.disable_progress_bars()
            stack.callback(datasets.enable_progress_bars)
        yield


def own_callback(trainer: Trainer) -> STaRProgressCallback | PlainProgressCallback | None:
    own = (STaRProgressCallback, PlainProgressCallback)
    return next((callback for callback in trainer.callback_handler.callbacks if isinstance(callback, own)), None)


def _seconds(begun: float) -> str:
    return f"{time.monotonic() - begun:,.0f} s"


def say(line: str, stream: Any = None) -> None:
    stream = stream or sys.stderr
    with tqdm.external_write_mode(file=stream):
        stream.write(f"{line}\n")
        stream.flush()  # at once, so that lines of both streams keep their order in a log
