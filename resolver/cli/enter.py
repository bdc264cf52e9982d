"""Entering a sandbox: namespaces and the process tree. Done by the client; the daemon is never the parent.

`start` makes: this process → an init, first in a new PID namespace, which prepares and reaps → the command. When the
command ends, init ends, and the kernel ends everything that is left in the namespace. So the command is not the first process: signals
have their usual effect on it, as with `docker run --init`. When this process is killed, init
is killed with it, and everything else too. What stays in the background has `resolver.cli.monitor` as this process.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

# For the search of the PATH: what is loaded in a sandbox would be what that has at its place.
import warnings  # noqa: F401

from resolver.cli import mounts, rights
from resolver.cli.entering import FAILED, NOT_EXECUTABLE, NOT_FOUND, EnterFailed, WorkingDirectory
from resolver.cli.reaping import FORWARDED, command_of, exit_code, first_child, reap
from resolver.cli.rights import Rights, rights_of
from resolver.cli.system_calls import check, end_with_parent, libc
from resolver.isolation.told import isolation_of
from resolver.light import TYPE_CHECKING, NamedTuple, signal, suppress
from resolver.signal_names import START_NO_MORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

_CLONE_NEWNS, _CLONE_NEWCGROUP, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
_NAMESPACES = {"mnt": _CLONE_NEWNS, "uts": _CLONE_NEWUTS, "ipc": _CLONE_NEWIPC, "cgroup": _CLONE_NEWCGROUP}
"""What a further command enters beside the network and the processes."""
_CLONE3 = 435
_LOOK, _LOOKS = 0.01, 500
"""Seconds between looks whether what is confined has begun, and how many there are."""

# Keeps the interpreter's lock during the call, as a fork must.
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)


def start(
    sandbox: dict[str, Any],
    command: Sequence[str],
    *,
    environment: dict[str, str],
    directory: WorkingDirectory,
    register: Callable[[int], None],
    prepare: Callable[[], None] = lambda: None,
    descriptors: Sequence[int] = (),
) -> int:
    """Start *command* in *sandbox* and return the pid of its init; raises EnterFailed if it can't be executed, Refused without its user.

    *register* is called with the pid of the init before the command starts: what it raises, or the end of this process before
    it returns, ends the init. *prepare* runs in the command's process just before it is executed (standard streams). *descriptors*: those
    above 2 that the command has too.
    """
    start = _Start(sandbox, command, environment, directory, prepare, rights_of(sandbox, descriptors=descriptors), _confining(sandbox))
    groups = _groups(sandbox)
    netns_fd = open_netns(sandbox)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    waiting, releasing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    pid = _fork_into_pid_namespace()
    if pid == 0:
        os.close(reading)
        os.close(releasing)
        _init(start, _Descriptors(netns_fd, writing, waiting), groups)
    _made_groups[pid] = groups
    for descriptor in (writing, netns_fd, waiting):
        os.close(descriptor)
    try:
        register(pid)
        # Broken if the init failed already; it has reported why.
        with suppress(BrokenPipeError):
            os.write(releasing, b"1")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        wait(pid)
        os.close(reading)
        raise
    finally:
        os.close(releasing)
    failure_text = _read_all(reading)
    if failure_text:
        wait(pid)
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


class _Start(NamedTuple):
    """A command that is to be started. *confining*: path of bubblewrap, None if it is not confined."""

    sandbox: dict[str, Any]
    command: Sequence[str]
    environment: dict[str, str]
    directory: WorkingDirectory
    prepare: Callable[[], None]
    given: Rights
    confining: str | None


class _Descriptors(NamedTuple):
    """What the init inherits. *report*: where it says why it failed. *release*: it starts the command when it can read there."""

    netns: int
    report: int
    release: int


def _init(start: _Start, descriptors: _Descriptors, groups: tuple[str, ...]) -> NoReturn:
    """Be the first process of the PID namespace: prepare, start the command, reap, end with its status."""
    sandbox = start.sandbox
    try:
        end_with_parent()
        if groups:
            from resolver.cli import cgroups

            cgroups.join(groups)
        check(libc.setns(descriptors.netns, _CLONE_NEWNET), f"entering {sandbox['netns']}")
        check(libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWCGROUP), "making namespaces")
        mounts.prepare(sandbox, own_processes=True)
        if not os.read(descriptors.release, 1):
            os._exit(FAILED)
        given = start.given
        if not given.may_type:
            # This process first, for the command may have the right to trace it. The command inherits the filter.
            rights.filter_terminal()
            given = given._replace(may_type=True)
        child = os.fork()
        if child == 0:
            start.prepare()
            rights.take(given if start.confining is None else rights.of_bubblewrap(given))
            execute(start.command, start.environment, start.directory, descriptors.report, _confinement(start))
    except BaseException as error:
        os.write(descriptors.report, str(error).encode())
        os._exit(FAILED)
    os.close(descriptors.report)
    # The command has them too: a reader of its output must see the end when the command ends.
    release_streams()
    os._exit(reap(child, sandbox))


def _confining(sandbox: dict[str, Any]) -> str | None:
    """Return the path of bubblewrap if commands in *sandbox* are confined by it; EnterFailed if it is not there."""
    if not isolation_of(sandbox)["confine"]:
        return None
    from resolver.cli import bubblewrap

    return bubblewrap.program()


def _confinement(start: _Start) -> Callable[[str], list[str]] | None:
    """Return what makes the words that run the command confined, in a directory; None if it is not."""
    if start.confining is None:
        return None
    from resolver.cli import bubblewrap

    path = start.confining
    return lambda directory: bubblewrap.confined(
        start.sandbox, path, start.command, environment=start.environment, directory=directory, kept=start.given.capabilities,
        identity=start.given.identity,
    )  # fmt: skip


def _groups(sandbox: dict[str, Any]) -> tuple[str, ...]:
    """Make the control groups that bound *sandbox*, none if nothing is bounded; EnterFailed if they can't be had."""
    isolation = isolation_of(sandbox)
    if not (isolation["memory"] or isolation["cpus"] or isolation["pids"]):
        return ()
    from resolver.cli import cgroups

    return cgroups.make(sandbox)


