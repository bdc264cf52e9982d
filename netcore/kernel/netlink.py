"""A blocking netlink socket: batches of requests, extended acknowledgements, dumps. Knows no message contents.

The one module that opens netlink sockets. A socket belongs for ever to the namespace of the thread that opened it; it may
then be used from any thread, by one at a time.

Spec: Linux Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netcore import limits
from netcore.errors import KernelError

ROUTE = 0
XFRM = 6
NETFILTER = 12

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_F_MULTI, _F_DUMP_INTERRUPTED, _F_CAPPED, _F_ACK_TLVS = 0x2, 0x10, 0x100, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_ERROR_TEXT, _ERROR_OFFSET = 1, 2
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_RECEIVE = 1 << 20
_SO_SNDBUFFORCE = 32
_ROOM, _SENDING_TAKES = 1 << 17, 32
"""Octets that each socket can send at once, and what the kernel takes away from its buffer for itself."""
_TAKEN_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Request:
    """One message: type, flags (REQUEST and ACK are added), body; *operation* and *target* name it in an error."""

    type: int
    flags: int
    body: bytes
    operation: str
    target: str


FAMILY = socket.AF_NETLINK
"""For who has sockets made elsewhere."""


def open_socket(protocol: int) -> socket.socket:
    """Return a bare netlink socket in the namespace of the calling thread. Only `notifications` needs it beside this module."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    opened.bind((0, 0))
    return opened


def is_of(sock: socket.socket, protocol: int) -> bool:
    """Return whether *sock* is a netlink socket of *protocol*, as `NetlinkSocket.adopted` takes."""
    return sock.family == socket.AF_NETLINK and sock.proto == protocol


