# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What a program that is run with limits can and cannot do."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from star_trl.sandbox import MissingGuards, limited_process
from star_trl.sandbox.limited_process import GUARDS, LimitedResult, run_limited
from support.guards import LANDLOCK, in_docker


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs Linux or macOS")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def run(program: str, folder: Path, **changes) -> LimitedResult:
    """Runs a program with the guards that the system has, if a test says nothing else."""
    limits = {
        "seconds": 10,
        "memory_bytes": 2**29,
        "file_bytes": 2**20,
        "cwd": folder,
        "accept_missing_guards": GUARDS,
    }
    return run_limited([sys.executable, "-I", "-c", program], **{**limits, **changes})


def test_a_program_gets_its_input_and_returns_its_outputs_and_its_exit_code(tmp_path):
    program = "import sys; print(sys.stdin.read()[::-1]); print('no', file=sys.stderr); sys.exit(3)"
    assert run(program, tmp_path, input="abc" * 50_000) == LimitedResult(3, "cba" * 50_000 + "\n", "no\n", None)


def test_an_endless_program_ends_with_its_time(tmp_path):
    start = time.monotonic()
    result = run("print('begun', flush=True)\nwhile True: pass", tmp_path, seconds=1)
    assert (result.stdout, result.reason) == ("begun\n", "time")
    assert time.monotonic() - start < 30  # the start takes seconds on a busy machine


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
def test_what_cannot_be_run_is_an_error_that_says_so(tmp_path, all_guards, changes, message):
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


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1)
        open("alive", "w").close()
        time.sleep(1000)
"""


@linux
@pytest.mark.parametrize(("end", "seconds", "reason"), [("", 10, None), ("while True: pass", 0.5, "time")])
def test_without_namespaces_daemons_end_with_the_call(tmp_path, all_guards, without, end, seconds, reason):
    without("enter_namespaces")
    assert run(DAEMON + end, tmp_path, seconds=seconds, accept_missing_guards={"namespaces"}).reason == reason
    time.sleep(1.5)
    assert os.listdir(tmp_path) == []


@linux
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
@pytest.mark.parametrize("refusing", ["enter_namespaces", "map_user", "restrict_mounts"])
def test_without_namespaces_the_other_guards_hold(tmp_path, all_guards, without, refusing, program, said):
    without(refusing)
    result = run(program, tmp_path, max_processes=1, accept_missing_guards={"namespaces"})
    assert said in result.stderr and bool(said) == bool(result.stderr)
    assert result.guards == {"files", "system calls"}


FUNCTIONS = {"namespaces": "enter_namespaces", "files": "restrict_files", "system calls": "filter_system_calls"}


@linux
@pytest.mark.parametrize("missing", [{name} for name in GUARDS] + [{"namespaces", "files"}, {*GUARDS}], ids=sorted)
def test_missing_guards_are_named_and_nothing_is_run(tmp_path, all_guards, without, missing):
    without(*(FUNCTIONS[name] for name in missing))
    for accepted in [set(), {*GUARDS} - missing, {*sorted(missing)[1:]}]:
        with pytest.raises(MissingGuards) as raised:
            run("open('made', 'w')", tmp_path, accept_missing_guards=accepted)
        assert raised.value.missing == dict.fromkeys(missing, "refused")
        for name in missing:
            assert f"{name!r} (refused). Without it, {GUARDS[name].without}." in str(raised.value)
            assert GUARDS[name].get in str(raised.value)
        assert str(raised.value).endswith(f"`accept_missing_guards={set_of(missing | accepted)}`.")
    assert os.listdir(tmp_path) == []


def set_of(names) -> str:
    return "{" + ", ".join(map(repr, sorted(names))) + "}"


@linux
def test_guards_whose_lack_is_accepted_are_used_where_they_are(tmp_path, all_guards):
    assert run("", tmp_path, accept_missing_guards={*GUARDS}).guards == {*GUARDS}


@pytest.mark.parametrize("names", [{"landlock"}, "files", ["files", "all"]])
def test_only_names_of_guards_are_accepted(tmp_path, names):
    with pytest.raises(ValueError, match="must be a set of names among 'namespaces', 'files', 'system calls', got"):
        run("", tmp_path, accept_missing_guards=names)


@linux
def test_where_the_network_cannot_be_kept_from_it_it_is_not_run(tmp_path, without):
    without("enter_namespaces", "filter_system_calls")
    accepted = {"namespaces", "system calls"}
    with pytest.raises(OSError, match="to let it, pass `network=True`"):
        run("open('made', 'w')", tmp_path, accept_missing_guards=accepted)
    assert os.listdir(tmp_path) == []
    program = "import socket; socket.socket()"
    assert run(program, tmp_path, network=True, accept_missing_guards=accepted).returncode == 0


@linux
@pytest.mark.parametrize(
    ("more", "missing"), [([], {"namespaces"}), (LANDLOCK, {"namespaces", "files"})], ids=["docker 23", "docker 20"]
)
def test_in_the_default_profile_of_docker(tmp_path, all_guards, change_launcher, more, missing):
    change_launcher(in_docker(*more))
    with pytest.raises(MissingGuards) as raised:
        run("", tmp_path, max_processes=1, accept_missing_guards=())
    assert {*raised.value.missing} == missing
    assert all("Operation not permitted" in reason for reason in raised.value.missing.values())
    result = run("print(6 * 7)", tmp_path, max_processes=1, accept_missing_guards=missing)
    assert (result.stdout, result.stderr, result.guards) == ("42\n", "", {*GUARDS} - missing)
    result = run("import os; os.kill(os.getppid(), 9)", tmp_path, max_processes=1, accept_missing_guards=missing)
    assert "Operation not permitted" in result.stderr


@linux
def test_the_time_that_namespaces_take_is_not_the_time_of_the_command(tmp_path, all_guards, change_launcher):
    change_launcher("time.sleep(3)")
    assert run("print(6 * 7)", tmp_path, seconds=2).stdout == "42\n"


@linux
@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ("launcher.enter_namespaces = lambda *_: time.sleep(100)", "'namespaces'"),
        ("time.sleep(100)", "'its own start'"),
    ],
)
def test_limits_that_take_too_long_are_told_with_what_took_long(tmp_path, change_launcher, monkeypatch, changes, step):
    monkeypatch.setattr(limited_process, "SETUP_SECONDS", 1.0)
    change_launcher(changes)
    with pytest.raises(OSError, match=f"was not run: after 1 seconds .* was still at {step}"):
        run("open('made', 'w')", tmp_path)
    assert os.listdir(tmp_path) == []
