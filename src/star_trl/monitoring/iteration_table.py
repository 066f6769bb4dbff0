# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Shows the results of each iteration as rows of a table or lines of a log."""

import sys
from typing import Any

from rich import box, get_console
from rich.table import Table
from tqdm.auto import tqdm
from transformers import PrinterCallback

from ..ledger.metrics import accuracy_names, format_metric
from ..run.outer_run import Observer, OuterRun
from .progress import own_callback, say


# Maximum width in characters.
TABLE_WIDTH = 500


class IterationTable(Observer):
    """
    Shows the results of each iteration as a row of a table above the bars. If anything else is printed between two
    iterations, it writes a line per iteration instead, and the whole table at the end.

    Args:
        samplers (`list[str]`):
            Names of the samplers.
    """

    def __init__(self, samplers: list[str]):
        self.samplers = samplers
        self.by_row = True
        self._num_shown = 0

    def begin(self, run: OuterRun) -> None:
        self.by_row = not (isinstance(own_callback(run.trainer), PrinterCallback) or run.args.log_completions)
        self._num_shown = 0

    def iteration_complete(self, run: OuterRun, saved: int) -> None:
        if self.by_row:
            self._print(run.history, self._num_shown)
            self._num_shown = len(run.history)
        else:
            self._write(run.history[-1], run.args.num_iterations)

    def end(self, run: OuterRun) -> None:
        """Prints the whole table, unless it has been printed row by row."""
        if not self.by_row:
            self._print(run.history, 0)

    def _write(self, row: dict[str, Any], num_iterations: int) -> None:
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
            if row.get(key) is not None:  # a loss that is NaN is read back as null
                parts.append(f"{text} {format_metric(key, row[key])}")
        for key, text in {"kept/no_rationale": "no rationale", "kept/not_derived": "not derived"}.items():
            if row.get(key):
                parts.append(f"kept but {text} {row[key]:,}")
        text = ", ".join([*parts, f"{row['seconds']:,.0f} s"])
        say(f"iteration {row['iteration']} of {num_iterations}: {text}", sys.stdout)

    def _print(self, history: list[dict[str, Any]], first: int) -> None:
        columns = {
            "iteration": "iteration",
            **{key: _title(key) for key in accuracy_names(history)},
            **self._solved(),
            "samples/selected": "trained on",
            "train_loss": "train loss",
            "seconds": "seconds",
        }
        # Fixed widths align later rows with the first ones.
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=first == 0)
        for title in columns.values():
            start, _, end = title.rpartition(" ")
            table.add_column(f"{start}\n{end}", justify="right", width=max(len(start), len(end), 6))
        for row in history[first:]:
            table.add_row(*(format_metric(key, row[key]) if row.get(key) is not None else "-" for key in columns))
        with tqdm.external_write_mode():  # hides the bars while something else is printed
            console = get_console()  # the one that a RichProgressCallback draws on
            # No number is cut, however narrow the console is
            table.width = console.measure(table, options=console.options.update(width=TABLE_WIDTH)).maximum
            console.print(table, crop=False)

    def _solved(self) -> dict[str, str]:
        return {f"{name}/solved": f"solved by {name}" for name in self.samplers}


def _title(accuracy: str) -> str:
    return f"{accuracy.removesuffix('_accuracy')} accuracy"
