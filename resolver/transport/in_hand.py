"""Queries that were read from their sockets and are not answered, in memory that outlives the process.

A daemon that is killed between reading a query and answering it would lose it, and a stub waits 5 s for what is lost. So the memory
that datagrams are read into (`batch.py`) and copies of the queries that wait for an upstream are in a memory file (memfd_create(2)),
which the keeper keeps; the next daemon answers what it finds there. It costs no system call.

A query may be answered twice that way, when the daemon was killed just behind an answer; a stub takes the first one. Which socket a
query came by is told by the socket's cookie (SO_COOKIE), which stays the same in whichever process it is.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from resolver import limits

VERSION = 1
"""Of the layout. What another version wrote is not read."""
SLOTS, STRIDE, NAME, HEADER = limits.UDP_DRAIN, 512, 32, 64
"""Datagrams in one batch, octets of each that are kept, of its address and where it came from, and of its `struct mmsghdr`."""
EACH = (1 << 64) - 1
"""In place of the mark of a batch: each datagram has its own, in the last four octets of its address, which no address fills."""
LENGTH_AT = 56
"""Where the length of what was received is in a header."""
_SO_COOKIE = 57
_NO_COOKIE = bytes(8)
_DESCRIPTORS = 65_536
_WAITING = 4096
_RECORD = struct.Struct("=QdHH28s512s")
_RECORD_SIZE, _write = _RECORD.size, _RECORD.pack_into
_BATCH = 8 + SLOTS * (STRIDE + NAME + HEADER)
_WAITING_AT = _DESCRIPTORS * 8 + 2 * _BATCH
_SIZE = _WAITING_AT + _WAITING * _RECORD_SIZE
_LONGEST_WAIT = 5.0
"""Seconds after which nobody waits for an answer any more."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """One query of an earlier daemon. *cookie*: of its socket. *peer*: as the kernel writes addresses."""

    cookie: int
    octets: bytes
    peer: bytes


@dataclass(frozen=True, slots=True)
class BatchMemory:
    """The parts of the memory that one `Batch` reads into. *mark*: the descriptor it reads from, or `EACH`."""

    mark: memoryview
    octets: memoryview
    names: memoryview
    headers: memoryview


class InHand:
    """See the module. *descriptor*: the memory file, to be kept; -1: memory of this process alone. *clock*: the same for all processes."""

    def __init__(self, descriptor: int = -1, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._clock = clock
        self._cookies = memoryview(self._memory)[: _DESCRIPTORS * 8].cast("Q")
        self._next = 0
        self._slots: dict[tuple[bytes, bytes], int] = {}
        self._keys: list[tuple[bytes, bytes] | None] = [None] * _WAITING

    def batch(self, number: int) -> BatchMemory:
        """Return the memory of batch 0 or 1."""
        at = _DESCRIPTORS * 8 + number * _BATCH
        view = memoryview(self._memory)
        parts = []
        for size in (8, SLOTS * STRIDE, SLOTS * NAME, SLOTS * HEADER):
            parts.append(view[at : at + size])
            at += size
        return BatchMemory(parts[0].cast("Q"), *parts[1:])

    def enroll(self, sock: socket.socket) -> None:
        """Note by which cookie *sock* is known to a later daemon."""
        if sock.fileno() < _DESCRIPTORS:
            self._cookies[sock.fileno()] = cookie(sock)

    def strike(self, descriptor: int) -> None:
        """Forget a descriptor that is about to be closed."""
        if 0 <= descriptor < _DESCRIPTORS:
            self._cookies[descriptor] = 0

    def wait(self, descriptor: int, queries: Iterable[tuple[bytes, bytes]]) -> None:
        """Note that the answers to *queries* (octets, peer), which were read from one socket, come later, or never."""
        if descriptor >= _DESCRIPTORS:
            return
        slots, keys, memory, slot = self._slots, self._keys, self._memory, self._next
        number, now = self._cookies[descriptor], self._clock()
        for octets, peer in queries:
            size = len(octets)
            if size > STRIDE:
                continue
            before = keys[slot]
            if before is not None:
                slots.pop(before, None)
            key = keys[slot] = peer, octets[:2]
            slots[key] = slot
            _write(memory, _WAITING_AT + slot * _RECORD_SIZE, number, now, size, len(peer), peer, octets)
            slot = (slot + 1) % _WAITING
        self._next = slot

    def answered(self, responses: Iterable[tuple[bytes, bytes]]) -> None:
        """Note that *responses* (octets, peer) were sent to queries of which `wait` was told."""
        take, keys, memory = self._slots.pop, self._keys, self._memory
        for octets, peer in responses:
            slot = take((peer, octets[:2]), None)
            if slot is not None:
                keys[slot] = None
                at = _WAITING_AT + slot * _RECORD_SIZE
                memory[at : at + 8] = _NO_COOKIE


def cookie(sock: socket.socket) -> int:
    """Return the number of *sock* that is the same in every process."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def create() -> int:
    """Return the descriptor of a new memory file."""
    descriptor = os.memfd_create("berth-queries", os.MFD_CLOEXEC)
    os.truncate(descriptor, _SIZE)
    return descriptor


