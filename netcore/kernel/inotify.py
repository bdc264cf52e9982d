"""inotify(7): a descriptor, watches on it, and what it tells."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, DIRECTORIES_ONLY = 0x400, 0x800, 0x0100_0000
OVERFLOW = 0x4000
IGNORED = 0x8000
"""The watch was removed, by us or with its inode, which was announced."""

_LENGTH = 1 << 16
_EVENT = struct.Struct("=iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """*watch*: which one, -1 if notifications were lost. *name*: of the entry of a directory, "" for what is watched itself."""

    watch: int
    mask: int
    name: str


def open_descriptor() -> int:
    """Return a new descriptor that does not block; OSError if a user has no more."""
    descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


def add(descriptor: int, path: str, mask: int) -> int:
    """Watch *path* and return the number of the watch, -1 if it can't be watched."""
    watch: int = _libc.inotify_add_watch(descriptor, os.fsencode(path), mask)
    return watch


def remove(descriptor: int, watch: int) -> None:
    """Stop watching; a watch that is gone already is done."""
    _libc.inotify_rm_watch(descriptor, watch)


def read(descriptor: int) -> Iterator[Event]:
    """Yield what has come."""
    try:
        octets = os.read(descriptor, _LENGTH)
    except BlockingIOError:
        return
    at = 0
    while at + _EVENT.size <= len(octets):
        watch, mask, _, size = _EVENT.unpack_from(octets, at)
        name = octets[at + _EVENT.size : at + _EVENT.size + size].rstrip(b"\0")
        at += _EVENT.size + size
        yield Event(watch, mask, os.fsdecode(name))
