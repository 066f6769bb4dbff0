# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""SIGTERM, by which schedulers announce that a machine is taken away: what is in hand is saved before the end."""

import signal
import threading
from types import FrameType

import torch
import torch.distributed as dist
from accelerate.logging import get_logger

from .waiting import patient_group


logger = get_logger(__name__)

# EX_TEMPFAIL of sysexits.h: a failure that is over when the command is given again.
RESUME_EXIT_CODE = 75


class Termination:
    """
    Takes note of SIGTERM while it is entered as a context. Where the program has a handler of its own, and outside the
    main thread, it does nothing.

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
        """Whether any process got the signal. All have to ask at the same moment."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return self.requested
        requested = torch.tensor(int(self.requested))
        dist.all_reduce(requested, dist.ReduceOp.MAX, group=patient_group())
        return bool(requested)

    def exit_if_requested(self, together: bool = False) -> None:
        """
        Raises `SystemExit` with the code 75, which asks for the same command again, once the signal has come.

        Args:
            together (`bool`, *optional*, defaults to `False`):
                Whether every process is here, and ends if one of them got the signal.
        """
        if self.requested_anywhere() if together else self.requested:
            logger.warning(
                "SIGTERM: what is finished is saved. Resume with `train(resume_from_checkpoint=True)`, "
                "or `--resume_from_checkpoint true`.",
                main_process_only=False,
            )
            raise SystemExit(RESUME_EXIT_CODE)
