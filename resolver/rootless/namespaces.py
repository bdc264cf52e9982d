"""The system calls behind a nest: making its namespaces, and entering them. The client's door to both, beside `resolver.cli.enter`.

Spec: clone3(2), setns(2), unshare(2), user_namespaces(7), pid_namespaces(7), mount(2).
"""

from __future__ import annotations

import ctypes
import os
import struct

from resolver.light import signal

NEW_MOUNT, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x2_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000
ALL = NEW_MOUNT | NEW_UTS | NEW_IPC | NEW_USER | NEW_PID | NEW_NET
NOSUID, NODEV, NOEXEC, RECURSIVE, SLAVE = 2, 4, 8, 0x4000, 0x8_0000
_CLONE3 = 435
_OPEN_TREE, _MOVE_MOUNT, _OPEN_TREE_CLONE, _FROM_EMPTY_PATH, _AT_FDCWD = 428, 429, 1, 4, -100
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
# Keeps the interpreter's lock during the call, as a fork must.
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)


class StepFailed(Exception):
    """A *step* was refused with the errno *code*."""

    def __init__(self, step: str, code: int) -> None:
        super().__init__(f"{step}: {os.strerror(code)}")
        self.step = step
        self.code = code


def _check(result: int, step: str) -> int:
    if result < 0:
        raise StepFailed(step, ctypes.get_errno())
    return result


def fork_into_new(flags: int) -> int:
    """Fork a child that is the first in new namespaces; return as `os.fork` does. The caller has one thread."""
    arguments = ctypes.create_string_buffer(struct.pack("=8Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc_with_lock.syscall(_CLONE3, arguments, 64))
    code = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    ctypes.set_errno(code)
    return _check(pid, "making a user namespace")


def enter_all(process: int) -> None:
    """Enter all namespaces of a process, by its descriptor; of the PID namespace are this one's children. The caller has one thread."""
    _check(_libc.setns(process, ALL), "entering the namespaces")


def leave_for_new(flags: int, step: str) -> None:
    """Have this process in new namespaces; it has one thread."""
    _check(_libc.unshare(flags), step)


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None, step: str) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]), step)


def copy_of_tree(path: str) -> int:
    """Return a descriptor of a copy of what is mounted at *path*, to be put elsewhere with `put_tree`."""
    return _check(_libc.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | os.O_CLOEXEC), f"copying the mount at {path}")


def put_tree(tree: int, path: str) -> None:
    _check(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path.encode(), _FROM_EMPTY_PATH), f"mounting {path}")


def end_with_parent() -> None:
    """Have this process killed when its parent ends, also one in another PID namespace (PR_SET_PDEATHSIG in prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
