"""Files under /proc/sys: read, compare, write only what differs. In the namespace of the calling thread."""

from __future__ import annotations

import errno

from netcore import limits
from netcore.errors import KernelError, Unavailable


def write(path: str, value: str, *, optional: bool = False) -> None:
    """Give the sysctl *path* (with slashes, below /proc/sys) *value*. *optional*: an absent file is no error."""
    name = f"/proc/sys/{path}"
    try:
        with open(name, "r+b", buffering=0) as file:
            if file.read(limits.SYSCTL_VALUE_LENGTH).strip() == value.encode():
                return
            file.seek(0)
            file.write(value.encode())
    except FileNotFoundError as error:
        if not optional:
            raise KernelError("write", name, errno.ENOENT, "the kernel has no such sysctl") from error
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            if optional and read(path) == value:
                return
            raise Unavailable(f"writing {name}", f"/proc/sys is read-only here; set {path}={value} yourself") from error
        raise KernelError("write", name, error.errno or 0) from error


def read(path: str) -> str | None:
    """Return the value of the sysctl *path*, None if the kernel has none."""
    try:
        with open(f"/proc/sys/{path}", "rb", buffering=0) as file:
            return file.read(limits.SYSCTL_VALUE_LENGTH).strip().decode()
    except OSError:
        return None
