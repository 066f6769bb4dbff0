# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Handles SIGTERM, with which schedulers announce that a machine is taken away: work is saved before the exit."""

import signal
import threading
from types import FrameType

import torch
import torch.distributed as dist

from ..distributed import get_logger, patient_group


logger = get_logger(__name__)

# EX_TEMPFAIL of sysexits.h: a temporary failure, after which the same command may be run again.
RESUME_EXIT_CODE = 75


class Termination:
    """
    Records SIGTERM while its context is open. It does nothing where the program has a handler of its own, or outside
    the main thread.

    Attributes:
        requested (`bool`):
            Whether this process got the signal.
    """

    def __init__(self):
        self.requested = False
        self._installed = False

    def __enter__(self) -> "Termination":
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._installed = in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._installed:
            signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True

    def requested_anywhere(self) -> bool:
        """Returns whether any process got the signal. All processes must call it together."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self.requested
        requested = torch.tensor(int(self.requested))
        dist.all_reduce(requested, dist.ReduceOp.MAX, group=patient_group())
        return bool(requested)

    def exit_if_requested(self, together: bool = False) -> None:
        """
        Raises `SystemExit` with exit code 75 if the signal has arrived. The code asks for the same command again.

        Args:
            together (`bool`, *optional*, defaults to `False`):
                Whether all processes call this, and all exit if one of them got the signal.
        """
        if self.requested_anywhere() if together else self.requested:
            logger.warning(
                "SIGTERM: what is finished is saved. Resume with `train(resume_from_checkpoint=True)`, "
                "or `--resume_from_checkpoint true`.",
                main_process_only=False,
            )
            raise SystemExit(RESUME_EXIT_CODE)
