# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Sets the limits of `run_limited` and starts the command. This script imports nothing from the package and runs as a
separate process, since setting limits between a fork and an exec may hang a process with threads (torch).

Every Unix has some limits. Linux has four further guards, each used if kernel and container allow it:

* Namespaces: the command and what it starts see no process and no network but their own; the kernel ends all of them
  together; what is mounted is read-only but for the working folder.
* Landlock restricts which files they may read and write.
* A filter of system calls: no sockets, no processes beyond the first, no signals to others, and nothing that only
  administration needs.
* No capabilities, also for root.

The script writes lines of JSON to the pipe `status`: `guards`, and `returncode` or `error`.
"""

import ctypes
import json
import math
import os
import platform
import resource
import signal
import stat
import struct
import sys


LINUX = sys.platform == "linux"
libc = ctypes.CDLL(None, use_errno=True)

# linux/sched.h
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_THREAD = (
    1 << bit for bit in (17, 27, 28, 29, 30, 16)
)
# linux/mount.h, linux/fcntl.h
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID_NODEV, MS_NOEXEC = 0x1000, 0x4000, 0x40000, 0x2 | 0x4, 0x8
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
# linux/prctl.h
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 36, 38

CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h

# Numbers of system calls on x86_64 and on aarch64. From 424 on, they are the same everywhere.
SYSTEM_CALLS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, None),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "semget": (64, 190),
    "setns": (308, 268),
    "shmget": (29, 194),
    "socket": (41, 198),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, None),
}
# Calls for administration and debugging. Calls for memory that outlives its process and is not counted (System V).
# `truncate`, which older versions of Landlock overlook.
NEVER = (
    "add_key bpf chroot fsconfig fsmount fsopen io_uring_setup keyctl mount mount_setattr move_mount mq_open msgget "
    "open_tree perf_event_open pivot_root process_vm_readv process_vm_writev ptrace request_key semget setns shmget "
    "truncate umount2 unshare userfaultfd"
).split()
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the table, AUDIT_ARCH

# linux/landlock.h: rights on files, by the version that introduced them
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in (0, 1, 2, 3, 13, 14, 15))
READ = EXECUTE | READ_FILE | READ_DIR
ALL_RIGHTS = {1: REFER - 1, 2: 2 * REFER - 1, 3: 2 * TRUNCATE - 1, 5: 2 * IOCTL_DEV - 1}
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
BIND_AND_CONNECT_TCP, ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3


def call(name, *args):
    """Calls a function of libc, or a system call by its name. Raises its error as an `OSError`."""
    ctypes.set_errno(0)
    if name in SYSTEM_CALLS and not hasattr(libc, name):
        number = SYSTEM_CALLS[name][ARCHITECTURES.get(platform.machine(), (0,))[0]]
        result = libc.syscall(number, *args)
    else:
        result = getattr(libc, name)(*args)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def prctl(option, value, *more):
    call("prctl", option, ctypes.c_ulong(value), *more, *(ctypes.c_ulong(0),) * (3 - len(more)))


def enter_namespaces(network):
    """
    Creates namespaces for the children of this process. Raises `OSError`, and changes nothing, if they are refused.
    """
    call("unshare", CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWIPC | (0 if network else CLONE_NEWNET))


def map_user(user, group):
    """Maps the user and the group to the same ones within the namespaces."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def restrict_mounts(folder_bytes):
    """Makes all mounts read-only except the working folder, which may be in memory, and mounts its own `/proc`."""
    folder = os.fsencode(os.getcwd())
    call("unshare", CLONE_NEWNS)
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    if folder_bytes is None:
        call("mount", folder, folder, None, MS_BIND, None)
    else:
        options = f"size={folder_bytes},nr_inodes=4096,mode=700".encode()
        call("mount", b"tmpfs", folder, b"tmpfs", MS_NOSUID_NODEV, options)
    os.chdir(folder)  # into the new mount
    try:
        call("mount", b"proc", b"/proc", b"proc", MS_NOSUID_NODEV | MS_NOEXEC, None)
    except OSError:  # refused in containers that hide parts of `/proc`
        pass
    read_only, writable = (struct.pack("4Q", *pair, 0, 0) for pair in ((MOUNT_ATTR_RDONLY, 0), (0, MOUNT_ATTR_RDONLY)))
    for path, flags, attributes in ((b"/", AT_RECURSIVE, read_only), (folder, 0, writable)):
        try:
            call("mount_setattr", AT_FDCWD, path, flags, attributes, ctypes.c_size_t(len(attributes)))
        except OSError:  # before Linux 5.12
            break


