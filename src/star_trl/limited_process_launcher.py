# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Sets the limits of `run_limited` and starts the command: a script without imports from the package, run as a process of
its own, since what is set between a fork and an exec in a process with threads (torch) may hang it.

Where the kernel allows it, the command runs in namespaces of its own: of users, so that it has no rights over the
processes outside; of processes, all of which the kernel ends with the first one; of mounts, read-only but for the
folder it runs in; and of the network, with no way out.
"""

import ctypes
import json
import math
import os
import resource
import signal
import sys


LINUX = sys.platform == "linux"
# From linux/sched.h, linux/mount.h, linux/prctl.h and asm-generic/unistd.h
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY, SYS_MOUNT_SETATTR = -100, 0x8000, 1, 442
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38

libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def call(name, *args):
    """A function of libc, with its error as an `OSError`."""
    if getattr(libc, name)(*args) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


class MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def enter_namespaces(network):
    """Namespaces for the children of this process. Raises `OSError` where the kernel does not allow them."""
    user, group = os.getuid(), os.getgid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWIPC | (0 if network else CLONE_NEWNET))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def restrict_mounts():
    """What is mounted, read-only but for the working folder; and the processes of this namespace only."""
    folder = os.fsencode(os.getcwd())
    call("unshare", CLONE_NEWNS)
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    call("mount", folder, folder, None, MS_BIND, None)
    os.chdir(folder)  # into the new mount
    try:
        call("mount", b"proc", b"/proc", b"proc", MS_NOSUID_NODEV_NOEXEC, None)
    except OSError:  # in containers that hide parts of it
        pass
    for path, flags, attributes in (
        (b"/", AT_RECURSIVE, MountAttributes(set=MOUNT_ATTR_RDONLY)),
        (folder, 0, MountAttributes(clear=MOUNT_ATTR_RDONLY)),
    ):
        call(
            "syscall",
            SYS_MOUNT_SETATTR,
            AT_FDCWD,
            path,
            flags,
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )


def set_limits(task, isolated):
    # Every core may work all the time: this only ends what nobody else has ended.
    cpu_seconds = (math.ceil(task["seconds"]) + 1) * (os.cpu_count() or 1)
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": cpu_seconds,
        "RLIMIT_FSIZE": task["file_bytes"],
        "RLIMIT_NOFILE": 256,
        "RLIMIT_AS": task["memory_bytes"],
    }
    if isolated and task["max_processes"] is not None:  # elsewhere the processes of the user's other work count too
        limits["RLIMIT_NPROC"] = task["max_processes"]
    for name, value in limits.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (value, value))
        except (ValueError, OSError):  # macOS has RLIMIT_AS and refuses it
            if LINUX:
                raise


def start(task, isolated, status):
    """The process of the command, which sets its limits itself."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if LINUX:
            call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        set_limits(task, isolated)
        os.set_inheritable(status, False)
        for name in ("SIGPIPE", "SIGXFSZ"):  # ignored by the interpreter
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execve(task["command"][0], task["command"], task["env"])
    except BaseException as error:
        report(status, error=str(error))
        os._exit(127)


def report(status, **fields):
    os.write(status, json.dumps(fields).encode())


def supervise(child, status):
    """Waits for the command, adopts and reaps what it leaves behind, and reports how it ended."""
    while True:
        pid, code = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(code)
            if code != 127:
                report(status, returncode=code)
            return code


def descendants():
    """Processes below this one, of which it adopts those that have lost their parent."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found, level = [], {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += level
    return found


def end_descendants():
    """Ends and reaps all processes below this one, however often one of them forks meanwhile."""
    while True:
        for pid in descendants() if LINUX else []:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if not LINUX:
            return


def main(task):
    status = task["status"]
    isolated = LINUX
    if LINUX:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != task["parent"]:
            return  # it has ended before it could be waited for
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            enter_namespaces(task["network"])
        except OSError as error:
            if not task["network"]:
                return report(status, error=f"the network cannot be kept from it ({error})")
            isolated = False
    elif not task["network"]:
        return report(status, error="the network cannot be kept from it on this system")

    if isolated:
        child = first = os.fork()
        if not first:
            try:
                call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                restrict_mounts()
                supervise(start(task, isolated, status), status)
            except BaseException as error:
                report(status, error=str(error))
            os._exit(0)  # with which the kernel ends every process of the namespace
    else:
        child = start(task, isolated, status)

    def terminate(*_):
        end_descendants()
        os._exit(0)

    signal.signal(signal.SIGTERM, terminate)
    if isolated:
        os.waitpid(child, 0)
    else:
        supervise(child, status)
    end_descendants()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
