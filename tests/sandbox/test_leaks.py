# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Nothing of a program reaches other processes, seen from these processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from star_trl.sandbox import run_limited
from star_trl.tools import python_tool


pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"), pytest.mark.usefixtures("all_guards")]

# Makes sockets in every way, connects and sends in every way, and prints nothing but why a ring cannot be made. Each
# message is the way that it took.
REACH = """
import ctypes, errno, os, socket, stat
UNIX, libc, held = socket.AF_UNIX, ctypes.CDLL(None, use_errno=True), []
socket.setdefaulttimeout(0.5)

def pair(kind):
    held.append(socket.socketpair(UNIX, kind))
    return held[-1][0]

def left_alone(kind):
    one, other = socket.socketpair(UNIX, kind)
    other.close()
    return one

def passed(kind):
    one, other = socket.socketpair(UNIX, socket.SOCK_STREAM)
    socket.send_fds(one, [b"x"], [pair(kind).fileno()])
    return socket.socket(fileno=socket.recv_fds(other, 1, 1)[1][0])

def inherited(kind):
    if INHERITED and socket.socket(fileno=os.dup(INHERITED)).type == kind:
        return socket.socket(fileno=os.dup(INHERITED))
    raise OSError("nothing is inherited")

def taken(kind):
    for fd in range(3, 64):
        copy = libc.syscall(438, PIDFD, fd, 0)
        try: return socket.socket(fileno=copy)
        except ValueError: pass
        except OSError: os.close(copy)
    raise OSError("nothing to take")

def opened(kind):
    return socket.socket(fileno=os.open(f"/proc/self/fd/{pair(kind).fileno()}", os.O_RDWR))

def is_socket(fd):
    try: return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError: return False

INHERITED = next(filter(is_socket, range(256)), None)
PIDFD = libc.syscall(434, PARENT, 0)

MAKERS = {
    "new": lambda kind: socket.socket(UNIX, kind),
    "pair": pair,
    "left alone": left_alone,
    "copied": lambda kind: socket.socket(fileno=os.dup(pair(kind).fileno())),
    "opened": opened,
    "passed": passed,
    "inherited": inherited,
    "taken": taken,
}

def connected(made, address, message):
    made.connect(address)
    made.send(message)

SENDERS = {
    "connect": connected,
    "sendto": lambda made, address, message: made.sendto(message, address),
    "sendmsg": lambda made, address, message: made.sendmsg([message], [], 0, address),
}
for address in ADDRESSES:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        for maker in MAKERS:
            for sender in SENDERS:
                message = f"{maker} {kind.name} {sender}"
                try: SENDERS[sender](MAKERS[maker](kind), address, message.encode())
                except OSError as error: assert error.errno != errno.EMFILE
            for one, other in held:
                one.close(), other.close()
            held.clear()
print(libc.syscall(425, 8, ctypes.create_string_buffer(120)), ctypes.get_errno())
"""


@pytest.fixture
def listeners():
    """
    Sockets of this process with a path and with an abstract name, for streams and for messages, and the program that
    tries to reach them. This process also has an unconnected socket that its children may inherit.
    """
    made = []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lent:
        lent.set_inheritable(True)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for address in (f"{folder}/{kind.name}", f"\0star_trl{os.getpid()}{kind.name}"):
                listener = socket.socket(socket.AF_UNIX, kind)
                listener.bind(address)
                if kind == socket.SOCK_STREAM:
                    listener.listen(100)
                listener.setblocking(False)
                made.append(listener)
        addresses = [os.fsdecode(listener.getsockname()) for listener in made]
        program = f"ADDRESSES, PARENT = {addresses!r}, {os.getpid()}\n{REACH}"
        yield made, program, lent
        for listener in made:
            listener.close()


def received(listeners) -> set[str]:
    """The messages that have arrived by now: for each kind of address, the ways by which they came."""
    found = set()
    for listener in listeners:
        where = "path" if isinstance(listener.getsockname(), str) else "abstract"
        while True:
            try:
                if listener.type == socket.SOCK_DGRAM:
                    message = listener.recv(100)
                else:
                    with listener.accept()[0] as connection:
                        message = connection.recv(100)
            except BlockingIOError:
                break
            found.add(f"{where}: {message.decode()}")
    return found


def test_without_a_sandbox_the_ways_to_a_socket_are_open(listeners):
    made, program, lent = listeners
    command = [sys.executable, "-c", program]
    found = set()
    with subprocess.Popen(command, pass_fds=[lent.fileno()], stdout=subprocess.PIPE) as process:
        while process.poll() is None:  # a few messages fill a socket
            found |= received(made)
    found |= received(made)
    for where in ("path", "abstract"):
        assert f"{where}: new SOCK_STREAM connect" in found
        for maker in ("new", "pair", "left alone", "copied", "passed", "inherited"):
            ways = {f"{where}: {maker} SOCK_DGRAM {sender}" for sender in ("connect", "sendto", "sendmsg")}
            assert ways <= found


