"""Many notifications with one system call: recvmmsg(2) through ctypes, on memory that all netlink sockets of a thread share.

One recvmsg(2) for each, with a buffer of its own, takes longer than reading what the message says, and gives up the
interpreter's lock each time. Here the lock is kept: these calls never block.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import threading

_SLOTS = 32
_LENGTH = 1 << 16
_CONTROL = 64
_HEADER = 64
"""Octets of a `struct mmsghdr` on 64-bit Linux."""
_DONTWAIT = 0x40
_SOL_NETLINK, _LISTEN_ALL = 270, 8
_CONTROL_MESSAGE = struct.Struct("=QIIi")
_READ = [struct.Struct("40xQ8xI4x" * count) for count in range(_SLOTS + 1)]
"""Of that many headers: the octets of ancillary data, and of the message."""

_recvmmsg = ctypes.PyDLL(None, use_errno=True).recvmmsg


class _Memory(threading.local):
    """What one thread receives into. Of it, the kernel touches only what it fills."""

    def __init__(self) -> None:
        self.octets = mmap.mmap(-1, _SLOTS * _LENGTH)
        self.control = ctypes.create_string_buffer(_SLOTS * _CONTROL)
        octets_at, control_at = ctypes.addressof(ctypes.c_char.from_buffer(self.octets)), ctypes.addressof(self.control)
        parts = b"".join(struct.pack("QQ", octets_at + slot * _LENGTH, _LENGTH) for slot in range(_SLOTS))
        self.parts = ctypes.create_string_buffer(parts, len(parts))
        parts_at = ctypes.addressof(self.parts)
        self.fresh = b"".join(
            struct.pack("QI4xQQQQi4xI4x", 0, 0, parts_at + slot * 16, 1, control_at + slot * _CONTROL, _CONTROL, 0, 0)
            for slot in range(_SLOTS)
        )
        self.headers = ctypes.create_string_buffer(self.fresh, len(self.fresh))
        self.view = memoryview(self.headers).cast("B")
        self.at = ctypes.c_void_p(ctypes.addressof(self.headers))


_memory = _Memory()


def receive(descriptor: int) -> list[tuple[int | None, bytes]]:
    """Return what waits in a netlink socket, at most as much as is taken at once, and nothing if nothing does.

    With each: the id of the namespace that it is about, None for the socket's own. OSError as recvmsg(2) has it, so ENOBUFS if the
    kernel dropped some.
    """
    memory = _memory
    count: int = _recvmmsg(descriptor, memory.at, _SLOTS, _DONTWAIT, None)
    if count < 0:
        number = ctypes.get_errno()
        if number == errno.EAGAIN:
            return []
        raise OSError(number, os.strerror(number))
    octets, told = memory.octets, _READ[count].unpack_from(memory.headers)
    # The kernel has written there how much ancillary data there was.
    memory.view[: count * _HEADER] = memory.fresh[: count * _HEADER]
    return [
        (_nsid(memory, slot) if told[2 * slot] else None, octets[slot * _LENGTH : slot * _LENGTH + told[2 * slot + 1]])
        for slot in range(count)
    ]


def _nsid(memory: _Memory, slot: int) -> int | None:
    _, level, kind, nsid = _CONTROL_MESSAGE.unpack_from(memory.control, slot * _CONTROL)
    return nsid if (level, kind) == (_SOL_NETLINK, _LISTEN_ALL) else None
