# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Measures the phases of an iteration, with the time that they took before the run was interrupted."""

import time
from contextlib import suppress
from pathlib import Path

from transformers import TrainerCallback

from ..output_dir import TIMES_NAME, read_json, write_json


# Minimum time between two writes of the file, in seconds. A killed process loses at most as much.
WRITE_INTERVAL = 5
# Name of the whole iteration among the phases
ITERATION = "iteration"


class PhaseTimes(TrainerCallback):
    """
    Measures how long an outer iteration and its phases take. The times of an iteration in progress are in its folder,
    so that those of a resumed run begin with what was spent before it was interrupted. Work that was lost and is
    repeated counts twice, since it took that time.

    Outside of an iteration, every measurement begins at zero and nothing is written.
    """

    def __init__(self):
        self._directory: Path | None = None
        self._writes = False
        self._spent: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._written = 0.0

    def begin_iteration(self, directory: Path, writes: bool) -> None:
        """
        Starts to measure an iteration.

        Args:
            directory (`Path`):
                Folder of the iteration.
            writes (`bool`):
                Whether this process writes the file.
        """
        self.leave()
        self._directory, self._writes = directory, writes
        path = directory / TIMES_NAME
        self._spent = read_json(path) if path.exists() else {}
        self.start(ITERATION)

    def start(self, phase: str) -> None:
        """Starts to measure a phase."""
        if self._directory is None:
            self._spent.pop(phase, None)
        self._begun[phase] = time.monotonic()

    def seconds(self, phase: str) -> float:
        """Returns the seconds that a phase has taken so far."""
        begun = self._begun.get(phase)
        return self._spent.get(phase, 0.0) + (0.0 if begun is None else time.monotonic() - begun)

    def stop(self, phase: str) -> float:
        """Stops to measure a phase. Returns the seconds that it has taken."""
        self._spent[phase] = self.seconds(phase)
        self._begun.pop(phase, None)
        self._write()
        return self._spent[phase]

    def tick(self) -> None:
        """Writes the times now and then, during a phase."""
        if time.monotonic() >= self._written + WRITE_INTERVAL:
            self._write()

    def on_step_end(self, args, state, control, **kwargs):
        self.tick()

    def leave(self) -> None:
        """Stops to measure an iteration that is interrupted, and keeps its times."""
        self._write()
        self._directory = None
        self._spent, self._begun = {}, {}

    def end_iteration(self) -> None:
        """Stops to measure an iteration that is complete. Its times are in its metrics, so the file is deleted."""
        if self._directory is not None and self._writes:
            (self._directory / TIMES_NAME).unlink(missing_ok=True)
        self._directory = None
        self._spent, self._begun = {}, {}

    def _write(self) -> None:
        # A folder that is not there has no samples yet, or was deleted. It is not made again for the times.
        if self._directory is None or not self._writes or not self._directory.exists():
            return
        self._written = time.monotonic()
        with suppress(OSError):  # on a full disk the samples fail as well, with an error that counts
            write_json(
                self._directory / TIMES_NAME,
                {phase: self.seconds(phase) for phase in {**self._spent, **self._begun}},
            )