class NetlinkSocket:
    """A netlink socket in the network namespace of the calling thread."""

    def __init__(self, protocol: int, opened: socket.socket | None = None) -> None:
        self._socket = opened if opened is not None else open_socket(protocol)
        self._sequence = 0
        self._room = _ROOM
        self._port: int | None = None
        self.is_broken = False
        """An answer was lost, or may still come."""
        for option in (_CAP_ACK, _EXT_ACK, *((_STRICT_CHECK,) if protocol == ROUTE else ())):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def adopted(cls, descriptor: int) -> NetlinkSocket:
        """Return the socket that another process opened, and that has *descriptor* here. What was answered to it is forgotten."""
        opened = socket.socket(fileno=descriptor)
        adopted = cls(opened.proto, opened)
        try:
            while opened.recv(_RECEIVE, socket.MSG_DONTWAIT):
                continue
        except BlockingIOError:
            return adopted
        return adopted

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The socket's address in netlink: notifications of what it changes bear it."""
        if self._port is None:
            address: tuple[int, int] = self._socket.getsockname()
            # None yet before the first message.
            self._port = address[0] & 0xFFFF_FFFF or None
        return self._port or 0

    def close(self) -> None:
        self._socket.close()

    def run(self, requests: Sequence[Request]) -> list[KernelError | None]:
        """Send *requests* as one batch; return for each the error that the kernel answered, or None."""
        if not requests:
            return []
        first = self._sequence + 1
        self._send(b"".join(self._message(request, ACK) for request in requests))
        return self._answers(requests, first)

    def execute(self, request: Request) -> None:
        """Send one request and wait for its acknowledgement; raises KernelError."""
        (error,) = self.run([request])
        if error is not None:
            raise error

    def run_transaction(self, begin: Request, requests: Sequence[Request], end: Request) -> list[KernelError | None]:
        """Send *requests* as one nfnetlink batch between *begin* and *end*; return as `run` does.

        Raises KernelError if the kernel refuses to look at the batch, or if it is too large to be sent.
        """
        opening = self._message(begin, 0)
        first = self._sequence + 1
        # What the kernel refuses it says unasked; so one acknowledgement at the end is enough.
        flags = [0] * (len(requests) - 1) + [ACK]
        octets = opening + b"".join(map(self._message, requests, flags)) + self._message(end, 0)
        self._make_room(len(octets), begin.target)
        self._send(octets)
        results: list[KernelError | None] = [None] * len(requests)
        last = self._sequence - 1
        while True:
            for type_, answer_flags, sequence, body in self._receive():
                if type_ != _NLMSG_ERROR or not first - 1 <= sequence <= last:
                    continue
                if sequence == first - 1:
                    refused = _error(body, answer_flags, begin)
                    if refused is not None:
                        raise refused
                else:
                    results[sequence - first] = _error(body, answer_flags, requests[sequence - first])
                    if sequence == last:
                        return results

    def _make_room(self, size: int, target: str) -> None:
        """Let the kernel take *size* octets at once; beyond a bound of the host that needs its root."""
        if size <= self._room:
            return
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        self._room = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _SENDING_TAKES
        if size > self._room:
            raise KernelError("send", target, errno.EMSGSIZE, f"{size} octets are more than net.core.wmem_max of the host allows")

    def _answers(self, requests: Sequence[Request], first: int) -> list[KernelError | None]:
        results: list[KernelError | None] = [None] * len(requests)
        waiting = set(range(first, first + len(requests)))
        while waiting:
            for type_, flags, sequence, body in self._receive():
                if type_ == _NLMSG_ERROR and sequence in waiting:
                    waiting.discard(sequence)
                    results[sequence - first] = _error(body, flags, requests[sequence - first])
        return results

    def get(self, request: Request) -> bytes:
        """Return the one message (header included) that answers *request*; raises KernelError."""
        self._send(self._message(request, 0))
        sequence = self._sequence
        while True:
            for type_, flags, answered, body in self._receive():
                if answered != sequence:
                    continue
                if type_ == _NLMSG_ERROR:
                    error = _error(body, flags, request)
                    raise error if error is not None else KernelError(request.operation, request.target, 0, "no answer")
                return _HEADER.pack(_HEADER.size + len(body), type_, 0, answered, 0) + body

    def dump(self, request: Request) -> list[bytes]:
        """Return all messages (header included) of a dump; one that was interrupted by a change is asked again."""
        for _ in range(limits.DUMP_RETRIES):
            result = self._dump_once(request)
            if result is not None:
                return result
        raise KernelError(request.operation, request.target, 4, "the dump was interrupted again and again")

    def _dump_once(self, request: Request) -> list[bytes] | None:
        self._send(self._message(request, DUMP))
        sequence, interrupted = self._sequence, False
        result: list[bytes] = []
        while True:
            for type_, flags, answered, body in self._receive():
                if answered != sequence:
                    continue
                interrupted |= bool(flags & _F_DUMP_INTERRUPTED)
                if type_ == _NLMSG_DONE:
                    return None if interrupted else result
                if type_ == _NLMSG_ERROR:
                    error = _error(body, flags, request)
                    if error is not None:
                        raise error
                    return result
                result.append(_HEADER.pack(_HEADER.size + len(body), type_, flags, answered, 0) + body)

    def _message(self, request: Request, flags: int) -> bytes:
        self._sequence += 1
        size = _HEADER.size + len(request.body)
        header = _HEADER.pack(size, request.type, request.flags | REQUEST | flags, self._sequence, 0)
        return header + request.body + bytes(-size % 4)

    def take(self) -> list[bytes]:
        """Return the messages (header included) that have come unasked, without waiting. What the kernel dropped is not told."""
        came: list[bytes] = []
        for _ in range(_TAKEN_AT_ONCE):
            try:
                came += messages(self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        return came

    def _send(self, octets: bytes) -> None:
        try:
            self._socket.sendall(octets)
        except OSError:
            self.is_broken = True
            raise

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        buffer = _buffer()
        try:
            size = self._socket.recv_into(buffer)
        except OSError:
            self.is_broken = True
            raise
        octets = buffer[:size]
        at = 0
        while at + _HEADER.size <= len(octets):
            size, type_, flags, sequence, _ = _HEADER.unpack_from(octets, at)
            yield type_, flags, sequence, octets[at + _HEADER.size : at + size]
            at += (size + 3) & ~3


_of_thread = threading.local()


def _buffer() -> mmap.mmap:
    """Return where the calling thread receives: memory for the largest message, of which only what is used is ever touched."""
    buffer: mmap.mmap | None = getattr(_of_thread, "buffer", None)
    if buffer is None:
        buffer = _of_thread.buffer = mmap.mmap(-1, _RECEIVE)
    return buffer


def _error(body: bytes, flags: int, request: Request) -> KernelError | None:
    code = struct.unpack_from("=i", body)[0]
    if code == 0:
        return None
    text, place = "", None
    if flags & _F_ACK_TLVS:
        echoed = struct.unpack_from("=I", body, 4)[0]
        start = 4 + (_HEADER.size if flags & _F_CAPPED else (echoed + 3) & ~3)
        said = dict(walk(body[start:]))
        text = said.get(_ERROR_TEXT, b"").rstrip(b"\0").decode()
        if _ERROR_OFFSET in said:
            place = struct.unpack("=I", said[_ERROR_OFFSET])[0] - _HEADER.size
    return KernelError(request.operation, request.target, -code, text or os.strerror(-code), place)


def messages(octets: bytes) -> Iterator[bytes]:
    """Yield each message (header included) in what was received at once."""
    at = 0
    while at + _HEADER.size <= len(octets):
        size = _HEADER.unpack_from(octets, at)[0]
        if size < _HEADER.size:
            return
        yield octets[at : at + size]
        at += (size + 3) & ~3


def message_type(message: bytes) -> int:
    """Return the type of a message (header included)."""
    type_: int = _HEADER.unpack_from(message)[1]
    return type_


def message_port(message: bytes) -> int:
    """Return the address of the netlink socket that a message (header included) is about: of a notification, who caused it."""
    port: int = _HEADER.unpack_from(message)[4]
    return port


def attr(type_: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return _ATTR.pack(4 + len(value), type_) + value + bytes(-len(value) % 4)


def nested(type_: int, *children: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attr(type_ | _NESTED, b"".join(children))


def walk(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each attribute in *octets*."""
    at = 0
    while at + 4 <= len(octets):
        size, type_ = _ATTR.unpack_from(octets, at)
        if size < 4:
            return
        yield type_ & 0x3FFF, octets[at + 4 : at + size]
        at += (size + 3) & ~3


def find(octets: bytes, *path: int) -> bytes | None:
    """Return the value of the attribute at *path* (outermost type first), or None."""
    for type_ in path:
        value = next((value for attribute, value in walk(octets) if attribute == type_), None)
        if value is None:
            return None
        octets = value
    return octets
