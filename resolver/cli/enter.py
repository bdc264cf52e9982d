"""Entering a sandbox: namespaces, bind mounts, the process tree. Done by the client; the daemon is never the parent.

`start` makes: this process → an init, first in a new PID namespace, which prepares and reaps → the command. When the
command ends, init ends, and the kernel ends everything that is left in the namespace. When this process is killed, init
is killed with it (unless detached), and everything else too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWPID, _CLONE_NEWNET = 0x2_0000, 0x400_0000, 0x2000_0000, 0x4000_0000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 8, 0x1000, 0x4000, 0x8_0000
_CLONE3 = 435
_OPEN_TREE, _MOVE_MOUNT, _OPEN_TREE_CLONE, _FROM_EMPTY_PATH, _AT_FDCWD = 428, 429, 1, 4, -100
_PR_SET_PDEATHSIG = 1

NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 125

# Sockets through which the C library would have another program look up host names.
_RESOLVER_SOCKETS = (
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
)
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)

_libc = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock during the call, as a fork must.
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)


class EnterFailed(Exception):
    """The sandbox could not be entered; the text is for the user."""


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        hint = "; run berth as root or through sudo" if code == errno.EPERM else ""
        raise EnterFailed(f"{what}: {os.strerror(code)}{hint}")
    return result


def start(
    sandbox: dict[str, Any],
    command: Sequence[str],
    *,
    environment: dict[str, str],
    directory: str,
    detached: bool,
    prepare: Callable[[], None] = lambda: None,
    fall_back: bool = False,
) -> int:
    """Start *command* in *sandbox* and return the pid of its init; raises EnterFailed if it can't be executed.

    *prepare* runs in the command's process just before it is executed (standard streams). *fall_back*: run in / where the
    sandbox has no *directory*.
    """
    netns_fd = os.open(sandbox["netns"], os.O_RDONLY | os.O_CLOEXEC)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    pid = _fork_into_pid_namespace()
    if pid == 0:
        os.close(reading)
        _init(sandbox, command, netns_fd, writing, environment, directory, detached=detached, prepare=prepare, fall_back=fall_back)
    os.close(writing)
    os.close(netns_fd)
    _write_leader(sandbox, pid)
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
    return _check(pid, "making a PID namespace")


def _write_leader(sandbox: dict[str, Any], pid: int) -> None:
    """Write the init's pid to a file, for `berth exec`."""
    with open(f"{sandbox['directory']}/leader", "w") as file:
        file.write(f"{pid}\n")


def _init(
    sandbox: dict[str, Any],
    command: Sequence[str],
    netns_fd: int,
    report: int,
    environment: dict[str, str],
    directory: str,
    *,
    detached: bool,
    prepare: Callable[[], None],
    fall_back: bool,
) -> NoReturn:
    """Be the first process of the PID namespace: prepare, start the command, reap, end with its status."""
    try:
        if detached:
            os.setsid()
        else:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _check(_libc.setns(netns_fd, _CLONE_NEWNET), f"entering {sandbox['netns']}")
        _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS), "making a mount namespace")
        prepare_mounts(sandbox, own_proc=True)
        child = os.fork()
        if child == 0:
            prepare()
            execute(command, environment, directory, report, fall_back=fall_back)
    except BaseException as error:
        os.write(report, str(error).encode())
        os._exit(FAILED)
    os.close(report)
    _release_streams()
    os._exit(_reap(child))


def _release_streams() -> None:
    """Close the streams that the command has too: a reader of its output must see the end when the command ends."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _reap(child: int) -> int:
    for number in _FORWARDED:
        signal.signal(number, lambda received, _: os.kill(child, received))
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


def prepare_mounts(sandbox: dict[str, Any], *, own_proc: bool) -> None:
    """Cover resolv.conf, hosts, hostname and nsswitch.conf with the sandbox's, hide other resolvers, set the host name."""
    _check(_libc.mount(None, b"/", None, _MS_SLAVE | _MS_REC, None), "making mounts private")
    if own_proc:
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        # Refused in a container with a masked /proc; then the host's stays, which works but shows other processes.
        _libc.mount(b"proc", b"/proc", b"proc", flags, None)
    for name in ("resolv.conf", "hosts", "hostname", "nsswitch.conf"):
        source = f"{sandbox['files']}/{name}"
        if os.path.exists(source):
            cover(source, f"/etc/{name}", required=name in ("resolv.conf", "hosts"), scratch=sandbox["directory"])
    for path in _RESOLVER_SOCKETS if sandbox["stack"] != "host" else ():
        if os.path.exists(path):
            _libc.mount(b"/dev/null", path.encode(), None, _MS_BIND, None)
    hostname = sandbox["hostname"].encode()
    _check(_libc.sethostname(hostname, len(hostname)), "setting the host name")
    if sandbox.get("domainname"):
        domain = sandbox["domainname"].encode()
        _libc.setdomainname(domain, len(domain))


