# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Runs untrusted commands, such as programs that a model wrote. Each call runs one process with limits."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, cast


# Guards that the system may lack, and what is missing without each
GUARDS = {
    "namespaces": "what it leaves behind is looked for and ended one by one, and `folder_bytes` does not hold",
    "files": "it can read what this user can read, and without namespaces and Linux 5.12 write it too",
    "system calls": "`max_processes=1` does not hold, and without namespaces it can end this user's processes",
}
LAUNCHER = Path(__file__).with_name("launcher.py")
CHUNK = 65536
# Seconds that the launcher has to end what it started, before it is ended itself.
GRACE = 2.0


@dataclass(frozen=True)
class LimitedResult:
    """How a command that [`run_limited`] ran has ended."""

    returncode: int
    """Exit code; `-n` where signal `n` ended it, as in `subprocess`."""
    stdout: str
    """What it printed, up to `max_output_bytes`; bytes that are not UTF-8 are replaced."""
    stderr: str
    """What it printed as errors, likewise."""
    reason: str | None
    """The limit for which it was ended: `"time"`, `"output"`, or `None`. A program that asks for more memory, larger
    files or more processes than it may have gets an error from its own call, which nothing outside of it sees."""
    guards: frozenset[str] = field(default=frozenset(), compare=False)
    """Which of `GUARDS` the system let it have."""


def run_limited(
    command: Sequence[str],
    *,
    input: str = "",
    cwd: str | os.PathLike,
    env: Mapping[str, str] | None = None,
    seconds: float,
    memory_bytes: int,
    file_bytes: int,
    folder_bytes: int | None = None,
    max_processes: int | None = None,
    network: bool = False,
    readable: Sequence[str | os.PathLike] | None = None,
    max_output_bytes: int = 1024**2,
) -> LimitedResult:
    """
    Runs a command with limits, and ends everything it started before it returns.

    Args:
        command (`Sequence[str]`):
            The path of the program, and its arguments. They are not read by a shell.
        input (`str`, *optional*, defaults to `""`):
            What it reads from its standard input.
        cwd (`str` or `os.PathLike`):
            An existing folder in which the command runs. Under Linux it is the only one that the command can write to.
        env (`Mapping[str, str]`, *optional*):
            All of its environment variables. None by default.
        seconds (`float`):
            Wall-clock time.
        memory_bytes (`int`):
            Address space of each of its processes.
        file_bytes (`int`):
            Size of each file that it writes.
        folder_bytes (`int`, *optional*):
            Size of all files together. The command then gets an empty folder in memory in place of the contents of
            `cwd`. This folder is gone at the end. Needs Linux with namespaces.
        max_processes (`int`, *optional*):
            With 1 the command can start no other process, but as many threads as its memory allows. A higher number
            limits its processes and threads together, under Linux with namespaces and for users other than root. No
            limit by default.
        network (`bool`, *optional*, defaults to `False`):
            Whether it can use the network.
        readable (`Sequence[str | os.PathLike]`, *optional*):
            The files and folders that it can read and execute, besides `cwd`, under Linux with Landlock. By default
            everything that this user can read.
        max_output_bytes (`int`, *optional*, defaults to 1 MiB):
            Bytes of each of its two outputs. The command is ended if it writes more.

    Returns:
        [`LimitedResult`]: How it ended and what it printed.

    Raises:
        `OSError`: If the command cannot be started, or the network cannot be blocked.

    Example:
    ```python
    >>> import sys, tempfile
    >>> from star_trl.sandbox.limited_process import run_limited

    >>> limits = {"seconds": 10, "memory_bytes": 2**29, "file_bytes": 2**20}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = run_limited([sys.executable, "-I", "-c", "print(6 * 7)"], cwd=folder, **limits)
    >>> result.returncode, result.stdout, result.stderr, result.reason
    (0, '42\\n', '', None)
    ```
    """
    if sys.platform == "win32":
        raise OSError("run_limited needs Linux or macOS: Windows has no limits on processes of this kind.")
    if not Path(cwd).is_dir():
        raise FileNotFoundError(f"The folder to run in does not exist: {cwd}")
    deadline = time.monotonic() + seconds
    status_read, status_write = os.pipe()
    task = {
        "command": list(command),
        "env": dict(env or {}),
        "seconds": seconds,
        "memory_bytes": memory_bytes,
        "file_bytes": file_bytes,
        "folder_bytes": folder_bytes,
        "max_processes": max_processes,
        "network": network,
        "readable": None if readable is None else [os.path.abspath(path) for path in readable],
        "status": status_write,
        "parent": os.getpid(),
    }
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={},
            start_new_session=True,
            pass_fds=[status_write],
        )
    except BaseException:
        os.close(status_read)
        raise
    finally:
        os.close(status_write)
    with process, open(status_read) as status_file:
        try:
            outputs, reason = _exchange(process, input.encode(), deadline, max_output_bytes)
        finally:
            _end(process)
        status = status_file.read()
    report: dict[str, Any] = {}
    for line in status.splitlines():
        report.update(json.loads(line))
    if "error" in report:
        raise OSError(f"Running {command[0]} with limits failed: {report['error']}")
    guards = frozenset(report.get("guards", []))
    if "guards" in report:
        _warn(guards)
    stdout, stderr = (output.decode(errors="replace") for output in outputs)
    return LimitedResult(report.get("returncode", -signal.SIGKILL), stdout, stderr, reason, guards)


@cache
def _warn(guards: frozenset[str]) -> None:
    """Warns of missing guards, once for the same set of guards."""
    for name, without in GUARDS.items():
        if name not in guards:
            message = f"This system lacks the guard {name!r} for commands that are run with limits: {without}."
            warnings.warn(message, RuntimeWarning, stacklevel=3)


def _exchange(
    process: subprocess.Popen, written: bytes, deadline: float, max_bytes: int
) -> tuple[tuple[bytes, bytes], str | None]:
    """
    Feeds a process and reads its outputs until it closes them or exceeds a limit. Returns the outputs and the limit.
    """
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdin, *outputs):
            os.set_blocking(pipe.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for pipe in outputs:
            selector.register(pipe, selectors.EVENT_READ)
        reason = None
        while selector.get_map() and reason is None:
            left = deadline - time.monotonic()
            if left <= 0:
                reason = "time"
                break
            for key, _ in selector.select(left):
                if key.fileobj is process.stdin:
                    try:
                        written = written[os.write(key.fd, written[:CHUNK]) :]
                    except BrokenPipeError:
                        written = b""
                    if not written:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                output = outputs[cast(IO[bytes], key.fileobj)]
                chunk = os.read(key.fd, CHUNK)
                output += chunk[: max_bytes - len(output)]
                if not chunk:
                    selector.unregister(key.fileobj)
                elif len(output) >= max_bytes:
                    reason = "output"
    if reason is None:
        # Both outputs are closed. A process may close them long before it ends.
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            reason = "time"
    return (bytes(outputs[process.stdout]), bytes(outputs[process.stderr])), reason


def _end(process: subprocess.Popen) -> None:
    """Ends the launcher, and with it everything that it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # the whole group has ended; macOS raises the second one
        pass
    process.wait()