@pytest.mark.parametrize(
    ("refusing", "changes"),
    [
        (None, {"max_processes": 1, "readable": [sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64"]}),
        (None, {}),
        (None, {"network": True}),
        ("enter_namespaces", {"accept_missing_guards": {"namespaces"}}),
        ("enter_namespaces", {"accept_missing_guards": {"namespaces"}, "network": True}),
        ("restrict_files", {"accept_missing_guards": {"files"}, "network": True}),
    ],
    ids=["as a tool", "as a checker", "network", "no namespaces", "network, no namespaces", "network, no Landlock"],
)
def test_no_socket_of_another_process_hears_anything(listeners, without, tmp_path, refusing, changes):
    made, program, _ = listeners
    if refusing:
        without(refusing)
    limits = {"seconds": 60, "memory_bytes": 2**30, "file_bytes": 2**20, "cwd": tmp_path}
    result = run_limited([sys.executable, "-I", "-c", program], **{**limits, **changes})
    assert (result.returncode, result.stdout, result.stderr) == (0, "-1 1\n", "")
    assert received(made) == set()


def test_no_socket_hears_anything_of_the_python_tool(listeners):
    made, program, _ = listeners
    assert python_tool(seconds=60).run("\n" + program) == "-1 1"
    assert received(made) == set()


def test_programs_still_have_an_event_loop():
    program = (
        "import asyncio\nasync def answer():\n    await asyncio.sleep(0)\n    return 42\nprint(asyncio.run(answer()))"
    )
    assert python_tool(seconds=60).run("\n" + program) == "42"


# Without namespaces, other processes and what they have are in sight.


def run_among_others(program: str, folder: Path) -> str:
    result = run_limited(
        [sys.executable, "-I", "-c", program],
        cwd=folder,
        seconds=60,
        memory_bytes=2**30,
        file_bytes=2**20,
        max_processes=1,
        accept_missing_guards={"namespaces", "files"},
    )
    return result.stderr


def test_without_namespaces_no_signal_reaches_another_process(tmp_path, without):
    without("enter_namespaces", "restrict_files")
    heard = []
    before = signal.signal(signal.SIGIO, lambda *_: heard.append("signal"))
    try:
        for owner in ("fcntl.fcntl(one, fcntl.F_SETOWN, PID)", "fcntl.ioctl(one, 0x8901, struct.pack('i', PID))"):
            program = (
                "import fcntl, os, socket, struct\none, other = socket.socketpair()\n"
                f"try: {owner.replace('PID', str(os.getpid()))}\nexcept OSError as error: print(error)\n"
                "fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)\nother.send(b'x')"
            )
            assert run_among_others(program, tmp_path) == ""
    finally:
        signal.signal(signal.SIGIO, before)
    assert heard == []


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.sched_setaffinity(PID, {0})",
        "import os; os.setpriority(os.PRIO_PROCESS, PID, 19)",
        "import os; os.sched_setscheduler(PID, os.SCHED_IDLE, os.sched_param(0))",
        "import resource; resource.prlimit(PID, resource.RLIMIT_CORE, (0, 0))",
        "import resource; resource.prlimit(PID, resource.RLIMIT_NOFILE, (9, 9))",
        "import os; os.chmod('BAIT', 0)",
        "import os; os.fchmod(os.open('BAIT', os.O_RDONLY), 0)",
        "import os; os.utime('BAIT', (1, 1))",
        "import os; os.open('BAIT', os.O_RDONLY | os.O_TRUNC)",
        "import os; os.open('BAIT', 3 | os.O_TRUNC)",
        "import os; os.truncate('BAIT', 0)",
    ],
)
def test_without_namespaces_other_processes_and_files_keep_their_state(tmp_path, without, program):
    without("enter_namespaces", "restrict_files")
    file = tmp_path / "file"
    file.write_text("42")
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        before = state_of(sleeper.pid), state_of_file(file)
        errors = run_among_others(program.replace("PID", str(sleeper.pid)).replace("BAIT", str(file)), tmp_path)
        assert re.search("Operation not permitted|not allowed to raise", errors)
        assert (state_of(sleeper.pid), state_of_file(file)) == before
    finally:
        sleeper.kill()
        sleeper.wait()


def state_of(pid: int) -> tuple:
    limits = Path(f"/proc/{pid}/limits").read_text()
    return os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid), limits


def state_of_file(path: Path) -> tuple:
    return path.stat().st_mode, path.stat().st_mtime_ns, path.read_text()