def cover(source: str, target: str, *, required: bool, scratch: str) -> None:
    """Bind the file *source* over *target*. A symbolic link is covered itself, so its target need not exist."""
    if os.path.islink(target):
        tree = _libc.syscall(_OPEN_TREE, _AT_FDCWD, source.encode(), _OPEN_TREE_CLONE | os.O_CLOEXEC)
        if tree >= 0:
            moved = _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _FROM_EMPTY_PATH)
            os.close(tree)
            if moved == 0:
                return
    if not os.path.exists(target):
        if not required:
            return
        _create_in_overlay(target, scratch)
    _check(_libc.mount(source.encode(), target.encode(), None, _MS_BIND, None), f"binding {target}")


def _create_in_overlay(target: str, scratch: str) -> None:
    """Create an absent *target* in an overlay over its directory, which only this mount namespace sees."""
    directory, name = os.path.split(target)
    # The layers are in memory and vanish with the mount namespace.
    layers = f"{scratch}/layers"
    os.makedirs(layers, exist_ok=True)
    _check(_libc.mount(b"tmpfs", layers.encode(), b"tmpfs", 0, b"size=1m,mode=0755"), f"making a place for {target}")
    os.mkdir(f"{layers}/upper")
    os.mkdir(f"{layers}/work")
    with open(f"{layers}/upper/{name}", "w"):
        pass
    options = f"lowerdir={directory},upperdir={layers}/upper,workdir={layers}/work".encode()
    _check(_libc.mount(b"overlay", directory.encode(), b"overlay", 0, options), f"making a place for {target}")


def execute(command: Sequence[str], environment: dict[str, str], directory: str, report: int, *, fall_back: bool) -> NoReturn:
    """Become *command* in *directory*; with *fall_back* in / where the sandbox has no such directory.

    A failure is written to *report*, which closes by itself when the command starts.
    """
    for number in (*_FORWARDED, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(directory)
    except OSError as error:
        if not fall_back:
            os.write(report, f"{NOT_FOUND}:directory {directory}: {error.strerror}".encode())
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


def join(sandbox: dict[str, Any], command: Sequence[str], *, environment: dict[str, str], directory: str, fall_back: bool = False) -> int:
    """Run *command* in *sandbox*, in the namespaces of its init if it has one, and return the exit code."""
    process = leader(sandbox)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    if process is not None:
        # The descriptor stands for this very process, even if its pid is reused meanwhile.
        kinds = _CLONE_NEWNET | _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWPID
        _check(_libc.setns(process, kinds), f"entering sandbox {sandbox['name']}")
    else:
        netns_fd = os.open(sandbox["netns"], os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.setns(netns_fd, _CLONE_NEWNET), f"entering {sandbox['netns']}")
        _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS), "making a mount namespace")
        prepare_mounts(sandbox, own_proc=False)
    pid = os.fork()
    if pid == 0:
        execute(command, environment, directory, writing, fall_back=fall_back)
    os.close(writing)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    for number in _FORWARDED:
        signal.signal(number, lambda received, _: os.kill(pid, received))
    failure_text = _read_all(reading)
    status = wait(pid)
    if failure_text:
        raise EnterFailed(failure_text)
    return status


def leader(sandbox: dict[str, Any]) -> int | None:
    """Return a descriptor of the init that berth started in *sandbox*, None if there is none."""
    try:
        with open(f"{sandbox['directory']}/leader") as file:
            return os.pidfd_open(int(file.read()))
    except (OSError, ValueError):
        return None


def wait(pid: int) -> int:
    """Return the exit code of the child *pid*, whatever signals come meanwhile."""
    while True:
        try:
            return exit_code(os.waitpid(pid, 0)[1])
        except InterruptedError:
            continue
