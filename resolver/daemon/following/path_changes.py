"""Tells when a file appears, changes or goes, whatever happens to the directories and links on the way to it. inotify(7)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from netcore.kernel import inotify
from resolver.daemon.hostfile import way_to

_FILE = inotify.MODIFY | inotify.CLOSE_WRITE | inotify.DELETE_SELF | inotify.MOVE_SELF
_DIRECTORY = (
    inotify.MOVED_FROM | inotify.MOVED_TO | inotify.CREATE | inotify.DELETE | inotify.DELETE_SELF | inotify.MOVE_SELF
    | inotify.DIRECTORIES_ONLY
)  # fmt: skip


class PathChanges:
    """Calls *on_change* after each change of what is at *path*, until `close`. Raises OSError if no inotify descriptor is left."""

    def __init__(self, path: str, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._descriptor = inotify.open_descriptor()
        self._names: dict[int, set[str]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)
        self._watch()

    def _watch(self) -> None:
        """Watch what is on the way now. A watch belongs to an inode: what has been replaced has to be watched anew."""
        way, names = way_to(self._path), dict[int, set[str]]()
        for directory, entries in way.entries.items():
            names.setdefault(inotify.add(self._descriptor, directory, _DIRECTORY), set()).update(entries)
        if way.file is not None:
            names[inotify.add(self._descriptor, way.file, _FILE)] = set()
        names.pop(-1, None)
        for watch in self._names.keys() - names.keys():
            inotify.remove(self._descriptor, watch)
        self._names = names

    def _read(self) -> None:
        matters = False
        for event in inotify.read(self._descriptor):
            if not event.mask & inotify.IGNORED:
                names = self._names.get(event.watch)
                # Without a name it is about the directory or the file itself, or notifications were lost (watch -1).
                matters = matters or not event.name or (names is not None and event.name in names)
        if matters:
            self._watch()
            self._on_change()

    def close(self) -> None:
        """Tell no more."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
