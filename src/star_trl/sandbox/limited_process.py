# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Runs untrusted commands, such as programs that a model wrote. Each call runs one process with limits."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast


@dataclass(frozen=True)
class Guard:
    """
    A guard that the system may lack.

    Args:
        without (`str`):
            What is open without it.
        get (`str`):
            How to get it.
    """

    without: str
    get: str


GUARDS = {
    "namespaces": Guard(
        without="the command runs among your other processes, sees their numbers, and is on the network of this "
        "machine, which only the guard 'system calls' then keeps from it. Processes that it leaves behind are looked "
        "for and ended one by one. All its files together may exceed `folder_bytes`, on the disk",
        get="allow user namespaces. Docker: `docker run --security-opt seccomp=unconfined --security-opt "
        "apparmor=unconfined`. Ubuntu: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`. Debian: `sysctl -w "
        "kernel.unprivileged_userns_clone=1`. Elsewhere: `sysctl -w user.max_user_namespaces=10000`",
    ),
    "files": Guard(
        without="the command reads every file that you can read, such as keys, the right answers and, as root, "
        "/etc/shadow. Without namespaces as well, or before Linux 5.12, it also writes and deletes your files",
        get="Linux 5.13 or newer with Landlock. If /sys/kernel/security/lsm does not list `landlock`, add it to the "
        "kernel's argument `lsm=`. In a container, use a runtime whose seccomp profile allows the calls of Landlock, "
        "such as Docker 23 or newer",
    ),
    "system calls": Guard(
        without="the command sends to the sockets of other processes, such as Docker's, starts any number of "
        "processes, and takes memory that is not counted. Without namespaces as well, it uses the network and ends "
        "your other processes",
        get="Linux on x86-64 or 64-bit Arm, with seccomp filters (CONFIG_SECCOMP_FILTER), which most kernels have",
    ),
}
LAUNCHER = Path(__file__).with_name("launcher.py")
CHUNK = 65536
# Seconds that the launcher has to set the limits. It takes some hundredths, or seconds where namespaces are slow.
SETUP_SECONDS = 60.0
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


