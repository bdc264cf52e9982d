"""Many datagrams with one system call: recvmmsg(2) and sendmmsg(2) through ctypes, on memory that all sockets share.

The socket module's calls for each datagram cost a third more CPU. Only one thread uses the memory, and never across an
await, so there is one piece of it and not one for each of a thousand sockets; the calls keep the interpreter's lock,
because they never block. Measured in `benchmarks/resolver.py`.

A datagram that is longer than a slot continues in an overflow, of which the kernel touches only what it fills. Responses
are written over the query they answer and go back to the address it came from, which is not even looked at.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from resolver import limits
from resolver.dns_client import Client
from resolver.reply_cache import Reply
from resolver.transport.in_hand import EACH, LENGTH_AT, BatchMemory
from resolver.transport.in_hand import HEADER as _HEADER
from resolver.transport.in_hand import NAME as _NAME
from resolver.transport.in_hand import SLOTS as _SLOTS
from resolver.transport.in_hand import STRIDE as _STRIDE
from resolver.transport.protocol import ReplySender

_LONGEST = limits.UDP_PAYLOAD
_MSG_DONTWAIT = 0x40
_QUIET = (errno.EAGAIN, errno.EINTR)

_libc = ctypes.PyDLL(None, use_errno=True)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
# Without argument types: conversions by them take a third of such a call, and with many sandboxes a query pays two calls alone.
# So a pointer must be a c_void_p: an int is passed as a C int, which would cut it.
_string_at = ctypes.string_at
# For those whose errors nobody looks at. They take what `byref` returns, which is made once and not converted at all.
_unchecked = ctypes.PyDLL(None)
_receive_one, _send_one = _unchecked.recvmmsg, _unchecked.sendto

# struct mmsghdr on 64-bit Linux: a msghdr of 56 octets, then the length of what was received.
_LENGTHS: list[Callable[..., tuple[int, ...]]] = [struct.Struct("56xI4x" * count).unpack_from for count in range(_SLOTS + 1)]
_NOTHING = memoryview(array("I", [0] * _SLOTS))
_BEGINS = range(0, _SLOTS * _STRIDE, _STRIDE)
_STARTS = range(2, _SLOTS * _STRIDE, _STRIDE)
"""Where the slots begin, and what is behind the IDs."""

Datagram = tuple[bytes, bytes]
"""(octets, the peer's address as the kernel writes it)."""


class LoneSocket(NamedTuple):
    """A socket of one client that seldom holds more than one query. *find*: its remembered replies, by the octets behind an ID."""

    descriptor: int
    find: Callable[[bytes], Reply | None]
    client: Client
    sender: ReplySender


class Unknown(NamedTuple):
    """A query that no remembered reply answers, in its slot of the batch."""

    slot: int
    source: LoneSocket
    octets: bytes
    peer: bytes


class Batch:
    """The memory for one address family. Calls on it must not overlap.

    Whoever reads queries calls `done` when all of them are answered, or noted elsewhere: see `in_hand.py`.
    """

    def __init__(self, family: int, memory: BatchMemory) -> None:
        self._address_size = 16 if family == socket.AF_INET else 28
        self._mark = memory.mark
        self._octets = _array(memory.octets)
        # Pages that no datagram has filled take no memory.
        self._overflow = mmap.mmap(-1, _SLOTS * (_LONGEST - _STRIDE))
        self._overflow_at = ctypes.addressof(ctypes.c_char.from_buffer(self._overflow))
        self._names = _array(memory.names)
        self._at, self._names_at = ctypes.addressof(self._octets), ctypes.addressof(self._names)
        self._view = memoryview(self._octets).cast("B")
        self._names_view = memoryview(self._names).cast("B")
        self._in_parts = ctypes.create_string_buffer(b"".join(map(self._parts, range(_SLOTS))), _SLOTS * 32)
        self._out_parts = ctypes.create_string_buffer(self._in_parts.raw, _SLOTS * 32)
        self._in = _array(memory.headers)
        memory.headers[:] = self._headers(self._in_parts, 2)
        self._in_lengths = memory.headers.cast("I")[LENGTH_AT // 4 :: _HEADER // 4]
        self._out = ctypes.create_string_buffer(self._headers(self._out_parts, 1), _SLOTS * _HEADER)
        self._out_connected = ctypes.create_string_buffer(self._headers(self._out_parts, 1, connected=True), _SLOTS * _HEADER)
        self._in_at, self._out_at = ctypes.c_void_p(ctypes.addressof(self._in)), ctypes.addressof(self._out)
        self._out_first = ctypes.c_void_p(self._out_at)
        self._out_connected_at = ctypes.addressof(self._out_connected)
        self._out_sizes = memoryview(self._out_parts).cast("B").cast("Q")[1::4]
        self._sources = memory.names.cast("I")[_NAME // 4 - 1 :: _NAME // 4]
        self._each_in = [ctypes.byref(self._in, slot * _HEADER) for slot in range(_SLOTS)]
        self._each_octets = [ctypes.byref(self._octets, slot * _STRIDE) for slot in range(_SLOTS)]
        self._each_name = [ctypes.byref(self._names, slot * _NAME) for slot in range(_SLOTS)]

    def _parts(self, slot: int) -> bytes:
        """Return two `struct iovec`: the slot, and its overflow."""
        overflow = self._overflow_at + slot * (_LONGEST - _STRIDE)
        return struct.pack("QQQQ", self._at + slot * _STRIDE, _STRIDE, overflow, _LONGEST - _STRIDE)

    def _headers(self, parts: ctypes.Array[ctypes.c_char], count: int, *, connected: bool = False) -> bytes:
        """Return a `struct mmsghdr` for each slot."""
        made = []
        for slot in range(_SLOTS):
            name, size = (0, 0) if connected else (self._names_at + slot * _NAME, self._address_size)
            made.append(struct.pack("QI4xQQQQi4xI4x", name, size, ctypes.addressof(parts) + slot * 32, count, 0, 0, 0, 0))
        return b"".join(made)

    def answer(self, descriptor: int, replies: Mapping[bytes, Reply], most: int) -> tuple[int, list[Datagram], Sequence[int]]:
        """Receive at most *most* queries and answer those that are in *replies*, by their octets behind the ID.

        Returns how many queries there were, those that were not answered, and the RCODEs other than NOERROR of the responses.
        """
        count = self._receive(descriptor, most)
        if not count:
            return 0, [], ()
        if count == 1:
            return self._answer_one(descriptor, replies)
        octets = _string_at(self._at, count * _STRIDE)
        find, view, address_size = replies.get, self._view, self._address_size
        sizes: list[int] = []
        rest: list[Datagram] = []
        rcodes: tuple[int, ...] = ()
        names = None
        for at, size in zip(_STARTS, _LENGTHS[count](self._in), strict=False):
            reply = find(octets[at : at + size - 2])
            if reply is not None:
                reply.hits += 1
                tail = reply.fixed
                if tail is None:
                    tail = reply.orders[reply.hits % len(reply.orders)]
                length = len(tail)
                if length < _STRIDE - 1:
                    view[at : at + length] = tail
                    sizes.append(length + 2)
                    if reply.rcode:
                        rcodes = (*rcodes, reply.rcode)
                    continue
            if names is None:
                names = _string_at(self._names_at, count * _NAME)
            slot = len(sizes)
            sizes.append(0)
            name_at, at = slot * _NAME, at - 2
            message = octets[at : at + size] if size <= _STRIDE else self._message(octets, slot, size)
            rest.append((message, names[name_at : name_at + address_size]))
        self._out_sizes[:count] = array("Q", sizes)
        if not rest:
            self._send(descriptor, self._out_at, 0, count)
        else:
            self._send_runs(descriptor, sizes)
        return count, rest, rcodes

    def _answer_one(self, descriptor: int, replies: Mapping[bytes, Reply]) -> tuple[int, list[Datagram], Sequence[int]]:
        """Do the same for one query: with many sandboxes that is nearly every batch, and takes a third less this way."""
        (size,) = _LENGTHS[1](self._in)
        reply = replies.get(_string_at(self._at + 2, size - 2)) if 2 < size <= _STRIDE else None
        if reply is not None:
            reply.hits += 1
            tail = reply.fixed
            if tail is None:
                tail = reply.orders[reply.hits % len(reply.orders)]
            length = len(tail)
            if length < _STRIDE - 1:
                self._view[2 : 2 + length] = tail
                self._out_sizes[0] = length + 2
                _sendmmsg(descriptor, self._out_first, 1, _MSG_DONTWAIT)
                return 1, [], (reply.rcode,) if reply.rcode else ()
        octets = self._message(_string_at(self._at, _STRIDE), 0, size)
        return 1, [(octets, _string_at(self._names_at, self._address_size))], ()

    def answer_each(self, sockets: Sequence[LoneSocket]) -> tuple[int, list[Unknown], Sequence[int]]:
        """Receive one query from each of at most as many sockets as there are slots, then answer those that are remembered.

        Returns how many there were, those that were not answered, and the RCODEs other than NOERROR of the responses. All are read
        before one is answered: the code of the kernel for either stays in the processor's cache, and who has got an answer
        is still awake when the next one comes. That takes a quarter less than one socket after the other.
        """
        self._mark[0] = EACH
        sources, headers = self._sources, self._each_in
        read: list[LoneSocket] = []
        slot = 0
        for source in sockets:
            sources[slot] = descriptor = source[0]
            # An error is one of an earlier response; the next read is good again.
            if _receive_one(descriptor, headers[slot], 1, _MSG_DONTWAIT, None) == 1:
                read.append(source)
                slot += 1
        octets, view, address_size = _string_at(self._at, slot * _STRIDE), self._view, self._address_size
        answered: list[tuple[int, ctypes._CArgObject, int, ctypes._CArgObject]] = []
        rest: list[Unknown] = []
        rcodes: tuple[int, ...] = ()
        for at, size, source, out, name in zip(_STARTS, _LENGTHS[slot](self._in), read, self._each_octets, self._each_name, strict=False):
            descriptor, find, client, _ = source
            reply = find(octets[at : at + size - 2])
            if reply is not None:
                reply.hits += 1
                tail = reply.fixed
                if tail is None:
                    tail = reply.orders[reply.hits % len(reply.orders)]
                length = len(tail)
                if length < _STRIDE - 1:
                    view[at : at + length] = tail
                    client.queries += 1
                    answered.append((descriptor, out, length + 2, name))
                    if reply.rcode:
                        rcodes = (*rcodes, reply.rcode)
                    continue
            number = at // _STRIDE
            peer = _string_at(self._names_at + number * _NAME, address_size)
            rest.append(Unknown(number, source, self._message(octets, number, size), peer))
        for descriptor, out, length, name in answered:
            _send_one(descriptor, out, length, _MSG_DONTWAIT, name, address_size)
        return slot, rest, rcodes

    def answer_at(self, unknown: Unknown, octets: bytes) -> None:
        """Send the response *octets* (at most `LONGEST_SENT`) to a query that `answer_each` returned."""
        slot, size = unknown.slot, len(octets)
        self._view[slot * _STRIDE : slot * _STRIDE + size] = octets
        _send_one(unknown.source.descriptor, self._each_octets[slot], size, _MSG_DONTWAIT, self._each_name[slot], self._address_size)

    def receive(self, descriptor: int, most: int) -> list[Datagram]:
        """Return at most *most* datagrams."""
        count = self._receive(descriptor, most)
        if not count:
            return []
        octets, names, address_size = _string_at(self._at, count * _STRIDE), _string_at(self._names_at, count * _NAME), self._address_size
        return [
            (self._message(octets, slot, size), names[slot * _NAME : slot * _NAME + address_size])
            for slot, size in enumerate(_LENGTHS[count](self._in))
        ]

    def receive_connected(self, descriptor: int, most: int) -> list[bytes]:
        """Return at most *most* messages of a connected socket; OSError for an error that waits there."""
        count = self._receive(descriptor, most)
        if not count:
            return []
        octets, message = _string_at(self._at, count * _STRIDE), self._message
        messages = [
            octets[at : at + size] if size <= _STRIDE else message(octets, at // _STRIDE, size)
            for at, size in zip(_BEGINS, _LENGTHS[count](self._in), strict=False)
        ]
        self.done(count)
        return messages

    def done(self, count: int) -> None:
        """Note that the *count* datagrams that were read last are in hand no longer."""
        if count == 1:
            self._in_lengths[0] = 0
        elif count:
            self._in_lengths[:count] = _NOTHING[:count]

    def _receive(self, descriptor: int, most: int) -> int:
        self._mark[0] = descriptor
        count: int = _recvmmsg(descriptor, self._in_at, most, _MSG_DONTWAIT, None)
        if count >= 0:
            return count
        number = ctypes.get_errno()
        if number in _QUIET:
            return 0
        raise OSError(number, os.strerror(number))

    def _message(self, octets: bytes, slot: int, size: int) -> bytes:
        at = slot * _STRIDE
        if size <= _STRIDE:
            return octets[at : at + size]
        return octets[at : at + _STRIDE] + _string_at(self._overflow_at + slot * (_LONGEST - _STRIDE), size - _STRIDE)

    def send(self, sock: socket.socket, datagrams: Sequence[Datagram]) -> None:
        """Send each datagram to its address; what the kernel does not take is lost, as in a network."""
        for first in range(0, len(datagrams), _SLOTS):
            sizes = []
            for slot, (octets, address) in enumerate(datagrams[first : first + _SLOTS]):
                size = len(octets)
                if size <= _STRIDE:
                    self._view[slot * _STRIDE : slot * _STRIDE + size] = octets
                    self._names_view[slot * _NAME : slot * _NAME + len(address)] = address
                    sizes.append(size)
                else:
                    sizes.append(0)
                    _send_long(sock, octets, address)
            self._out_sizes[: len(sizes)] = array("Q", sizes)
            if all(sizes):
                self._send(sock.fileno(), self._out_at, 0, len(sizes))
            else:
                self._send_runs(sock.fileno(), sizes)

    def send_connected(self, descriptor: int, messages: Sequence[bytes]) -> None:
        """Send *messages* (of at most 512 octets each) over a connected socket; OSError for what the kernel reports."""
        headers = self._out_connected_at
        for first in range(0, len(messages), _SLOTS):
            some = messages[first : first + _SLOTS]
            for slot, octets in enumerate(some):
                self._view[slot * _STRIDE : slot * _STRIDE + len(octets)] = octets
            self._out_sizes[: len(some)] = array("Q", map(len, some))
            start = 0
            while start < len(some):
                # An error at a later message than the first ends the call, and is not reported.
                sent = _sendmmsg(descriptor, ctypes.c_void_p(headers + start * _HEADER), len(some) - start, _MSG_DONTWAIT)
                if sent < 0:
                    number = ctypes.get_errno()
                    if number in _QUIET:
                        return
                    raise OSError(number, os.strerror(number))
                start += sent

    def _send_runs(self, descriptor: int, sizes: list[int]) -> None:
        """Send the slots whose size is not 0."""
        start = 0
        for slot, size in enumerate((*sizes, 0)):
            if not size:
                if slot > start:
                    self._send(descriptor, self._out_at, start, slot)
                start = slot + 1

    @staticmethod
    def _send(descriptor: int, headers: int, start: int, stop: int) -> None:
        while start < stop:
            sent = _sendmmsg(descriptor, ctypes.c_void_p(headers + start * _HEADER), stop - start, _MSG_DONTWAIT)
            if sent < 0:
                if ctypes.get_errno() in _QUIET:
                    return
                # This client is gone; the others are not.
                sent = 1
            start += sent


def _array(memory: memoryview) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * len(memory)).from_buffer(memory)


LONGEST_SENT = _STRIDE
"""Octets of the longest message that `send_connected` takes."""


def _send_long(sock: socket.socket, octets: bytes, address: bytes) -> None:
    try:
        sock.sendto(octets, readable(address))
    except OSError:
        # The client is gone or its buffer is full; it asks again.
        return


def readable(address: bytes) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the kernel's form of an address as the socket module's."""
    port = address[2] << 8 | address[3]
    if len(address) == 16:
        return socket.inet_ntop(socket.AF_INET, address[4:8]), port
    flow = int.from_bytes(address[4:8], "big")
    return socket.inet_ntop(socket.AF_INET6, address[8:24]), port, flow, int.from_bytes(address[24:28], "little")


def packed(address: bytes) -> bytes:
    """Return the IP address in the kernel's form of an address."""
    return address[4:8] if len(address) == 16 else address[8:24]
