"""System calls that Python lacks, and how it is told that one failed."""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from resolver.cli.entering import EnterFailed
from resolver.light import signal, suppress

_PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
"""The C library; what a call through it leaves in errno is `ctypes.get_errno()`."""


def check(result: int, what: str) -> int:
    """Return the *result* of a system call; EnterFailed says *what* failed, and why."""
    if result < 0:
        code = ctypes.get_errno()
        hint = "; run berth as root or through sudo" if code == errno.EPERM else ""
        raise EnterFailed(f"{what}: {os.strerror(code)}{hint}")
    return result


def end_with_parent() -> None:
    """Have this process killed when the thread that has started it ends (PR_SET_PDEATHSIG in prctl(2))."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def close_inherited() -> None:
    """Close the descriptors above 2 that who started this process has left open, such as a shell's lock. Python's own are not passed on."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with suppress(OSError):
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.close(descriptor)


def unread(pipe: int) -> int:
    """Return how many octets can be read from *pipe* now (FIONREAD in ioctl(2))."""
    import fcntl
    import termios

    counted = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(counted, sys.byteorder)
