# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Shows the progress of a run: bars in a terminal or a notebook, plain lines in a log."""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import datasets
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.utils import is_in_notebook
from transformers.utils import logging as transformers_logging
from trl import RichProgressCallback

from ..ledger.sample import Sample
from ..run.inner_run import Length


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
    def sampling(self, total: int, description: str) -> Iterator["SamplingProgress"]:
        with tqdm(total=total, desc=description, unit="sample", leave=False, dynamic_ncols=True) as bar:

            def show(progress: SamplingProgress) -> None:
                bar.set_postfix_str(progress.share, refresh=False)
                bar.update(progress.num_generated - bar.n)

            yield SamplingProgress(show)


class PlainProgressCallback(PrinterCallback):
    """Writes a line when a phase ends, every minute during a longer phase, and for each logged training step."""

    def __init__(self):
        self.in_run = False
        self.length: Length | None = None
        self.begun = self.said = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.in_run = True

    def on_train_end(self, args, state, control, **kwargs):
        self.in_run = False

    def fine_tuning(self, iteration: int, length: Length) -> None:
        self.length, self.begun, self.said = length, time.monotonic(), time.monotonic()
        say(f"iteration {iteration}, fine-tuning: {length}")

    def on_step_end(self, args, state, control, **kwargs):
        if self.length is not None and time.monotonic() > self.said + LINE_INTERVAL:
            self.said = time.monotonic()
            count = f"{_inner_step(state, self.length):,} of {self.length.steps:,} steps"
            say(f"iteration {math.ceil(state.epoch)}, fine-tuning: {count}, {_seconds(self.begun)}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        values = {name: value for name, value in (logs or {}).items() if name not in ("epoch", "total_flos")}
        if not state.is_world_process_zero:
            return
        if self.in_run and self.length is not None and "train_runtime" in values:
            if _inner_step(state, self.length) == self.length.steps:  # or it is interrupted
                steps = f"{self.length.steps:,} steps, mean loss {_number(values['train_loss'])}"
                say(f"iteration {math.ceil(state.epoch)}, fine-tuning: {steps}, {_seconds(self.begun)}")
            self.length = None
        # The other metrics of a run are in the line that ends the iteration.
        if self.in_run and "loss" not in values:
            return
        of = f" of {state.max_steps:,} in all" if state.max_steps else ""
        text = ", ".join(
            f"{name} {_number(value)}" for name, value in values.items() if isinstance(value, (int, float))
        )
        if self.in_run:
            self.said = time.monotonic()
            say(f"iteration {math.ceil(state.epoch)}, step {state.global_step:,}{of}: {text}")
        else:
            say(text, sys.stdout)

    @contextmanager
    def sampling(self, total: int, description: str) -> Iterator["SamplingProgress"]:
        begun = time.monotonic()
        progress = SamplingProgress()

        def line(count: str) -> None:
            say(", ".join(filter(None, (f"{description}: {count} samples", progress.share, _seconds(begun)))))

        with _every(LINE_INTERVAL, lambda: line(f"{progress.num_generated:,} of {total:,}")):
            yield progress
        if progress.num_generated:
            line(f"{progress.num_generated:,}")


def _inner_step(state: TrainerState, length: Length) -> int:
    """Returns the step of the inner loop. Its share of the steps is the fraction of the outer epoch."""
    return round((state.epoch - math.ceil(state.epoch) + 1) * length.steps)


class SamplingProgress:
    """
    Counts the completions of one sampler.

    Args:
        show (`Callable[[SamplingProgress], None]`, *optional*):
            Called whenever a count has changed.

    Attributes:
        after_samples (`Callable`):
            Called after each group of samples.
    """

    def __init__(self, show: Callable[["SamplingProgress"], None] = lambda progress: None):
        self.show = show
        self.after_samples: Callable[[], None] = lambda: None
        self.num_generated = self.num_judged = self.num_right = 0

    @property
    def share(self) -> str:
        """The share that is right, as text. Empty as long as none is scored, or where no reward function applies."""
        return f"{self.num_right / self.num_judged:.1%} right" if self.num_judged else ""

    def generated(self) -> None:
        self.num_generated += 1
        self.show(self)

    def scored(self, samples: Sequence[Sample]) -> None:
        self.num_judged += sum(sample.reward is not None for sample in samples)
        self.num_right += sum(sample.kept for sample in samples)
        self.show(self)
        self.after_samples()


@contextmanager
def _every(interval: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls a function in another thread now and then. A model may generate for long before a completion ends."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(interval):
            act()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


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
) -> Iterator[SamplingProgress]:
    """
    Shows the number of samples and the share of them that is right.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer, whose callback shows the progress.
        after_samples (`Callable`):
            Called after each group of samples.
        total (`int`):
            Number of samples to come.
        description (`str`):
            Title of the progress.

    Yields:
        [`SamplingProgress`]: To be told of completions and samples.
    """
    callback = own_callback(trainer)
    shown = None if callback is None or not trainer.is_world_process_zero() else callback.sampling(total, description)
    with shown or nullcontext(SamplingProgress()) as progress:
        progress.after_samples = after_samples
        yield progress


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


def _number(value: float) -> str:
    """Formats a number for a line: whole ones and large ones without an exponent."""
    if math.isfinite(value) and (abs(value) >= 1000 or value == round(value)):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _seconds(begun: float) -> str:
    return f"{time.monotonic() - begun:,.0f} s"


def say(line: str, stream: Any = None) -> None:
    stream = stream or sys.stderr
    with tqdm.external_write_mode(file=stream):
        stream.write(f"{line}\n")
        stream.flush()  # at once, so that lines of both streams keep their order in a log
