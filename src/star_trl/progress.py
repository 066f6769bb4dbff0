# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What is shown in the terminal: progress bars, and a table of the iterations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from tqdm.auto import tqdm
from transformers import TrainerCallback

from .ledger import Sample


class STaRProgressCallback(TrainerCallback):
    """Shows a bar for the outer loop and, below it, one for the inner steps with the latest loss."""

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
                total=args.inner_steps(iteration), desc="fine-tuning", unit="step", leave=False, dynamic_ncols=True
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
def generation_bar(total: int, description: str, disable: bool) -> Iterator[Callable[[Sequence[Sample]], None]]:
    """
    Shows how many samples there are and the share of them that is right.

    Args:
        total (`int`):
            How many there will be.
        description (`str`):
            What is being generated.
        disable (`bool`):
            Whether to show nothing.

    Yields:
        `Callable[[list[Sample]], None]`: To be called with new samples.
    """
    with tqdm(total=total, desc=description, unit="sample", leave=False, dynamic_ncols=True, disable=disable) as bar:
        right = 0

        def show(samples: Sequence[Sample]) -> None:
            nonlocal right
            right += sum(sample.kept for sample in samples)
            bar.update(len(samples))
            bar.set_postfix_str(f"right {right / bar.n:.1%}" if bar.n else "")

        yield show


def print_iterations(history: list[dict[str, Any]], samplers: list[str], console: Console | None = None) -> None:
    """
    Prints a table with one line per iteration.

    Args:
        history (`list[dict]`):
            The metrics of each iteration, as in `metrics.json`.
        samplers (`list[str]`):
            Names of the samplers.
        console ([`~rich.console.Console`], *optional*):
            Where to print.
    """
    accuracies = list(dict.fromkeys(key for row in history for key in row if key.endswith("_accuracy")))
    columns = {
        **{key: f"{key.removesuffix('_accuracy')}\naccuracy" for key in accuracies},
        **{f"{name}/solved": f"solved by\n{name}" for name in samplers},
        "samples/selected": "trained\non",
        "train_loss": "train\nloss",
        "seconds": "\nseconds",
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("\niteration", justify="right")
    for title in columns.values():
        table.add_column(title, justify="right")
    for row in history:
        table.add_row(str(row["iteration"]), *(_format(key, row.get(key)) for key in columns))
    with tqdm.external_write_mode():  # takes the bars away while something else is printed
        (console or Console()).print(table)


def _format(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    if key in ("samples/selected", "seconds"):
        return f"{value:,.0f}"
    return f"{value:.4f}" if key == "train_loss" else f"{value:.1%}"
