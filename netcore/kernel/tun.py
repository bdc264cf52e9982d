"""Taps: links of the host whose frames a program has, such as the one that runs a virtual machine. Blocking.

Spec: Linux Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from netcore.errors import Conflict, InvalidRequest, KernelError, Unavailable

DEVICE = "/dev/net/tun"
KIND = "tun"
"""What rtnetlink calls a tap too."""
_SET_INTERFACE, _SET_PERSISTENT, _SET_OWNER, _SET_GROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
_TAP, _NO_PACKET_INFORMATION, _EXCLUSIVE = 0x0002, 0x1000, 0x8000
_REQUEST = struct.Struct("16sH22x")


@contextmanager
def made(name: str, owner: int | None, group: int | None) -> Iterator[None]:
    """Make a tap in the namespace of the calling thread, for the length of the block; if that ends well it stays.

    Raises Conflict if there is a link of that name, InvalidRequest for a user or group that is none here, and Unavailable.
    """
    device = _opened()
    try:
        try:
            fcntl.ioctl(device, _SET_INTERFACE, _REQUEST.pack(name.encode(), _TAP | _NO_PACKET_INFORMATION | _EXCLUSIVE))
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.EEXIST):
                raise Conflict("link", name, "exists and is not of this sandbox; choose another name") from error
            raise KernelError("create tap", name, error.errno or 0) from error
        for kind, operation, number in (("owner", _SET_OWNER, owner), ("group", _SET_GROUP, group)):
            if number is not None:
                _set(device, name, kind, operation, number)
        yield
        fcntl.ioctl(device, _SET_PERSISTENT, 1)
    finally:
        os.close(device)


def _opened() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unavailable("a tap", f"there is no {DEVICE}; `modprobe tun` makes it") from error
    except PermissionError as error:
        raise Unavailable("a tap", f"{DEVICE} can't be opened by this user; most hosts let everybody, by `chmod 666 {DEVICE}`") from error
    except OSError as error:
        raise Unavailable("a tap", f"{DEVICE}: {error.strerror}; `modprobe tun` loads it") from error


def _set(device: int, name: str, kind: str, operation: int, number: int) -> None:
    try:
        fcntl.ioctl(device, operation, number)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise InvalidRequest(kind, f"{number} is no {'user' if kind == 'owner' else kind} of this user namespace") from error
        raise KernelError(f"set {kind} of tap", name, error.errno or 0) from error