class MissingGuards(OSError):
    """
    Raised if the system lacks guards that `accept_missing_guards` does not name. The command is then not run.

    Args:
        missing (`dict[str, str]`):
            The guards, and why the system refused each.
        accepted (`Collection[str]`, *optional*):
            The guards whose lack was accepted.
    """

    def __init__(self, missing: Mapping[str, str], accepted: Collection[str] = ()):
        self.missing = dict(missing)
        lines = [
            f"- {name!r} ({reason}). Without it, {GUARDS[name].without}. To get it, {GUARDS[name].get}."
            for name, reason in missing.items()
        ]
        needed = ", ".join(map(repr, sorted({*missing, *accepted})))
        super().__init__(
            "Nothing was run, since this system lacks guards that keep a model's programs in:\n"
            + "\n".join(lines)
            + "\nProvide them, or run it on another system. If you accept what is then open, for example in a virtual "
            f"machine that holds nothing of value, say so with `accept_missing_guards={{{needed}}}`."
        )


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
    accept_missing_guards: Collection[str] = (),
) -> LimitedResult:
    """
    Runs a command with limits, and ends everything it started before it returns. Where the system lacks a guard, the
    command is not run.

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
            Wall-clock time, from when the limits are set and the command starts.
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
            Whether it can use the network: IPv4 and IPv6, and no other sockets.
        readable (`Sequence[str | os.PathLike]`, *optional*):
            The files and folders that it can read and execute, besides `cwd`, under Linux with Landlock. By default
            everything that this user can read.
        max_output_bytes (`int`, *optional*, defaults to 1 MiB):
            Bytes of each of its two outputs. The command is ended if it writes more.
        accept_missing_guards (`Collection[str]`, *optional*):
            Guards without which the command is run all the same, where the system lacks them: `"namespaces"`,
            `"files"` (Landlock) and `"system calls"`. [`MissingGuards`] says what is then open.

    Returns:
        [`LimitedResult`]: How it ended and what it printed.

    Raises:
        [`MissingGuards`]: If the system lacks a guard that is not named in `accept_missing_guards`.
        `OSError`: If the command cannot be started, or the network cannot be blocked.
        `ValueError`: If `accept_missing_guards` names something else.

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
    accepted = accepted_guards(accept_missing_guards)
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
        "accept_missing_guards": accepted,
        "no_namespaces": None,
        "parent": os.getpid(),
    }
    ended = _launch(task, input.encode(), cwd, max_output_bytes)
    if "no_namespaces" in ended.report:
        task["no_namespaces"] = ended.report["no_namespaces"]
        ended = _launch(task, input.encode(), cwd, max_output_bytes)
    report = ended.report
    if ended.reason == "setup":
        raise OSError(
            f"{command[0]} was not run: after {SETUP_SECONDS:g} seconds its limits were not set. The launcher was "
            f"still at {report.get('step', 'its own start')!r}. The system is overloaded, or it is slow at this, as "
            "emulated and virtualized kernels may be at namespaces."
        )
    if "error" in report:
        raise OSError(f"Running {command[0]} with limits failed: {report['error']}")
    if "missing" in report:
        raise MissingGuards(report["missing"], accepted)
    stdout, stderr = (output.decode(errors="replace") for output in ended.outputs)
    guards = frozenset(report.get("guards", []))
    return LimitedResult(report.get("returncode", -signal.SIGKILL), stdout, stderr, ended.reason, guards)


def accepted_guards(names: Collection[str]) -> list[str]:
    """Returns the names in order. Raises `ValueError` if they are not names of guards."""
    if isinstance(names, str) or not {*names} <= {*GUARDS}:
        raise ValueError(
            f"`accept_missing_guards` must be a set of names among {', '.join(map(repr, GUARDS))}, got {names!r}."
        )
    return sorted({*names})


@dataclass
class _Ended:
    """
    How the launcher has ended.

    Args:
        outputs (`tuple[bytes, bytes]`):
            What the command printed.
        reason (`str`, *optional*):
            The limit that ended it; `"setup"` if the command was not even started.
        report (`dict[str, Any]`):
            What the launcher reported.
    """

    outputs: tuple[bytes, bytes]
    reason: str | None
    report: dict[str, Any]


def _launch(task: dict[str, Any], written: bytes, cwd: str | os.PathLike, max_bytes: int) -> _Ended:
    status_read, status_write = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps({**task, "status": status_write})],
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
    with process, open(status_read, "rb") as status:
        try:
            return _exchange(process, status, written, task["seconds"], max_bytes)
        finally:
            _end(process)


def _exchange(process: subprocess.Popen, status: IO[bytes], written: bytes, seconds: float, max_bytes: int) -> _Ended:
    """
    Feeds a process and reads its outputs and its status until all three are closed or a limit is exceeded. The status
    is closed when the launcher ends.
    """
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    outputs = {process.stdout: bytearray(), process.stderr: bytearray()}
    lines, report = bytearray(), dict[str, Any]()
    deadline, limit = time.monotonic() + SETUP_SECONDS, "setup"
    reason = None
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdin, *outputs, status):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_WRITE if pipe is process.stdin else selectors.EVENT_READ)
        while selector.get_map() and reason is None:
            left = deadline - time.monotonic()
            if left <= 0:
                reason = limit
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
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is status:
                    *whole, lines = (lines + chunk).split(b"\n")
                    for line in whole:
                        report.update(json.loads(line))
                    if limit == "setup" and "guards" in report:  # the command starts
                        deadline, limit = time.monotonic() + seconds, "time"
                else:
                    output = outputs[cast(IO[bytes], key.fileobj)]
                    output += chunk[: max_bytes - len(output)]
                    if len(output) >= max_bytes:
                        reason = "output"
    return _Ended((bytes(outputs[process.stdout]), bytes(outputs[process.stderr])), reason, report)


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
