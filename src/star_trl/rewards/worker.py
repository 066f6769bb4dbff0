# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A process for what a model wrote, with limits on time and memory, that is replaced when something has ended it."""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


TIMEOUT_EXIT_CODE = -14  # SIGALRM, by number: Windows, where workers do not run, has no such name


class Worker:
    """
    Runs a file of this folder in a process of its own (`worker_main.py`), from the first request on, and starts it
    anew when a request has ended it. Started by `subprocess`: a fork would copy the threads' locks of torch, and
    `multiprocessing` would run the user's script again.

    Args:
        name (`str`):
            The file's name, with a function `load`.
        memory_limit (`int`):
            Bytes of address space.
    """

    def __init__(self, name: str, memory_limit: int):
        self.name = name
        self.memory_limit = memory_limit
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0  # of the process that started it: one forked from it must not read its answers
        self.lock = threading.Lock()
        atexit.register(self.stop)

    def ask(self, **request: Any) -> dict[str, Any]:
        """
        The answer to a request. Where the request has ended the process, it is `{"error": ...}`: `"timeout"`, or the
        exit code.

        Args:
            timeout (`float`):
                Seconds after which the process is ended.
            **request:
                Anything else that JSON can hold.
        """
        with self.lock:
            try:
                if self.process is None or self.pid != os.getpid() or self.process.poll() is not None:
                    self._start()
                reply = self._exchange(json.dumps(request))
            except BaseException:  # Ctrl-C: an answer may still be under way, and must not be taken for the next one
                self.stop()
                raise
            if not reply:
                code = self.stop()
                return {"error": "timeout" if code == TIMEOUT_EXIT_CODE else f"ended with code {code}"}
        return json.loads(reply)

    def _start(self) -> None:
        folder = Path(__file__).parent
        # -P: without the script's directory in the path, in which `math_verify` and `numbers` are other modules.
        command = [sys.executable, "-P", "-W", "ignore", str(folder / "worker_main.py"), str(folder / self.name)]
        self.process = subprocess.Popen(
            [*command, str(self.memory_limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = os.getpid()
        if not self._exchange(""):
            raise RuntimeError(f"The process of a reward function does not start: {' '.join(command)}")

    def _exchange(self, line: str) -> str:
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            if line:
                process.stdin.write(line + "\n")
                process.stdin.flush()
            return process.stdout.readline()
        except BrokenPipeError:  # it was ended from outside
            return ""

    def stop(self) -> int | None:
        """Ends the process, and returns its exit code: its own if it has ended before."""
        process, self.process = self.process, None
        if process is None or self.pid != os.getpid():
            return None
        process.kill()
        return process.wait()