def read(descriptor: int, now: float) -> list[Unanswered]:
    """Return what an earlier daemon left unanswered in the memory file. *now*: by the clock of `InHand`."""
    if os.fstat(descriptor).st_size != _SIZE:
        return []
    octets = os.pread(descriptor, _SIZE, 0)
    cookies = memoryview(octets)[: _DESCRIPTORS * 8].cast("Q")
    found: list[Unanswered] = []
    for number, address_size in ((0, 16), (1, 28)):
        found += _in_batch(octets, _DESCRIPTORS * 8 + number * _BATCH, address_size, cookies)
    for slot in range(_WAITING):
        number, since, size, peer_size, peer, query = _RECORD.unpack_from(octets, _WAITING_AT + slot * _RECORD_SIZE)
        if number and now - since < _LONGEST_WAIT:
            found.append(Unanswered(number, query[:size], peer[:peer_size]))
    return found


def _in_batch(octets: bytes, at: int, address_size: int, cookies: memoryview) -> list[Unanswered]:
    """Return the queries of the batch at *at* that was being answered."""
    mark = int.from_bytes(octets[at : at + 8], "little")
    texts, names = at + 8, at + 8 + SLOTS * STRIDE
    headers = names + SLOTS * NAME
    found = []
    for slot in range(SLOTS):
        length_at, text_at, name_at = headers + slot * HEADER + LENGTH_AT, texts + slot * STRIDE, names + slot * NAME
        size = int.from_bytes(octets[length_at : length_at + 4], "little")
        if size == 0:
            continue
        descriptor = int.from_bytes(octets[name_at + NAME - 4 : name_at + NAME], "little") if mark == EACH else mark
        number = cookies[descriptor] if descriptor < _DESCRIPTORS else 0
        query = as_query(octets[text_at : text_at + size], octets[text_at : text_at + STRIDE]) if size <= STRIDE else None
        if number and query is not None:
            found.append(Unanswered(number, query, octets[name_at : name_at + address_size]))
    return found


def as_query(received: bytes, slot: bytes) -> bytes | None:
    """Return the query of a slot, whose response may have been written over it already; None if there is none.

    *received*: as long as the query was. *slot*: all of it.
    """
    if len(received) < 12 or not received[2] & 0x80:
        return received if len(received) >= 12 else None
    at = 12
    while at < len(slot) and slot[at]:
        at += slot[at] + 1
    if at + 5 > len(slot):
        return None
    # Identifier, opcode and RD as they were; one question and nothing else, so that what EDNS asked for is not repeated.
    return slot[:2] + bytes((slot[2] & 0x79, 0)) + b"\0\1" + bytes(6) + slot[12 : at + 5]
