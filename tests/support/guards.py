# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Systems that lack guards of the sandbox, imitated by launchers that refuse what such a system refuses."""

import sys
import tempfile
from pathlib import Path

from star_trl.sandbox import MissingGuards, run_limited
from star_trl.sandbox.limited_process import LAUNCHER


# Calls that Docker's default profile refuses without CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_SYS_MODULE. It also refuses
# the flags of clone for namespaces, and answers clone3 as a kernel does that does not know it. Before Docker 23 it
# refused Landlock as well. https://github.com/moby/moby/blob/master/profiles/seccomp/default.json
DOCKER = (
    "add_key bpf fanotify_init fsconfig fsmount fsopen io_uring_setup kcmp keyctl mount mount_setattr move_mount "
    "open_tree perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev ptrace "
    "request_key setns syslog umount2 unshare userfaultfd"
).split()
LANDLOCK = ["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self"]
FILTER = """
def refuse_calls(names):
    column, architecture = launcher.ARCHITECTURES[launcher.platform.machine()]
    allow, refuse, unknown = (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x50001), (6, 0, 0, 0x50000 | 38)
    program = [(0x20, 0, 0, 0)]
    for name in names:
        program += [(0x15, 0, 1, launcher.SYSTEM_CALLS[name][column]), refuse]
    program += [(0x15, 0, 1, 435), unknown, (0x15, 0, 4, launcher.SYSTEM_CALLS["clone"][column])]
    program += [(0x20, 0, 0, 16), (0x45, 0, 1, launcher.NEW_NAMESPACES), refuse, allow, allow]
    buffer = launcher.ctypes.create_string_buffer(b"".join(launcher.struct.pack("HBBI", *step) for step in program))
    header = launcher.struct.pack("HxxxxxxP", len(program), launcher.ctypes.addressof(buffer))
    launcher.prctl(launcher.PR_SET_NO_NEW_PRIVS, 1)
    launcher.prctl(launcher.PR_SET_SECCOMP, 2, header)
"""


def launcher_that(path: Path, changes: str) -> Path:
    """Writes a launcher that is changed before it begins, by statements in which it is called `launcher`."""
    path.write_text(
        "import json, sys, time\n"
        f"sys.path.insert(0, {str(LAUNCHER.parent)!r})\n"
        "import launcher\n"
        "def refuse(*args): raise OSError('refused')\n"
        f"{changes}\n"
        "launcher.main(json.loads(sys.argv[1]))\n"
    )
    return path


def in_docker(*more: str) -> str:
    """Changes that make a launcher one within Docker's default profile, which may refuse more calls."""
    return FILTER + f"refuse_calls({[*DOCKER, *more]!r})"


def missing_guards() -> MissingGuards | None:
    """Returns the error of a system that lacks guards."""
    limits = {"seconds": 60, "memory_bytes": 2**30, "file_bytes": 0}
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_limited([sys.executable, "-I", "-c", ""], cwd=folder, max_processes=1, **limits)
        except MissingGuards as error:
            return error
    return None