def restrict_files(readable, network):
    """
    Applies Landlock: only the working folder can be written, and only the folder and `readable` can be read. Raises
    `OSError` if the kernel does not support it.
    """
    version = call("landlock_create_ruleset", None, ctypes.c_size_t(0), 1)
    all_rights = ALL_RIGHTS[max(known for known in ALL_RIGHTS if known <= version)]
    handled = [all_rights if readable is not None else all_rights & ~READ]
    handled += [0 if network else BIND_AND_CONNECT_TCP] if version >= 4 else []
    handled += [ABSTRACT_SOCKETS_AND_SIGNALS] if version >= 6 else []
    attributes = struct.pack(f"{len(handled)}Q", *handled)
    rules = call("landlock_create_ruleset", attributes, ctypes.c_size_t(len(attributes)), 0)
    device = READ_FILE | WRITE_FILE
    for path, rights in (
        *((path, READ) for path in readable or ()),
        *((f"/dev/{name}", device) for name in ("null", "zero", "full", "random", "urandom")),
        (".", all_rights),
    ):
        try:
            file = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # a missing file needs no rule
        if not stat.S_ISDIR(os.fstat(file).st_mode):
            rights &= FILE_RIGHTS
        call("landlock_add_rule", rules, 1, struct.pack("=Qi", rights & handled[0], file), 0)
        os.close(file)
    call("landlock_restrict_self", rules, 0)
    os.close(rules)


def filter_system_calls(single_process, network, isolated):
    """
    Makes refused system calls fail with EPERM. Raises `OSError` if the kernel or the architecture does not allow it.
    """
    if platform.machine() not in ARCHITECTURES:
        raise OSError(f"no filter of system calls for {platform.machine()}")
    column, architecture = ARCHITECTURES[platform.machine()]
    numbers = {name: both[column] for name, both in SYSTEM_CALLS.items() if both[column] is not None}
    # Instructions of linux/filter.h over the `seccomp_data` of linux/seccomp.h: number at 0, architecture at 4,
    # arguments from 16 on.
    LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, refuse_unknown = (RETURN, 0, 0, 0x7FFF0000), (RETURN, 0, 0, 0x50001), (RETURN, 0, 0, 0x50000 | 38)
    program: list[tuple] = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, architecture),
        refuse,
        (LOAD, 0, 0, 0),
        *([(AT_LEAST, 0, 1, 0x40000000), refuse] if column == 0 else []),  # x32 has other numbers for the same calls
    ]

    def add(name, *what):
        """Sets what to do at a call that is not refused. The last instruction decides."""
        if name in numbers:
            what = what or (refuse,)
            program.extend([(EQUAL, 0, len(what), numbers[name]), *what])

    argument = (LOAD, 0, 0, 16)
    for name in NEVER:
        add(name)
    if not network:
        add("socket")
    if single_process:
        add("fork")
        add("vfork")
        # Threads are not processes. A filter cannot see the flags of clone3. Without clone3, libc uses clone.
        add("clone3", refuse_unknown)
        add("clone", argument, (ANY_BIT, 0, 1, CLONE_THREAD), allow, refuse)
    if not isolated:  # the user's other processes are visible
        for name in ("tkill", "pidfd_send_signal", "rt_tgsigqueueinfo", "rt_sigqueueinfo"):
            add(name)
        for name in ("kill", "tgkill", "prlimit64"):
            own = [(EQUAL, 0, 1, pid) for pid in (os.getpid(), *([0] if name == "prlimit64" else []))]
            add(name, argument, *(step for test in own for step in (test, allow)), refuse)
    program.append(allow)
    filters = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(filters)
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, 2, header)


