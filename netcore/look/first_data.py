"""Which server the first data of a connection ask for: they are recognised by what they are, not by the port. Pure."""

from __future__ import annotations

from netcore import limits
from netcore.look.client_hello import HANDSHAKE, RECORD_TYPES, ClientHelloReader
from netcore.look.findings import NEED_MORE, Finding, NeedMore, Protocol, Refused
from netcore.look.http_request import HttpRequestReader

_MAJOR_VERSION = 3
_SSL2_HELLO = 1


class FirstDataReader:
    """Takes the octets of a connection in the order of the stream, in pieces of any size; linear in their number."""

    __slots__ = ("_length", "_reader", "_start", "finding")

    def __init__(self) -> None:
        self._reader: ClientHelloReader | HttpRequestReader | None = None
        self._start = b""
        """What came before it was clear which reader takes it."""
        self._length = 0
        self.finding: Finding = NEED_MORE

    def feed(self, octets: bytes) -> Finding:
        """Return what is known with *octets* too. Once it is known, more octets don't change it."""
        if not isinstance(self.finding, NeedMore):
            return self.finding
        self._length += len(octets)
        self.finding = self._read(octets)
        if isinstance(self.finding, NeedMore) and self._length >= limits.FIRST_DATA:
            self.finding = Refused(self.protocol, f"its first {limits.FIRST_DATA} octets name no server")
        return self.finding

    @property
    def protocol(self) -> Protocol:
        """What it looks like so far."""
        match self._reader:
            case ClientHelloReader():
                return Protocol.TLS
            case HttpRequestReader():
                return Protocol.HTTP
            case None:
                return Protocol.OTHER

    def _read(self, octets: bytes) -> Finding:
        if self._reader is not None:
            return self._reader.feed(octets)
        self._start += octets
        match self._start[0] if self._start else None:
            case None:
                return NEED_MORE
            case first if first in RECORD_TYPES:
                if len(self._start) == 1:
                    return NEED_MORE
                if self._start[1] != _MAJOR_VERSION:
                    return self._hand_over(HttpRequestReader())
                if first != HANDSHAKE:
                    return Refused(Protocol.TLS, "it is TLS that begins without a ClientHello")
                return self._hand_over(ClientHelloReader())
            case first if first & 0x80:
                return self._read_ssl2()
            case _:
                return self._hand_over(HttpRequestReader())

    def _hand_over(self, reader: ClientHelloReader | HttpRequestReader) -> Finding:
        self._reader = reader
        octets, self._start = self._start, b""
        return reader.feed(octets)

    def _read_ssl2(self) -> Finding:
        """Refuse a hello in the form of SSL 2.0, which some servers still take, and which names no server (RFC 5246 appendix E.2)."""
        kind, version = self._start[2:3], self._start[3:5]
        if (not kind and len(self._start) < 3) or (kind == bytes([_SSL2_HELLO]) and len(version) < 2):
            return NEED_MORE
        if kind == bytes([_SSL2_HELLO]) and (version[0] == _MAJOR_VERSION or version == b"\0\2"):
            return Refused(Protocol.TLS, "its ClientHello is in the form of SSL 2.0, which names no server")
        return self._hand_over(HttpRequestReader())
