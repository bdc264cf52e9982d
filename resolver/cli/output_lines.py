"""Reading what commands have printed: lines of the files that `output_log` writes, oldest first, and those that come."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from resolver.cli.output_log import files


class Line(NamedTuple):
    """One line. *time*: as it is in the file, which sorts like the time. *stream*: stdout or stderr. *text*: with its end, if any."""

    time: str
    stream: str
    text: bytes


def stamp(seconds: float) -> str:
    """Return a time in seconds since the epoch in the form of `Line.time`."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e9):09}Z"


class Reader:
    """Reads the output of one sandbox. *newest*: the path of its newest file, which may not be there yet."""

    def __init__(self, newest: str) -> None:
        self._newest = newest
        self._file: IO[bytes] | None = None
        self._unfinished = b""
        self._parts: dict[str, list[tuple[str, bytes]]] = {}

    def lines(self) -> Iterator[Line]:
        """Yield the whole lines that were written since the last call. PermissionError if the caller may not read them."""
        while True:
            later = self._next_file()
            if self._file is not None:
                yield from self._read(self._file)
            if later is None:
                return
            if self._file is not None:
                self._file.close()
            self._file = later

    def rest(self) -> Iterator[Line]:
        """Yield what was printed without the end of a line; for when nothing more will come."""
        for stream, parts in self._parts.items():
            if parts:
                yield Line(parts[0][0], stream, b"".join(text for _, text in parts))
        self._parts.clear()

    def unfinished(self) -> int:
        """Return how many lines have begun, and have no end yet, of what was read."""
        return sum(bool(parts) for parts in self._parts.values())

    def close(self) -> None:
        """Close the file that is read."""
        if self._file is not None:
            self._file.close()

    def _next_file(self) -> IO[bytes] | None:
        """Return the file after the one that is read, None if that is the newest one. Looked for before that is read to its end."""
        paths = list(files(self._newest))
        at = 0
        if self._file is not None:
            own = os.fstat(self._file.fileno()).st_ino
            inodes = [_inode(path) for path in paths]
            # If it is gone, more was written than is kept: the oldest that is left comes next.
            at = inodes.index(own) + 1 if own in inodes else 0
        try:
            return open(paths[at], "rb") if at < len(paths) else None
        except FileNotFoundError:
            return None

    def _read(self, file: IO[bytes]) -> Iterator[Line]:
        while octets := file.read(1 << 16):
            *entries, self._unfinished = (self._unfinished + octets).split(b"\n")
            for entry in entries:
                line = self._line(entry)
                if line is not None:
                    yield line

    def _line(self, entry: bytes) -> Line | None:
        when, _, more = entry.partition(b" ")
        stream, _, more = more.partition(b" ")
        tag, _, text = more.partition(b" ")
        name, moment = stream.decode(errors="replace"), when.decode(errors="replace")
        parts = self._parts.setdefault(name, [])
        parts.append((moment, text))
        if tag == b"P":
            return None
        whole = Line(parts[0][0], name, b"".join(text for _, text in parts) + b"\n")
        parts.clear()
        return whole


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def chosen(lines: Iterable[Line], *, tail: int | None, since: str | None, until: str | None) -> Iterable[Line]:
    """Return those of *lines* from *since* to *until*, the last *tail* of them; None: no limit."""
    found = (line for line in lines if (since is None or line.time >= since) and (until is None or line.time <= until))
    return found if tail is None else deque(found, maxlen=tail)
