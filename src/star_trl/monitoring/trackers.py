# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Keeps a run going when a tracker fails. The same metrics are in the output directory."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from ..distributed import get_logger


logger = get_logger(__name__)


def outlive_trackers(callbacks: Iterable[TrainerCallback], report_to: str | list[str] | None) -> None:
    """
    Turns errors of the trackers into warnings, except at the beginning of a run, when nothing is lost yet.

    Args:
        callbacks (`Iterable[TrainerCallback]`):
            The trainer's callbacks. Those of the user are left unchanged.
        report_to (`str` or `list[str]`, *optional*):
            The trackers.
    """
    trackers = tuple(get_reporting_integration_callbacks(report_to))
    events = [name for name in vars(TrainerCallback) if name.startswith("on_") and name != "on_train_begin"]
    for callback in callbacks:
        if isinstance(callback, trackers):
            for event in events:
                setattr(callback, event, _warning(getattr(callback, event), f"{type(callback).__name__}.{event}"))


def _warning(method: Callable, name: str) -> Callable:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            logger.warning_once(f"The tracker's `{name}` failed, and the run goes on without it: {error!r}.")

    return call
