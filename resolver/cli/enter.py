"""Entering a sandbox: namespaces and the process tree. Done by the client; the daemon is never the parent.

`start` makes: this process → an init, first in a new PID namespace, which prepares and reaps → the command. When the
command ends, init ends, and the kernel ends everything that is left in the namespace. When this process is killed, init
is killed with it, and everything else too. What stays in the background has `resolver.cli.monitor` as this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from resolver.cli import confine, keep_covered, mounts
from resolver.cli.system_calls import EnterFailed, check, end_with_parent
from resolver.rootless import places
from resolver.signal_names import START_NO_MORE

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWPID, _CLONE_NEWNET = 0x2_0000, 0x400_0000, 0x2000_0000, 0x4000_0000
_CLONE3 = 435
_CAP_SYS_ADMIN = 21

NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 125

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)

_libc = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock during the call, as a fork must.
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)


class WorkingDirectory(NamedTuple):
    """Where a command runs. *required*: it is an error if *path* can't be entered; otherwise the command runs in `/` then."""

    path: str
    required: bool


def working_directory(asked: str | None) -> WorkingDirectory:
    """Return the directory that the user *asked* for, relative to the caller's; None: the caller's own, if the sandbox has it."""
    try:
        current = os.getcwd()
    except FileNotFoundError:
        current = "/"
    return WorkingDirectory(current, False) if asked is None else WorkingDirectory(os.path.join(current, asked), True)


def inherited() -> dict[str, str]:
    """Return the caller's variables that can be kept in a record: those whose octets are no UTF-8 can't."""
    return {name: value for name, value in os.environ.items() if (name + value).isascii() or _is_text(name + value)}


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_privilege() -> None:
    """Raise EnterFailed unless this process may enter namespaces: a member of the socket's group may not."""
    with open("/proc/self/status") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    if not effective >> _CAP_SYS_ADMIN & 1:
        raise EnterFailed(
            "running a command in a sandbox needs root: use sudo; the socket's group may do everything else, such as create, connect, "
            "inspect, rename and remove networks and sandboxes; with BERTH_RUN_DIR set to a directory of yours you have your own daemon"
        )


