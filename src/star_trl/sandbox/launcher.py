# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Sets the limits of `run_limited` and starts the command. This script imports nothing from the package and runs as a
separate process, since setting limits between a fork and an exec may hang a process with threads (torch).

Every Unix has some limits. Linux has four further guards:

* Namespaces: the command and what it starts see no process and no network but their own; the kernel ends all of them
  together; what is mounted is read-only but for the working folder.
* Landlock restricts which files they may read and write.
* A filter of system calls: no sockets that lead outside, no processes beyond the first, no signals to others, and
  nothing that only administration needs.
* No capabilities, also for root.

The command is not started if the kernel or the container refuses one of the first three and `accept_missing_guards`
does not name it.

The script writes lines of JSON to the pipe `status`: each `step` as it begins; `guards` when the command starts, or
`missing` with the kernel's reasons if it does not; `returncode` or `error` at the end. `no_namespaces` asks for
another start without namespaces, since they were refused when half of them was there.
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
    "bind": (49, 200),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "fanotify_init": (300, 262),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "file_setattr": (469, 469),
    "fork": (57, None),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "futimesat": (261, None),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lchown": (94, None),
    "listmount": (458, 458),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "open": (2, None),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "openat": (257, 56),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "removexattr": (197, 14),
    "removexattrat": (466, 466),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "setrlimit": (160, 164),
    "setxattr": (188, 5),
    "setxattrat": (463, 463),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "statmount": (457, 457),
    "sync": (162, 81),
    "syncfs": (306, 267),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "vfork": (58, None),
}
NEWER_CALLS = 470  # the first number after those of Linux 6.17
# Calls for administration and debugging. Calls that reach other processes: their memory, files and pages. Memory that
# is not counted or outlives its process (System V, POSIX queues, nameless files). Notices of what others do with
# files. Calls that slow the whole machine down. `truncate`, which older versions of Landlock overlook.
NEVER = (
    "add_key bpf chroot fanotify_init fsconfig fsmount fsopen inotify_init inotify_init1 io_setup io_uring_setup kcmp "
    "keyctl listmount memfd_create memfd_secret migrate_pages mount mount_setattr move_mount move_pages mq_open "
    "mq_unlink msgctl msgget msgrcv msgsnd open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root "
    "process_madvise process_mrelease process_vm_readv process_vm_writev ptrace request_key semctl semget semop "
    "semtimedop setns shmat shmctl shmget statmount sync syncfs syslog truncate umount2 unshare userfaultfd"
).split()
# Calls that reach the user's other processes, or change files without opening them, where namespaces do not prevent it
OUTSIDE = (
    "chmod chown fchmod fchmodat fchmodat2 fchown fchownat file_setattr fremovexattr fsetxattr futimesat ioprio_set "
    "lchown lremovexattr lsetxattr pidfd_send_signal removexattr removexattrat rt_sigqueueinfo rt_tgsigqueueinfo "
    "sched_setattr sched_setparam sched_setscheduler setpriority setxattr setxattrat tkill utime utimensat utimes"
).split()
# Commands of fcntl and ioctl that send signals to other processes (F_SETOWN, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP), make
# others wait or tell what they do with a file (F_SETLEASE, F_NOTIFY), or write into a terminal (TIOCSTI, TIOCLINUX)
COMMANDS = {"fcntl": (8, 15, 1024, 1026), "ioctl": (0x8901, 0x8902, 0x5412, 0x541C)}
NEW_NAMESPACES = 0x7E020000  # flags of clone
RLIMIT_CORE = 4
AF_UNIX, AF_INET, AF_INET6, SOCK_STREAM, SOCK_TYPE_MASK = 1, 2, 10, 1, 0xF
O_ACCMODE, O_TRUNC = 3, 0o1000
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
    LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
    allow, refuse, refuse_unknown = (RETURN, 0, 0, 0x7FFF0000), (RETURN, 0, 0, 0x50001), (RETURN, 0, 0, 0x50000 | 38)
    program: list[tuple] = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, architecture),
        refuse,
        (LOAD, 0, 0, 0),
        # Nothing is known of newer calls. The x32 numbers of x86_64 are also above.
        (AT_LEAST, 0, 1, NEWER_CALLS),
        refuse_unknown,
    ]

    def add(name, *what):
        """Sets what to do at a call that is not refused. The last instruction decides."""
        if name in numbers:
            what = what or (refuse,)
            program.extend([(EQUAL, 0, len(what), numbers[name]), *what])

    def argument(index):
        return (LOAD, 0, 0, 16 + 8 * index)

    def among(values, then):
        return [step for value in values for step in ((EQUAL, 0, 1, value), then)]

    for name in NEVER:
        add(name)
    for name, commands in COMMANDS.items():
        add(name, argument(1), *among(commands, refuse), allow)
    # Only stream pairs, which asyncio needs, stay connected to each other. The others could be connected to a socket
    # of another process, or name it as the receiver of a single message.
    stream_pair = (argument(1), (AND, 0, 0, SOCK_TYPE_MASK), *among([SOCK_STREAM], allow), refuse)
    add("socketpair", argument(0), (EQUAL, 1, 0, AF_UNIX), refuse, *stream_pair)
    if network:
        add("socket", argument(0), *among([AF_INET, AF_INET6], allow), refuse)
    else:
        for name in ("socket", "connect", "bind"):
            add(name)
    # A filter cannot see the flags of clone3. Without clone3, libc uses clone.
    add("clone3", refuse_unknown)
    no_namespaces = (argument(0), (ANY_BIT, 0, 1, NEW_NAMESPACES), refuse)
    if single_process:
        add("fork")
        add("vfork")
        add("clone", *no_namespaces, (ANY_BIT, 0, 1, CLONE_THREAD), allow, refuse)  # threads are not processes
    else:
        add("clone", *no_namespaces, allow)
    add("setrlimit", argument(0), *among([RLIMIT_CORE], refuse), allow)
    own_pid = os.getpid()
    core_limit = (argument(1), *among([RLIMIT_CORE], refuse))
    if isolated:
        add("prlimit64", *core_limit, allow)
    else:
        for name in OUTSIDE:
            add(name)
        for name in ("kill", "tgkill"):
            add(name, argument(0), *among([own_pid], allow), refuse)
        add("sched_setaffinity", argument(0), *among([own_pid, 0], allow), refuse)
        add("prlimit64", *core_limit, argument(0), *among([own_pid, 0], allow), refuse)
        # Opening a file for reading only may empty it. Older versions of Landlock overlook that.
        emptied = among([O_TRUNC, O_TRUNC | O_ACCMODE], refuse)
        for name, index in (("open", 1), ("openat", 2)):
            add(name, argument(index), (AND, 0, 0, O_TRUNC | O_ACCMODE), *emptied, allow)
        add("openat2", refuse_unknown)  # a filter cannot see its flags
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
        # With 0, a kernel whose `core_pattern` is a program gives that program the memory of a crashed process all the
        # same. With 1 it does not, and it writes no file of one byte either.
        "RLIMIT_CORE": 1,
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


