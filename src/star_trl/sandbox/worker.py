# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A process with limits on time and memory for text that a model wrote. It is replaced after it was ended."""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


TIMEOUT_EXIT_CODE = -14  # SIGALRM as a number, since Windows, where workers do not run, has no such name


class Worker:
    """
    Runs a file in a separate process (`worker_main.py`). The process starts at the first request, and again after a
    request has ended it. It is started by `subprocess`: a fork would copy the locks of torch's threads, and
    `multiprocessing` would run the user's script again.

    Args:
        path (`Path`):
            The file, with a function `load`.
        memory_limit (`int`):
            Bytes of address space.
    """

    def __init__(self, path: Path, memory_limit: int):
        self.path = path
        self.memory_limit = memory_limit
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0  # of the process that started it; a fork of that process must not read its answers
        self.lock = threading.Lock()
        atexit.register(self.stop)

    def ask(self, **request: Any) -> dict[str, Any]:
        """
        Returns the answer to a request. If the request has ended the process, the answer is `{"error": ...}` with
        `"timeout"` or the exit code.

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
            except BaseException:  # Ctrl-C: an answer may still arrive, and must not be taken for the next one
                self.stop()
                raise
            if not reply:
                code = self.stop()
                return {"error": "timeout" if code == TIMEOUT_EXIT_CODE else f"ended with code {code}"}
        return json.loads(reply)

    def _start(self) -> None:
        main = Path(__file__).with_name("worker_main.py")
        # -P leaves the script's directory out of the path, since it has other modules called `math_verify` and
        # `numbers`.
        command = [sys.executable, "-P", "-W", "ignore", str(main), str(self.path)]
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
        except BrokenPipeError:  # something else ended it
            return ""

    def stop(self) -> int | None:
        """Ends the process, and returns its exit code. If it has ended before, this is its own exit code."""
        process, self.process = self.process, None
        if process is None or self.pid != os.getpid():
            return None
        process.kill()
        return process.wait()
