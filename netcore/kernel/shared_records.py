"""Records in a file that is mapped to memory: what was written stays when the process is killed. Blocking only while it is opened."""

from __future__ import annotations

import mmap
import os


class SharedRecords:
    """The records of the file *path*, each *size* octets, *count* of them; the oldest is overwritten. Raises OSError."""

    def __init__(self, path: str, size: int, count: int) -> None:
        self._size = size
        self._count = count
        self._next = 0
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(self._descriptor, size * count)
            self._memory = mmap.mmap(self._descriptor, size * count)
        except BaseException:
            os.close(self._descriptor)
            raise

    def take(self) -> bytes:
        """Return all records, in no order, and forget them."""
        # Not by the memory: what was never written takes none, and must not by being looked at.
        octets = os.pread(self._descriptor, self._size * self._count, 0)
        empty = bytes(self._size)
        for at in range(0, len(octets), self._size):
            if octets[at : at + self._size] != empty:
                self._memory[at : at + self._size] = empty
        return octets

    def write(self, record: bytes) -> int:
        """Write one record; return its place."""
        at = self._next * self._size
        self._memory[at : at + self._size] = record
        self._next = (self._next + 1) % self._count
        return at

    def erase(self, at: int, record: bytes) -> None:
        """Erase the record at a place, if it still is there."""
        if self._memory[at : at + self._size] == record:
            self._memory[at : at + self._size] = bytes(self._size)

    def close(self) -> None:
        """Close the file; the records stay."""
        self._memory.close()
        os.close(self._descriptor)
