# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What a program that is run with limits can and cannot do."""

import os
import sys
import time
from pathlib import Path

import pytest

from star_trl.limited_process import LimitedResult, run_limited


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs Linux or macOS")


def run(program: str, folder: Path, **changes) -> LimitedResult:
    limits = {"seconds": 10, "memory_bytes": 2**29, "file_bytes": 2**20, "cwd": folder}
    return run_limited([sys.executable, "-I", "-c", program], **{**limits, **changes})


def test_a_program_gets_its_input_and_returns_its_outputs_and_its_exit_code(tmp_path):
    program = "import sys; print(sys.stdin.read()[::-1]); print('no', file=sys.stderr); sys.exit(3)"
    assert run(program, tmp_path, input="abc" * 50_000) == LimitedResult(3, "cba" * 50_000 + "\n", "no\n", None)


def test_an_endless_program_ends_with_its_time(tmp_path):
    start = time.monotonic()
    result = run("print('begun', flush=True)\nwhile True: pass", tmp_path, seconds=1)
    assert (result.stdout, result.reason) == ("begun\n", "time")
    assert time.monotonic() - start < 3


def test_an_endless_output_is_cut_and_ends_the_program(tmp_path):
    result = run("while True: print('x' * 1000)", tmp_path, max_output_bytes=3000)
    assert (len(result.stdout), result.reason) == (3000, "output")


def test_a_process_that_left_its_session_ends_with_the_call(tmp_path):
    program = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(0.5)
        open("alive", "w").close()
"""
    assert run(program, tmp_path).returncode == 0
    time.sleep(1)
    assert os.listdir(tmp_path) == []
