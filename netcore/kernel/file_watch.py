"""Which of many directories had something changed in them, by inotify(7)."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Generic, TypeVar

from netcore.kernel import inotify

_K = TypeVar("_K", bound=Hashable)

_EVENTS = (
    inotify.MODIFY | inotify.CLOSE_WRITE | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.CREATE | inotify.DELETE | inotify.DELETE_SELF
)


class FileWatch(Generic[_K]):
    """One inotify descriptor for the directories that are watched, each under a key. OSError if there is no descriptor left."""

    def __init__(self) -> None:
        self._descriptor = inotify.open_descriptor()
        self._keys: dict[int, _K] = {}
        self._watches: dict[_K, int] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable once something has changed."""
        return self._descriptor

    def follow(self, key: _K, directory: str) -> None:
        """Watch what is in *directory*; one that is not there is not watched."""
        watch = inotify.add(self._descriptor, directory, _EVENTS)
        if watch >= 0:
            self._keys[watch], self._watches[key] = key, watch

    def drop(self, key: _K) -> None:
        """Stop watching what *key* stands for."""
        watch = self._watches.pop(key, None)
        if watch is not None:
            self._keys.pop(watch, None)
            inotify.remove(self._descriptor, watch)

    def read(self) -> set[_K] | None:
        """Return the keys of what has changed; None if notifications were lost."""
        found: set[_K] = set()
        for event in inotify.read(self._descriptor):
            if event.mask & inotify.OVERFLOW:
                return None
            if event.watch in self._keys:
                found.add(self._keys[event.watch])
            if event.mask & inotify.IGNORED and event.watch in self._keys:
                # The directory is gone; whoever makes it again is followed again.
                self._watches.pop(self._keys.pop(event.watch), None)
        return found

    def is_followed(self, key: _K) -> bool:
        """Return whether something is watched under *key*."""
        return key in self._watches

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