def drop_capabilities():
    """Drops all capabilities. The next exec gives none back, not even to root."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # past the last one, or there are none to drop
            break
    call("capset", struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24))


def set_limits(task, isolated):
    # Every core may work all the time. This limit only ends what nothing else has ended.
    cpu_seconds = (math.ceil(task["seconds"]) + 1) * (os.cpu_count() or 1)
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": cpu_seconds,
        "RLIMIT_FSIZE": task["file_bytes"],
        "RLIMIT_NOFILE": 256,
        "RLIMIT_AS": task["memory_bytes"],
    }
    # Without namespaces the user's other processes would count too. The filter of system calls handles a limit of one.
    if isolated and (task["max_processes"] or 1) > 1:
        limits["RLIMIT_NPROC"] = task["max_processes"] + 2  # includes the two processes that wait for it
    for name, value in limits.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (value, value))
        except (ValueError, OSError):  # macOS has RLIMIT_AS, but refuses it
            if LINUX:
                raise


def start(task, isolated, status):
    """Starts the process of the command, which sets its own limits."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        guards = ["namespaces"] if isolated else []
        set_limits(task, isolated)
        if LINUX:
            drop_capabilities()
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            for name, guard, args in (
                ("files", restrict_files, (task["readable"], task["network"])),
                ("system calls", filter_system_calls, (task["max_processes"] == 1, task["network"], isolated)),
            ):
                try:
                    guard(*args)
                    guards.append(name)
                except OSError:
                    pass
        if not task["network"] and not {"namespaces", "system calls"} & {*guards}:
            raise OSError("the network cannot be kept from it on this system; to let it, pass `network=True`")
        report(status, guards=guards)
        for name in ("SIGPIPE", "SIGXFSZ"):  # ignored by the interpreter
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.set_inheritable(status, False)
        os.execve(task["command"][0], task["command"], task["env"])
    except BaseException as error:
        report(status, error=str(error))
    os._exit(127)


def report(status, **fields):
    os.write(status, json.dumps(fields).encode() + b"\n")


def supervise(child, status):
    """Waits for the command, meanwhile reaps the processes it leaves behind, and reports how it ended."""
    while True:
        pid, code = os.wait()
        if pid == child:
            return report(status, returncode=os.waitstatus_to_exitcode(code))


def descendants():
    """Returns the processes below this one. It adopts those that have lost their parent."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found |= level
    return found


def end_descendants():
    """Ends and reaps all processes below this one."""
    while True:
        for pid in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def main(task):
    status = task["status"]
    isolated = LINUX
    if LINUX:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != task["parent"]:
            return  # the parent ended before this process could be notified
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        user, group = os.getuid(), os.getgid()
        try:
            enter_namespaces(task["network"])
        except OSError:
            isolated = False

    if isolated:
        map_user(user, group)
        child = os.fork()
        if not child:
            try:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                restrict_mounts(task["folder_bytes"])
                supervise(start(task, isolated, status), status)
            except BaseException as error:
                report(status, error=str(error))
            os._exit(0)  # the kernel then ends every process of the namespace
    else:
        child = start(task, isolated, status)

    def terminate(*_):
        if LINUX:
            end_descendants()
        os._exit(0)

    signal.signal(signal.SIGTERM, terminate)
    if isolated:
        os.waitpid(child, 0)
    else:
        supervise(child, status)
        terminate()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    try:
        main(given)
    except Exception as error:
        report(given["status"], error=str(error))
