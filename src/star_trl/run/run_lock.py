# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Lets one process at a time run in an output directory."""

import errno
import os
import socket
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..distributed import get_logger
from ..output_dir import LOCK_NAME


logger = get_logger(__name__)


# Errors of `flock` on a file system that does not support it
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class RunInUse(RuntimeError):
    """Raised when another run is in progress in the output directory."""


class RunLock:
    """
    Makes the main process of a run the owner of its output directory. The operating system holds the lock, and
    releases it when the process ends, however it ends. A killed run therefore leaves nothing to clean up. The lock
    file is not deleted. On a file system without locks, a warning says that nothing keeps two runs apart.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory.
    """

    def __init__(self, output_dir: str | os.PathLike):
        self.path = Path(output_dir) / LOCK_NAME
        self._lock: FileLock | None = None

    def acquire(self) -> None:
        """
        Takes the lock, and writes the process and its host into the file.

        Raises:
            [`RunInUse`]: If another run holds it. The message names the host and the process.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A lock that is only the existence of a file would outlive a killed run.
        lock = FileLock(self.path, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            raise RunInUse(
                f"{self.path.parent.resolve()} is in use by another run ({self._read_owner() or 'unknown process'}). "
                "Two runs in one `output_dir` would mix their samples and weights. Wait until that run ends, stop it, "
                "or choose another `output_dir`."
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            logger.warning(
                f"The file system of {self.path.parent.resolve()} has no locks ({error}), so nothing keeps a second "
                "run out of it. Start only one run at a time there."
            )
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        self._owner = f"process {os.getpid()} on {socket.gethostname()}, since {since}"
        self.path.write_text(f"{self._owner}\n", encoding="utf-8")
        self._lock = lock

    def release(self) -> None:
        """Gives the lock back. It does nothing without the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def check(self) -> None:
        """
        Checks that the output directory is still the one that the run began in.

        Raises:
            `RuntimeError`: If it was deleted or replaced meanwhile, or if another run has begun in it, which is
                possible on a file system without locks.
        """
        if self._lock is None:
            return
        owner = self._read_owner()
        if owner is not None and owner != self._owner:
            raise RuntimeError(
                f"Another run ({owner}) has begun in {self.path.parent.absolute()} while this one was in progress. "
                "The samples and checkpoints there may be of both. Stop the other run and start over with "
                "`overwrite_output_dir=True`, or choose another `output_dir`."
            )
        if owner is None:
            raise RuntimeError(
                f"{self.path.parent.absolute()} was deleted or replaced while the run was in progress: its file "
                f"{LOCK_NAME} is not the one that the run wrote. Samples and checkpoints are lost with it. Put the "
                "folder back and resume with `train(resume_from_checkpoint=True)`, or start over."
            )

    def _read_owner(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").strip() or None
        except FileNotFoundError:
            return None