def start(
    sandbox: dict[str, Any],
    command: Sequence[str],
    *,
    environment: dict[str, str],
    directory: WorkingDirectory,
    register: Callable[[int], None],
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Start *command* in *sandbox* and return the pid of its init; raises EnterFailed if it can't be executed.

    *register* is called with the pid of the init before the command starts: what it raises, or the end of this process before
    it returns, ends the init. *prepare* runs in the command's process just before it is executed (standard streams).
    """
    netns_fd = os.open(sandbox["netns"], os.O_RDONLY | os.O_CLOEXEC)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    waiting, releasing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    pid = _fork_into_pid_namespace()
    if pid == 0:
        os.close(reading)
        os.close(releasing)
        _init(sandbox, command, _Descriptors(netns_fd, writing, waiting), environment, directory, prepare)
    for descriptor in (writing, netns_fd, waiting):
        os.close(descriptor)
    try:
        register(pid)
        # Broken if the init failed already; it has reported why.
        with contextlib.suppress(BrokenPipeError):
            os.write(releasing, b"1")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        raise
    finally:
        os.close(releasing)
    failure_text = _read_all(reading)
    if failure_text:
        os.waitpid(pid, 0)
        raise EnterFailed(failure_text)
    return pid


def _read_all(descriptor: int) -> str:
    """Return what a child writes until it closes its end of the pipe."""
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read().decode(errors="replace")


def _fork_into_pid_namespace() -> int:
    """Fork a child that is the first process of a new PID namespace; return as `os.fork` does.

    One call, because after `unshare` a process can't start threads, and in a user namespace there is no way back.
    Spec: clone3(2); a stack of 0 makes it a fork.
    """
    arguments = ctypes.create_string_buffer(struct.pack("=8Q", _CLONE_NEWPID, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc_with_lock.syscall(_CLONE3, arguments, 64)
    code = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    ctypes.set_errno(code)
    return check(pid, "making a PID namespace")


def check_namespaces() -> None:
    """Raise EnterFailed unless this process may make a PID namespace: a service of systemd may have given that right up."""
    pid = _fork_into_pid_namespace()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


class _Descriptors(NamedTuple):
    """What the init inherits. *report*: where it says why it failed. *release*: it starts the command when it can read there."""

    netns: int
    report: int
    release: int


def _init(
    sandbox: dict[str, Any],
    command: Sequence[str],
    descriptors: _Descriptors,
    environment: dict[str, str],
    directory: WorkingDirectory,
    prepare: Callable[[], None],
) -> NoReturn:
    """Be the first process of the PID namespace: prepare, start the command, reap, end with its status."""
    try:
        end_with_parent()
        check(_libc.setns(descriptors.netns, _CLONE_NEWNET), f"entering {sandbox['netns']}")
        check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS), "making a mount namespace")
        mounts.prepare(sandbox, own_proc=True)
        confine.hide(sandbox)
        keep_covered.begin(sandbox)
        if not os.read(descriptors.release, 1):
            os._exit(FAILED)
        child = os.fork()
        if child == 0:
            prepare()
            confine.give_up_rights(sandbox)
            execute(command, environment, directory, descriptors.report)
    except BaseException as error:
        os.write(descriptors.report, str(error).encode())
        os._exit(FAILED)
    os.close(descriptors.report)
    # The command has them too: a reader of its output must see the end when the command ends.
    release_streams()
    os._exit(_reap(child))


def release_streams() -> None:
    """Have nothing as standard streams, so that their readers see the end of what others have written."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _reap(child: int) -> int:
    for number in _FORWARDED:
        signal.signal(number, lambda received, _: os.kill(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    # From a terminal these come to the command directly.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        except ChildProcessError:
            return 0
        if pid == child:
            return exit_code(status)


def exit_code(status: int) -> int:
    """Return the exit code of a wait status, 128 + n for signal n, as a shell does."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def execute(command: Sequence[str], environment: dict[str, str], directory: WorkingDirectory, report: int) -> NoReturn:
    """Become *command*. A failure is written to *report*, which closes by itself when the command starts."""
    for number in (*_FORWARDED, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, START_NO_MORE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    try:
        os.chdir(directory.path)
    except OSError as error:
        if directory.required:
            os.write(report, f"{NOT_EXECUTABLE}:working directory {directory.path}: {error.strerror}".encode())
            os._exit(FAILED)
        os.chdir("/")
    try:
        os.execvpe(command[0], list(command), environment)
    except FileNotFoundError:
        os.write(report, f"{NOT_FOUND}:{command[0]}: command not found".encode())
    except OSError as error:
        os.write(report, f"{NOT_EXECUTABLE}:{command[0]}: {error.strerror}".encode())
    os._exit(FAILED)


def failure(text: str) -> tuple[int, str]:
    """Return (exit code, message) of the *text* of an EnterFailed."""
    code, colon, message = text.partition(":")
    return (int(code), message) if colon and code.isdigit() else (FAILED, text)


class Identity(NamedTuple):
    """As whom a command runs. *groups*: the additional ones. *home*: the user's directory, None if the host does not know him."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str | None


def join(
    sandbox: dict[str, Any],
    command: Sequence[str],
    *,
    environment: dict[str, str],
    directory: WorkingDirectory,
    identity: Identity | None = None,
    detached: bool = False,
) -> int:
    """Run *command* in *sandbox*, in the namespaces of its leader if it has one, and return the exit code.

    *identity*: as somebody else. *detached*: return 0 as soon as it runs; it reads and writes nothing.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    enter_sandbox(sandbox)
    pid = os.fork()
    if pid == 0:
        if detached:
            os.setsid()
            release_streams()
        confine.give_up_rights_or_report(sandbox, writing, FAILED)
        if identity is not None:
            _become(identity, writing)
        execute(command, environment, directory, writing)
    os.close(writing)
    if not detached:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        for number in _FORWARDED:
            signal.signal(number, lambda received, _: os.kill(pid, received))
    failure_text = _read_all(reading)
    if detached and not failure_text:
        return 0
    status = wait(pid)
    if failure_text:
        raise EnterFailed(failure_text)
    return status


def enter_sandbox(sandbox: dict[str, Any]) -> None:
    """Enter the namespaces of *sandbox*, of its leader if it has one: the children of this process are in them from now on."""
    check_runs(sandbox)
    netns_fd = os.open(sandbox["netns"], os.O_RDONLY | os.O_CLOEXEC)
    has_files = _enter_leader(sandbox)
    check(_libc.setns(netns_fd, _CLONE_NEWNET), f"entering {sandbox['netns']}")
    os.close(netns_fd)
    if not has_files:
        check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS), "making a mount namespace")
        mounts.prepare(sandbox, own_proc=False)
        confine.hide(sandbox)


def _become(identity: Identity, report: int) -> None:
    """Give up the rights of the caller for those of *identity*; a failure is written to *report*."""
    try:
        os.setgroups(identity.groups)
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    except OSError as error:
        hint = "; without root only ids that are mapped are there, see `berth doctor`" if places.is_nest() else ""
        os.write(report, f"becoming user {identity.uid}: {error.strerror}{hint}".encode())
        os._exit(FAILED)


def _enter_leader(sandbox: dict[str, Any]) -> bool:
    """Enter the PID, mount and UTS namespaces of the leader of *sandbox*; return whether its mount namespace is not the caller's.

    A process of somebody else has the files that he gave it.
    """
    process = open_leader(sandbox)
    if process is None:
        return False
    pid = sandbox["leader"]["pid"]
    shares_mounts = os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    kinds = _CLONE_NEWPID if shares_mounts else _CLONE_NEWPID | _CLONE_NEWNS | _CLONE_NEWUTS
    check(_libc.setns(process, kinds), f"entering sandbox {sandbox['name']}")
    return not shares_mounts


def check_runs(sandbox: dict[str, Any]) -> None:
    """Raise EnterFailed if *sandbox* is stopped, or waits to be started again."""
    run = sandbox.get("run")
    if run is not None and run["state"] != "running":
        what = "is stopped; start it with `berth start`" if run["state"] == "exited" else "waits to be started again by its restart policy"
        raise EnterFailed(f"sandbox {sandbox['name']} {what}")


def open_leader(sandbox: dict[str, Any]) -> int | None:
    """Return a descriptor of the leader of *sandbox*, None if it has none; EnterFailed if that process has ended.

    The descriptor stands for this very process, and the start time tells whether the pid was another's by then already.
    """
    check_runs(sandbox)
    if sandbox["leader"] is None:
        return None
    pid, started = sandbox["leader"]["pid"], sandbox["leader"]["start_time"]
    try:
        descriptor = os.pidfd_open(pid)
        if start_time(pid) == started:
            return descriptor
        os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        pass
    raise EnterFailed(f"sandbox {sandbox['name']}: its process {pid} has ended")


def start_time(pid: int) -> int:
    """Return when *pid* started, in clock ticks since boot (proc(5), /proc/PID/stat field 22)."""
    with open(f"/proc/{pid}/stat") as file:
        # The second field is the program's name in parentheses and may hold anything.
        return int(file.read().rpartition(")")[2].split()[19])


def wait(pid: int) -> int:
    """Return the exit code of the child *pid*, whatever signals come meanwhile."""
    while True:
        try:
            return exit_code(os.waitpid(pid, 0)[1])
        except InterruptedError:
            continue
