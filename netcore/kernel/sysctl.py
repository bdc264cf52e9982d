"""Files under /proc/sys: read, compare, write only what differs. In the namespace of the calling thread."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from netcore import limits
from netcore.errors import KernelError, Unavailable

_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


def write(path: str, value: str, *, optional: bool = False) -> None:
    """Give the sysctl *path* (with slashes, below /proc/sys) *value*. *optional*: an absent file is no error.

    The file is opened for writing only if it holds another value: /proc/sys may be read-only. Raises Unavailable then.
    """
    name = f"/proc/sys/{path}"
    if read(path) == value:
        return
    try:
        with open(name, "r+b", buffering=0) as file:
            file.write(value.encode())
    except FileNotFoundError as error:
        if not optional:
            raise KernelError("write", name, errno.ENOENT, "the kernel has no such sysctl") from error
    except OSError as error:
        if error.errno in _DENIED:
            raise Unavailable(f"writing {name}", _remedy(path, value)) from error
        raise KernelError("write", name, error.errno or 0) from error


def _remedy(path: str, value: str) -> str:
    """Return what a user can do where /proc/sys is read-only (a container has it so, for instance)."""
    parts = path.split("/")
    hint = ""
    if len(parts) > 4 and parts[2] == "conf":
        hint = f" (for links that berth makes: {'/'.join([*parts[:3], 'default', parts[-1]])})"
    return (
        f"/proc/sys is read-only here, and {path} is {read(path)}, not {value}; make it writable with `mount -o remount,rw /proc/sys`, "
        f"in a container by --privileged, or set {path}={value} yourself{hint}"
    )


def restore(path: str, ours: str, original: str) -> None:
    """Put *original* back, unless the sysctl is gone or somebody has given it another value than *ours* meanwhile."""
    if read(path) == ours:
        write(path, original, optional=True)


def read(path: str) -> str | None:
    """Return the value of the sysctl *path*, None if the kernel has none."""
    try:
        with open(f"/proc/sys/{path}", "rb", buffering=0) as file:
            return file.read(limits.SYSCTL_VALUE_LENGTH).strip().decode()
    except OSError:
        return None


def read_all(paths: Iterable[str]) -> dict[str, str]:
    """Return path → value of those of *paths* that the kernel has."""
    return {path: value for path in paths if (value := read(path)) is not None}
