# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Writes the report during a run. The report only shows what is on disk, so a failure to write it ends no run."""

from collections.abc import Callable
from typing import Any

from ..distributed import get_logger
from ..run.outer_run import Observer, OuterRun
from .page import MAX_SAMPLES, write_page
from .read_run import RunReader
from .stored_prompts import write_prompts


logger = get_logger(__name__)


class LiveReport(Observer):
    """Writes the report of a run in progress. Each iteration is read once."""

    def begin(self, run: OuterRun) -> None:
        """Stores the parts of the problems that the report needs."""
        self.reader = RunReader(run.ledger.output_dir, MAX_SAMPLES, run.ledger)
        self._attempt(write_prompts, run.ledger.output_dir, run.task, run.args.eval_group_column)

    def iteration_complete(self, run: OuterRun, saved: int) -> None:
        self._attempt(write_page, self.reader)

    @staticmethod
    def _attempt(write: Callable, *args: Any) -> None:
        try:
            write(*args)
        except Exception as error:
            logger.warning(f"The report was not written, and the run goes on without it: {error!r}.")