def start(task, missing, status):
    """
    Starts the process of the command, which sets its own limits.

    Args:
        task (`dict`):
            What `run_limited` asks for.
        missing (`dict`):
            The guards that this system has refused so far, and its reasons.
        status (`int`):
            The pipe to report to.
    """
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        isolated = "namespaces" not in missing
        set_limits(task, isolated)
        single_process, network = task["max_processes"] == 1, task["network"]
        guards = {
            "files": lambda: restrict_files(task["readable"], network),
            "system calls": lambda: filter_system_calls(single_process, network, isolated),
        }
        if LINUX:
            drop_capabilities()
            prctl(PR_SET_NO_NEW_PRIVS, 1)
        for name, guard in guards.items():
            report(status, step=name)
            try:
                if not LINUX:
                    raise OSError(f"{sys.platform} has none")
                guard()
            except OSError as error:
                missing[name] = str(error)
        if {*missing} - {*task["accept_missing_guards"]}:
            report(status, missing=missing)
            os._exit(127)
        if not network and {"namespaces", "system calls"} <= {*missing}:
            raise OSError("the network cannot be kept from it on this system; to let it, pass `network=True`")
        report(status, guards=[name for name in ("namespaces", *guards) if name not in missing])
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
    missing = {}
    if not LINUX:
        missing["namespaces"] = f"{sys.platform} has none"
    elif task["no_namespaces"] is not None:
        missing["namespaces"] = task["no_namespaces"]
    report(status, step="namespaces")
    if LINUX:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != task["parent"]:
            return  # the parent ended before this process could be notified
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        user, group = os.getuid(), os.getgid()
    if not missing:
        try:
            enter_namespaces(task["network"])
        except OSError as error:
            missing["namespaces"] = str(error)

    isolated = not missing
    if isolated:
        # From here on there is no way back into the old namespaces.
        try:
            map_user(user, group)
        except OSError as error:
            return report(status, no_namespaces=str(error))
        child = os.fork()
        if not child:
            try:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                try:
                    restrict_mounts(task["folder_bytes"])
                except OSError as error:
                    report(status, no_namespaces=str(error))
                else:
                    supervise(start(task, missing, status), status)
            except BaseException as error:
                report(status, error=str(error))
            os._exit(0)  # the kernel then ends every process of the namespace
    else:
        child = start(task, missing, status)

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
