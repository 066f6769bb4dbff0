# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What a program that is run with limits can and cannot do."""

import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from star_trl.sandbox import limited_process
from star_trl.sandbox.limited_process import GUARDS, LimitedResult, run_limited


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"command": ["/no/such/program"]}, "No such file"),
        ({"cwd": "/no/such/folder"}, "folder to run in does not exist: /no/such/folder"),
        ({"readable": []}, "Running .* with limits failed"),
    ],
)
def test_what_cannot_be_run_is_an_error_that_says_so(tmp_path, changes, message):
    settings = {"command": [sys.executable], "cwd": tmp_path, "seconds": 10, "memory_bytes": 2**29, "file_bytes": 0}
    settings.update(changes)
    with pytest.raises(OSError, match=message):
        run_limited(settings.pop("command"), **settings)


def test_its_environment_is_what_is_given(tmp_path):
    program = "import os; print(os.environ.get('A'), os.environ.get('PATH'), os.getcwd() == os.path.realpath('.'))"
    assert run(program, tmp_path, env={"A": "b"}).stdout == "b None True\n"


def test_files_in_its_folder_are_there_and_stay(tmp_path):
    (tmp_path / "given").write_text("7")
    run("open('made', 'w').write(open('given').read() * 2)", tmp_path)
    assert (tmp_path / "made").read_text() == "77"


def test_many_at_a_time_keep_apart(tmp_path):
    def one(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        return run("print(input())", folder, input=str(number)).stdout

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(8))) == [f"{number}\n" for number in range(8)]


# Where the system lacks a guard, as containers do


@pytest.fixture
def without(tmp_path, monkeypatch):
    """Makes the launcher one of a system that refuses some of the guards."""

    def lack(*names):
        path = tmp_path.parent / "lacking.py"
        path.write_text(
            "import json, sys\n"
            f"sys.path.insert(0, {str(limited_process.LAUNCHER.parent)!r})\n"
            "import launcher\n"
            "def refuse(*args): raise OSError('refused')\n"
            + "".join(f"launcher.{name} = refuse\n" for name in names)
            + "launcher.main(json.loads(sys.argv[1]))\n"
        )
        monkeypatch.setattr(limited_process, "LAUNCHER", path)
        limited_process._warn.cache_clear()

    return lack


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1)
        open("alive", "w").close()
        time.sleep(1000)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@linux
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("end", "seconds", "reason"), [("", 10, None), ("while True: pass", 0.5, "time")])
def test_without_namespaces_daemons_end_with_the_call(tmp_path, without, end, seconds, reason):
    without("enter_namespaces")
    assert run(DAEMON + end, tmp_path, seconds=seconds).reason == reason
    time.sleep(1.5)
    assert os.listdir(tmp_path) == []


@linux
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getppid(), 9)", "Operation not permitted"),
        ("import os; os.kill(os.getpid(), 15)", ""),
        ("import socket; socket.socket()", "Operation not permitted"),
        ("open('/tmp/star_trl_hostile', 'w')", "Permission denied"),
        ("import os; os.fork()", "Operation not permitted"),
        ("import threading as t; thread = t.Thread(target=print); thread.start(); thread.join()", ""),
    ],
)
def test_without_namespaces_the_other_guards_hold(tmp_path, without, program, said):
    without("enter_namespaces")
    result = run(program, tmp_path, max_processes=1)
    assert said in result.stderr and bool(said) == bool(result.stderr)
    assert result.guards == {"files", "system calls"}


@linux
def test_a_guard_that_is_missing_is_told_once(tmp_path, without):
    without("restrict_files")
    with pytest.warns(RuntimeWarning, match="lacks the guard 'files' .* it can read what this user can read"):
        assert run("", tmp_path).guards == {*GUARDS} - {"files"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run("", tmp_path)


@linux
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_the_network_cannot_be_kept_from_it_it_is_not_run(tmp_path, without):
    without("enter_namespaces", "filter_system_calls")
    with pytest.raises(OSError, match="to let it, pass `network=True`"):
        run("open('made', 'w')", tmp_path)
    assert os.listdir(tmp_path) == []
    assert run("import socket; socket.socket()", tmp_path, network=True).returncode == 0
