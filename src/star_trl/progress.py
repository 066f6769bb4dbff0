# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What is shown while a run goes on: bars and a table where a person watches, plain lines in a log."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import datasets
from rich import box, get_console
from rich.table import Table
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.utils import is_in_notebook
from transformers.utils import logging as transformers_logging
from trl import RichProgressCallback

from .iteration_metrics import accuracy_names, format_metric
from .ledger import Sample


Show = Callable[[Sequence[Sample]], None]

# Between two lines about one phase, in seconds.
LINE_INTERVAL = 60
# At most, in characters.
TABLE_WIDTH = 500


class STaRProgressCallback(TrainerCallback):
    """Shows a bar for the outer loop and, below it, one for what is being done."""

    def __init__(self):
        self.outer_bar = None
        self.inner_bar = None

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
                leave=False,
                dynamic_ncols=True,
            )

    def on_step_end(self, args, state, control, **kwargs):
        if self.inner_bar is not None:
            self.inner_bar.update()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.inner_bar is not None and "loss" in logs:
            self.inner_bar.set_postfix_str(f"loss {logs['loss']:.4f}")
        if self.inner_bar is not None and "train_loss" in logs:
            self.inner_bar.close()
            self.inner_bar = None

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
    """Writes a line when a phase ends, every minute in one that takes longer, and for each logged training step."""

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
            _say(f"iteration {math.ceil(state.epoch)}, step {state.global_step:,}{of}: {text}")
        else:
            _say(text, sys.stdout)

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
                _say(line(f"{done:,} of {total:,}"))

        yield show
        if done:
            _say(line(f"{done:,}"))


def show_progress(trainer: Trainer) -> None:
    """
    Puts the progress of an outer loop in place of `Trainer`'s: bars in a terminal or a notebook, lines elsewhere and
    with `disable_tqdm`. A [`~trl.RichProgressCallback`] of the user's is left alone.

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
    Shows how many samples there are and the share of them that is right.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer, whose callback knows how.
        total (`int`):
            How many there will be.
        description (`str`):
            What is being generated.

    Yields:
        `Callable[[list[Sample]], None]`: To be called with new samples.
    """
    callback = _own_callback(trainer)
    if callback is None or not trainer.is_world_process_zero():
        yield lambda samples: None
    else:
        with callback.sampling(total, description) as show:
            yield show


@contextmanager
def undisturbed(trainer: Trainer) -> Iterator[None]:
    """
    While it is open, log messages go above the bars, and the libraries show none of theirs (writing a checkpoint,
    packing), which would stay on the screen once in every iteration.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer.
    """
    with ExitStack() as stack:
        if isinstance(_own_callback(trainer), STaRProgressCallback):
            stack.enter_context(logging_redirect_tqdm([logging.root, logging.getLogger("transformers")]))
        if transformers_logging.is_progress_bar_enabled():
            transformers_logging.disable_progress_bar()
            stack.callback(transformers_logging.enable_progress_bar)
        if not datasets.are_progress_bars_disabled():
            datasets.disable_progress_bars()
            stack.callback(datasets.enable_progress_bars)
        yield


class IterationTable:
    """
    Shows what came out of each iteration: a row of a table under the bars, or, where other things are printed between
    two iterations, a line, and the whole table at the end.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer.
    """

    def __init__(self, trainer: Any):
        self.samplers = [sampler.name for sampler in trainer.samplers]
        self.num_iterations = trainer.args.num_iterations
        self.by_row = not (isinstance(_own_callback(trainer), PrinterCallback) or trainer.args.log_completions)
        self._num_shown = 0

    def update(self, history: list[dict[str, Any]]) -> None:
        """
        Args:
            history (`list[dict]`):
                The metrics of each iteration so far, as in `metrics.json`.
        """
        if self.by_row:
            self._print(history, self._num_shown)
            self._num_shown = len(history)
        else:
            self._write(history[-1])

    def end(self, history: list[dict[str, Any]]) -> None:
        """Prints the whole table, where that has not been done row by row."""
        if not self.by_row:
            self._print(history, 0)

    def _write(self, row: dict[str, Any]) -> None:
        parts = []
        for key in accuracy_names([row]):
            groups = [
                f"{name[len(key) + 1 :]}: {format_metric(key, row[name])}"
                for name in row
                if name.startswith(f"{key}/")
            ]
            parts.append(
                f"{_title(key)} {format_metric(key, row[key])}" + (f" ({', '.join(groups)})" if groups else "")
            )
        for key, text in {**self._solved(), "samples/selected": "trained on", "train_loss": "train loss"}.items():
            if key in row:
                parts.append(f"{text} {format_metric(key, row[key])}")
        text = ", ".join([*parts, f"{row['seconds']:,.0f} s"])
        _say(f"iteration {row['iteration']} of {self.num_iterations}: {text}", sys.stdout)

    def _print(self, history: list[dict[str, Any]], first: int) -> None:
        columns = {
            "iteration": "iteration",
            **{key: _title(key) for key in accuracy_names(history)},
            **self._solved(),
            "samples/selected": "trained on",
            "train_loss": "train loss",
            "seconds": "seconds",
        }
        # Fixed, so that the rows that follow stand below the first ones.
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=first == 0)
        for title in columns.values():
            start, _, end = title.rpartition(" ")
            table.add_column(f"{start}\n{end}", justify="right", width=max(len(start), len(end), 6))
        for row in history[first:]:
            table.add_row(*(format_metric(key, row[key]) if row.get(key) is not None else "-" for key in columns))
        with tqdm.external_write_mode():  # takes the bars away while something else is printed
            console = get_console()  # the one that a RichProgressCallback draws on
            # However narrow that is, no number is cut
            table.width = console.measure(table, options=console.options.update(width=TABLE_WIDTH)).maximum
            console.print(table, crop=False)

    def _solved(self) -> dict[str, str]:
        return {f"{name}/solved": f"solved by {name}" for name in self.samplers}


def _own_callback(trainer: Trainer) -> STaRProgressCallback | PlainProgressCallback | None:
    own = (STaRProgressCallback, PlainProgressCallback)
    return next((callback for callback in trainer.callback_handler.callbacks if isinstance(callback, own)), None)


def _title(accuracy: str) -> str:
    return f"{accuracy.removesuffix('_accuracy')} accuracy"


def _seconds(begun: float) -> str:
    return f"{time.monotonic() - begun:,.0f} s"


def _say(line: str, stream: Any = None) -> None:
    stream = stream or sys.stderr
    with tqdm.external_write_mode(file=stream):
        stream.write(f"{line}\n")
        stream.flush()  # at once, so that lines of both streams stand in their order in a log
