"""System calls that Python lacks, and how it is told that one failed."""

from __future__ import annotations

import ctypes
import errno
import os


class EnterFailed(Exception):
    """The sandbox could not be entered; the text is for the user."""


def check(result: int, what: str) -> int:
    """Return the *result* of a system call; EnterFailed says *what* failed, and why."""
    if result < 0:
        code = ctypes.get_errno()
        hint = "; run berth as root or through sudo" if code == errno.EPERM else ""
        raise EnterFailed(f"{what}: {os.strerror(code)}{hint}")
    return result
