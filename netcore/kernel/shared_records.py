"""Records in a file that is mapped to memory: what was written stays when the process is killed. Blocking only while it is opened."""

from __future__ import annotations

import mmap
import os


class SharedRecords:
    """The records of the file *path*, each *size* octets, *count* of them; one more takes the place of another. Raises OSError.

    *left*: what an earlier process has left there, by place. It stays until it is erased.
    """

    def __init__(self, path: str, size: int, count: int) -> None:
        self._size = size
        self._count = count
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(self._descriptor, size * count)
            self._memory = mmap.mmap(self._descriptor, size * count)
            # Not by the memory: what was never written takes none, and must not by being looked at.
            octets = os.pread(self._descriptor, size * count, 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        empty = bytes(size)
        self.left = {at: octets[at : at + size] for at in range(0, size * count, size) if octets[at : at + size] != empty}
        used = frozenset(self.left)
        self._empty = (at for at in range(0, size * count, size) if at not in used)
        self._erased: list[int] = []
        self._next = 0

    def write(self, record: bytes) -> int:
        """Write one record where there is none, if there is such a place; return its place."""
        at = self._erased.pop() if self._erased else next(self._empty, None)
        if at is None:
            at = self._next * self._size
            self._next = (self._next + 1) % self._count
        self._memory[at : at + self._size] = record
        return at

    def erase(self, at: int, record: bytes) -> None:
        """Erase the record at a place, if it still is there."""
        if self._memory[at : at + self._size] == record:
            self._memory[at : at + self._size] = bytes(self._size)
            self._erased.append(at)

    def close(self) -> None:
        """Close the file; the records stay."""
        self._memory.close()
        os.close(self._descriptor)
