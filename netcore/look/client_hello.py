"""The server name of a TLS ClientHello, read as it comes in. Pure.

Stricter than servers are: whatever two of them could read in two ways is refused. With Encrypted Client Hello the name is that
of the outer hello, the only one that is visible.

Spec: RFC 8446 sections 4.1.2, 4.2 and 5.1; RFC 6066 section 3.
"""

from __future__ import annotations

from netcore import limits
from netcore.look.findings import NEED_MORE, Finding, Name, Protocol, Refused
from netcore.look.host_names import BadName, read_name

HANDSHAKE = 22
"""Content type of the record that a connection begins with."""

RECORD_TYPES = range(20, 25)
"""Content types: change_cipher_spec, alert, handshake, application_data, heartbeat."""

_CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 1, 0, 0
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_RECORD_LENGTH = 1 << 14
_VERSION_AND_RANDOM, _SESSION_ID = 34, 32
_MAJOR_VERSION, _MINOR_VERSIONS = 3, range(5)


class _Malformed(ValueError):
    """The text is a clause that says what is wrong."""


class ClientHelloReader:
    """Takes the octets of a connection in the order of the stream, in pieces of any size."""

    __slots__ = ("_message", "_raw")

    def __init__(self) -> None:
        self._raw = bytearray()
        """Octets of a record that is not complete, or whose header is not."""
        self._message = bytearray()

    def feed(self, octets: bytes) -> Finding:
        """Return what is known with *octets* too. After anything but NeedMore the reader is spent."""
        self._raw += octets
        try:
            return self._read()
        except _Malformed as malformed:
            return Refused(Protocol.TLS, str(malformed))

    def _read(self) -> Finding:
        at = 0
        while len(self._raw) - at >= _RECORD_HEADER:
            length = self._record_length(at)
            body = at + _RECORD_HEADER
            if len(self._raw) < body + length:
                break
            self._message += self._raw[body : body + length]
            at = body + length
            if (size := self._message_size()) is not None and len(self._message) >= size:
                if len(self._message) > size:
                    raise _Malformed("the ClientHello is followed by something else in its record")
                return _server_name(bytes(self._message[_MESSAGE_HEADER:]))
        else:
            self._check_start(at)
        del self._raw[:at]
        return NEED_MORE

    def _check_start(self, at: int) -> None:
        """Refuse a record by the part of its header that has come."""
        if len(self._raw) > at and self._raw[at] != HANDSHAKE:
            raise _Malformed("what comes is not a ClientHello")
        if len(self._raw) > at + 1 and self._raw[at + 1] != _MAJOR_VERSION:
            raise _Malformed("the record is of an unknown version")

    def _record_length(self, at: int) -> int:
        self._check_start(at)
        if self._raw[at + 2] not in _MINOR_VERSIONS:
            raise _Malformed("the record is of an unknown version")
        length = int.from_bytes(self._raw[at + 3 : at + 5], "big")
        if not 0 < length <= _RECORD_LENGTH:
            raise _Malformed("a record is empty or too long")
        return length

    def _message_size(self) -> int | None:
        """Return the length of the message with its header, None while that is not known."""
        if self._message[0] != _CLIENT_HELLO:
            raise _Malformed("the first message is not a ClientHello")
        if len(self._message) < _MESSAGE_HEADER:
            return None
        size = _MESSAGE_HEADER + int.from_bytes(self._message[1:_MESSAGE_HEADER], "big")
        if size > limits.FIRST_DATA:
            raise _Malformed(f"the ClientHello has more than {limits.FIRST_DATA} octets")
        return size


class _Fields:
    """Reads fields one after the other; *what* names where they are in a refusal."""

    __slots__ = ("_at", "_octets", "_what")

    def __init__(self, octets: bytes, what: str) -> None:
        self._octets = octets
        self._at = 0
        self._what = what

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._octets):
            raise _Malformed(f"{self._what} ends too early")
        taken = self._octets[self._at : end]
        self._at = end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        """Return what follows its own length, which has *width* octets."""
        return self.take(self.number(width))

    def is_over(self) -> bool:
        return self._at == len(self._octets)


def _server_name(body: bytes) -> Finding:
    hello = _Fields(body, "the ClientHello")
    hello.take(_VERSION_AND_RANDOM)
    if len(hello.vector(1)) > _SESSION_ID:
        raise _Malformed("the session identifier is too long")
    ciphers = hello.vector(2)
    if not ciphers or len(ciphers) % 2 or not hello.vector(1):
        raise _Malformed("the lists of ciphers and compressions are not well formed")
    if hello.is_over():
        raise _Malformed("the ClientHello names no server")
    extensions = _Fields(hello.vector(2), "the list of extensions")
    if not hello.is_over():
        raise _Malformed("something follows the extensions")
    found: dict[int, bytes] = {}
    while not extensions.is_over():
        kind, value = extensions.number(2), extensions.vector(2)
        if kind in found:
            raise _Malformed(f"extension {kind} is there twice")
        found[kind] = value
    if _SERVER_NAME not in found:
        raise _Malformed("the ClientHello names no server")
    return _read_extension(found[_SERVER_NAME])


def _read_extension(value: bytes) -> Finding:
    extension = _Fields(value, "the server name")
    names = _Fields(extension.vector(2), "the server name")
    if not extension.is_over():
        raise _Malformed("something follows the server name")
    kind, octets = names.number(1), names.vector(2)
    if not names.is_over():
        raise _Malformed("the ClientHello names several servers")
    if kind != _HOST_NAME:
        raise _Malformed("the server name is of an unknown type")
    try:
        return Name(read_name(octets), Protocol.TLS)
    except BadName as bad:
        raise _Malformed(f"the server name {bad}") from None
