"""Which of many directories had something changed in them, by inotify(7)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200, 0x400
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_EVENTS = _MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF
_LENGTH = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch(Generic[_K]):
    """One inotify descriptor for the directories that are watched, each under a key. OSError if there is no descriptor left."""

    def __init__(self) -> None:
        self._descriptor = _libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._keys: dict[int, _K] = {}
        self._watches: dict[_K, int] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable once something has changed."""
        return int(self._descriptor)

    def follow(self, key: _K, directory: str) -> None:
        """Watch what is in *directory*; one that is not there is not watched."""
        watch = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _EVENTS)
        if watch >= 0:
            self._keys[watch], self._watches[key] = key, watch

    def drop(self, key: _K) -> None:
        """Stop watching what *key* stands for."""
        watch = self._watches.pop(key, None)
        if watch is not None:
            self._keys.pop(watch, None)
            _libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> set[_K] | None:
        """Return the keys of what has changed; None if notifications were lost."""
        found: set[_K] = set()
        try:
            octets = os.read(self._descriptor, _LENGTH)
        except BlockingIOError:
            return found
        at = 0
        while at + 16 <= len(octets):
            watch, mask, _, size = struct.unpack_from("iIII", octets, at)
            at += 16 + size
            if mask & _OVERFLOW:
                return None
            if watch in self._keys:
                found.add(self._keys[watch])
            if mask & _IGNORED and watch in self._keys:
                # The directory is gone; whoever makes it again is followed again.
                self._watches.pop(self._keys.pop(watch), None)
        return found

    def is_followed(self, key: _K) -> bool:
        """Return whether something is watched under *key*."""
        return key in self._watches

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
