# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Which model of a run is the best, and whether the run still improves."""

import math
from typing import Any

from transformers.trainer_utils import SaveStrategy

from ..star_config import STaRConfig
from ..task.task import Task
from .state import RunState


class BestModel:
    """
    Compares the models of a run by `metric_for_best_model`, or without an evaluation set by the share of training
    problems that the first sampler solved.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
    """

    def __init__(self, task: Task, args: STaRConfig):
        self.task = task
        self.args = args

    @property
    def metric(self) -> str:
        """Name of the metric."""
        if not self.task.evaluation_sets:
            return f"{self.task.samplers[0].name}/solved"
        return f"eval_{(self.args.metric_for_best_model or 'accuracy').removeprefix('eval_')}"

    @property
    def _is_needed(self) -> bool:
        args = self.args
        return bool(args.load_best_model_at_end or args.patience or args.save_strategy == SaveStrategy.BEST)

    def check_metric(self) -> None:
        """Raises `ValueError` if the best model is needed, but its metric is not one of the evaluation sets'."""
        names = [f"{name}_" for name in self.task.evaluation_sets]
        if self._is_needed and names and not self.metric.startswith(tuple(names)):
            raise ValueError(
                f"`metric_for_best_model={self.args.metric_for_best_model!r}` is no metric of the evaluation sets "
                f"{sorted(self.task.evaluation_sets)}. Set it to one of theirs, such as '{names[0]}accuracy'."
            )

    def measured(self, iteration: int) -> int:
        """
        Returns the iteration whose model the metric of an iteration measures. Without an evaluation set, this is the
        model that sampled, so the last model of a run is never measured.
        """
        return iteration if self.task.evaluation_sets else iteration - 1

    def improves(self, metrics: dict[str, Any], best: float | None) -> bool:
        """
        Returns whether the metrics of an iteration are better than the best ones so far.

        Args:
            metrics (`dict[str, Any]`):
                Metrics of the iteration.
            best (`float`, *optional*):
                The best value so far.

        Raises:
            `ValueError`: If the best model is needed, but the first evaluation does not have its metric.
        """
        value = metrics.get(self.metric)
        if value is None:
            if self._is_needed and metrics["iteration"] == 0 and self.task.evaluation_sets:
                found = sorted(name for name in metrics if name.startswith("eval_"))
                raise ValueError(
                    f"`metric_for_best_model={self.args.metric_for_best_model!r}` is no metric of the evaluation. "
                    f"Set it to one of {found}."
                )
            return False
        if math.isnan(value):  # nothing would be better than it
            return False
        greater_is_better = not self.task.evaluation_sets or self.args.greater_is_better
        return best is None or (value > best if greater_is_better else value < best)

    def is_at_plateau(self, state: RunState) -> bool:
        """Returns whether the last `patience` models of a run are no better than the best one."""
        best, last, patience = state.best_iteration, state.iteration, self.args.patience
        if patience is None or best is None or last is None:
            return False
        return self.measured(last) - best >= patience
