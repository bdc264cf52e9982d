"""Files under /proc/sys: read, compare, write only what differs. In the namespace of the calling thread."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterable

from netcore import limits
from netcore.errors import KernelError, Unavailable
from netcore.kernel import rtnl
from netcore.kernel.netlink import ROUTE, NetlinkSocket

log = logging.getLogger(__name__)

_PARTS = 5
_BY_NETLINK = {"forwarding": 1, "rp_filter": 8, "route_localnet": 26}
"""Setting of an IPv4 link → its number (IPV4_DEVCONF_ in include/uapi/linux/ip.h)."""

_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


def write(path: str, value: str, *, optional: bool = False, dispensable: bool = False) -> None:
    """Give the sysctl *path* (with slashes, below /proc/sys) *value*. *optional*: an absent file is no error.

    The file is opened for writing only if it holds another value: /proc/sys may be read-only. Netlink sets some of them
    then as well. Otherwise raises Unavailable, or if it is *dispensable* leaves it as it is.
    """
    name = f"/proc/sys/{path}"
    if _equal(read(path), value):
        return
    try:
        with open(name, "r+b", buffering=0) as file:
            file.write(value.encode())
    except FileNotFoundError as error:
        if not optional:
            raise KernelError("write", name, errno.ENOENT, "the kernel has no such sysctl") from error
    except OSError as error:
        if error.errno in _DENIED:
            if _set_by_netlink(path, value):
                return
            if dispensable:
                log.warning("/proc/sys is read-only, so a sysctl stays as it is sysctl=%s value=%s wanted=%s", path, read(path), value)
                return
            raise Unavailable(f"writing {name}", _remedy(path, value)) from error
        raise KernelError("write", name, error.errno or 0) from error


def try_to_write(path: str, value: str) -> None:
    """Give the sysctl *path* *value* if that can be: it is of use, but nothing depends on it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/proc/sys/{path}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)


def _set_by_netlink(path: str, value: str) -> bool:
    """Return whether netlink could set the sysctl, which it can for IPv4 settings of one link."""
    parts = path.split("/")
    if len(parts) != _PARTS or parts[:3] != ["net", "ipv4", "conf"] or parts[4] not in _BY_NETLINK or parts[3] in ("all", "default"):
        return False
    with NetlinkSocket(ROUTE) as netlink:
        (error,) = netlink.run([rtnl.set_ipv4_setting(parts[3], _BY_NETLINK[parts[4]], int(value))])
    return error is None


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
    if _equal(read(path), ours):
        write(path, original, optional=True)


def _equal(found: str | None, value: str) -> bool:
    """Return whether the kernel's *found* is *value*: it puts tabs between numbers where people write spaces."""
    return found is not None and found.split() == value.split()


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