_made_groups: dict[int, tuple[str, ...]] = {}
"""The first process of a sandbox → the control groups that were made for it."""


def _remove_groups(pid: int) -> None:
    groups = _made_groups.pop(pid, ())
    if groups:
        from resolver.cli import cgroups

        cgroups.remove(groups)


def release_streams() -> None:
    """Have nothing as standard streams, so that their readers see the end of what others have written."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def execute(
    command: Sequence[str],
    environment: dict[str, str],
    directory: WorkingDirectory,
    report: int,
    confinement: Callable[[str], list[str]] | None = None,
) -> NoReturn:
    """Become *command*. A failure is written to *report*, which closes by itself when the command starts.

    *confinement*: makes the words that are executed in its place, of the directory where it runs.
    """
    for number in (*FORWARDED, signal.SIGINT, signal.SIGQUIT, signal.SIGALRM, signal.SIGPIPE, START_NO_MORE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    path = directory.path
    try:
        os.chdir(path)
    except OSError as error:
        if directory.required:
            os.write(report, f"{NOT_EXECUTABLE}:working directory {path}: {error.strerror}".encode())
            os._exit(FAILED)
        os.chdir(path := "/")
    try:
        if confinement is not None:
            _check_executable(command[0], environment)
            words = confinement(path)
            os.execve(words[0], words, environment)
        os.execvpe(command[0], list(command), environment)
    except FileNotFoundError:
        os.write(report, f"{NOT_FOUND}:{command[0]}: command not found".encode())
    except OSError as error:
        os.write(report, f"{NOT_EXECUTABLE}:{command[0]}: {error.strerror}".encode())
    os._exit(FAILED)


def _check_executable(program: str, environment: dict[str, str]) -> None:
    """FileNotFoundError unless there is such a program; who confines it would only say so in its own words."""
    import shutil

    if shutil.which(program, path=environment.get("PATH", os.defpath)) is None:
        raise FileNotFoundError(program)


def join(
    sandbox: dict[str, Any],
    command: Sequence[str],
    *,
    environment: dict[str, str],
    directory: WorkingDirectory,
    given: Rights,
    detached: bool = False,
) -> int:
    """Run *command* in *sandbox* with the rights *given*, in the namespaces of its leader if it has one, and return the exit code.

    *detached*: return 0 as soon as it runs; it reads and writes nothing.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    enter_sandbox(sandbox)
    if not detached:
        # Until they are handed on they wait: one that ended this process alone would leave the command behind.
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    pid = os.fork()
    if pid == 0:
        if detached:
            os.setsid()
            release_streams()
        rights.take_or_report(given, writing, FAILED)
        execute(command, environment, directory, writing)
    os.close(writing)
    if not detached:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        for number in FORWARDED:
            signal.signal(number, lambda received, _: os.kill(pid, received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
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
    netns_fd = open_netns(sandbox)
    has_files = _enter_leader(sandbox, netns_fd)
    os.close(netns_fd)
    if not has_files:
        check(libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS), "making a mount namespace")
        mounts.prepare(sandbox, own_processes=False)


def open_netns(sandbox: dict[str, Any]) -> int:
    """Return a descriptor of the namespace of *sandbox*, which may have been renamed since it was asked for."""
    try:
        return os.open(f"{sandbox['files']}/netns", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # Its files may be damaged, and a daemon of version 0.3 makes no such link.
        return os.open(sandbox["netns"], os.O_RDONLY | os.O_CLOEXEC)


def _enter_leader(sandbox: dict[str, Any], netns: int) -> bool:
    """Enter the network namespace *netns*, and the others and the control groups of the leader of *sandbox*, if it has one.

    Return whether its mount namespace is not the caller's: a process of somebody else has the files that he gave it.
    """
    process = open_leader(sandbox)
    if process is None:
        check(libc.setns(netns, _CLONE_NEWNET), f"entering {sandbox['netns']}")
        return False
    pid, isolation = sandbox["leader"]["pid"], isolation_of(sandbox)
    if isolation["memory"] or isolation["cpus"] or isolation["pids"]:
        from resolver.cli import cgroups

        cgroups.join(cgroups.groups_of(sandbox, pid))
    # One that is the caller's too is not entered: the host's may be closed to who comes from a nest.
    others = [
        flag for name, flag in _NAMESPACES.items() if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino
    ]
    shares_mounts = _CLONE_NEWNS not in others
    confined = _open_confined(pid) if isolation["confine"] else None
    kinds = _CLONE_NEWPID if shares_mounts else _CLONE_NEWPID | sum(others)
    check(libc.setns(netns, _CLONE_NEWNET), f"entering {sandbox['netns']}")
    check(libc.setns(process, kinds), f"entering sandbox {sandbox['name']}")
    if confined is not None:
        # It has no right over the others, so it comes last.
        check(libc.setns(confined, _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID), f"entering sandbox {sandbox['name']}")
    return not shares_mounts


def _open_confined(init: int) -> int:
    """Return a descriptor of the command that runs under bubblewrap below *init*, as soon as it is there; EnterFailed if it is not."""
    for _ in range(_LOOKS):
        bubblewrap = first_child(init)
        command = None if bubblewrap is None else command_of(bubblewrap)
        if bubblewrap is not None and command is not None:
            with suppress(ProcessLookupError):
                process = os.pidfd_open(command)
                # Otherwise it has ended, and the pid may be another's.
                if command_of(bubblewrap) == command:
                    return process
                os.close(process)
        time.sleep(_LOOK)
    raise EnterFailed("its command does not run under bubblewrap, or has ended")


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
            code = exit_code(os.waitpid(pid, 0)[1])
        except InterruptedError:
            continue
        _remove_groups(pid)
        return code
