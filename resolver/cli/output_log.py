"""What the command of a sandbox has printed, in files that are bounded: written by the process that holds the sandbox.

A line is `TIME STREAM F TEXT`, as container runtimes write it for Kubernetes (CRI): TIME in UTC with nine digits behind the second,
STREAM stdout or stderr; P in the place of F says that the line goes on in the next one of its stream. The newest file is
`output.log`; when it is full it becomes `output.log.1`, and so on, and the oldest one goes. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator

NAME = "output.log"
FILES = 3
"""How many files there are at most."""
FILE_SIZE = 10 << 20
"""Octets of each."""
LINE = 16 << 10
"""Octets of a line at most, as with Docker: a longer one is written in parts."""
STREAMS = ("stdout", "stderr")


def files(newest: str) -> Iterator[str]:
    """Yield the files that are there, the oldest one first. *newest*: the path of `output.log`."""
    for number in range(FILES - 1, 0, -1):
        if os.path.exists(f"{newest}.{number}"):
            yield f"{newest}.{number}"
    if os.path.exists(newest):
        yield newest


class OutputLog:
    """Writes to the files in *directory*. What can't be written, as the disk is full for example, is lost."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, NAME)
        self._file = self._open()
        self._size = os.fstat(self._file).st_size
        self._unfinished = dict.fromkeys(STREAMS, b"")

    def _open(self) -> int:
        """Open the newest file, for root only. What is there and no file, a symbolic link for example, is replaced."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError):
            file = os.open(self._path, flags, 0o600)
            if stat.S_ISREG(os.fstat(file).st_mode) and os.fstat(file).st_nlink == 1:
                os.fchmod(file, 0o600)
                return file
            os.close(file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        return os.open(self._path, flags | os.O_EXCL, 0o600)

    def write(self, stream: str, octets: bytes) -> None:
        """Write the lines that *octets* end; the rest waits for its end."""
        *lines, rest = (self._unfinished[stream] + octets).split(b"\n")
        for line in lines:
            self._put_line(stream, line, b"F")
        while len(rest) > LINE:
            self._put(stream, rest[:LINE], b"P")
            rest = rest[LINE:]
        self._unfinished[stream] = rest

    def flush(self, stream: str) -> None:
        """Write the last line of a stream that has ended without its end."""
        if self._unfinished[stream]:
            self._put_line(stream, self._unfinished[stream], b"P")
            self._unfinished[stream] = b""

    def _put_line(self, stream: str, line: bytes, tag: bytes) -> None:
        while len(line) > LINE:
            self._put(stream, line[:LINE], b"P")
            line = line[LINE:]
        self._put(stream, line, tag)

    def _put(self, stream: str, text: bytes, tag: bytes) -> None:
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        entry = f"{moment}.{rest:09}Z {stream} ".encode() + tag + b" " + text + b"\n"
        with contextlib.suppress(OSError):
            if self._size and self._size + len(entry) > FILE_SIZE:
                self._rotate()
            self._size += os.write(self._file, entry)

    def _rotate(self) -> None:
        for number in range(FILES - 1, 0, -1):
            older = f"{self._path}.{number}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._path if number == 1 else f"{self._path}.{number - 1}", older)
        os.close(self._file)
        self._file = self._open()
        self._size = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
