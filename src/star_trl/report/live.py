# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The report during a run. It is a view of what is on disk, so that a failure to write it is no reason to stop."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from accelerate.logging import get_logger

from .prompts import write_prompts
from .write import write_report


if TYPE_CHECKING:
    from ..star_trainer import STaRTrainer


logger = get_logger(__name__)


class LiveReport:
    """
    Writes the report of a run in progress, from the main process.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer.
    """

    def __init__(self, trainer: "STaRTrainer"):
        self.trainer = trainer
        self.enabled = trainer.args.html_report and trainer.is_world_process_zero()

    def begin(self) -> None:
        """Stores what the report needs of the problems."""
        trainer = self.trainer
        evaluation = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else {"": trainer.eval_dataset}
        datasets = {f"eval_{name}".removesuffix("_"): dataset for name, dataset in evaluation.items() if dataset}
        self._attempt(
            write_prompts,
            trainer.ledger.output_dir,
            {"samples": trainer.problems, **datasets},
            trainer.samplers,
            trainer.prompt_builder,
            trainer.args.eval_group_column,
        )

    def update(self) -> None:
        """Writes the report as of now."""
        self._attempt(write_report, self.trainer.ledger.output_dir)

    def _attempt(self, write: Callable, *args: Any) -> None:
        if self.enabled:
            try:
                write(*args)
            except Exception as error:
                logger.warning(f"The report was not written, and the run goes on without it: {error!r}.")
