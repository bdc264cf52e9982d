"""All requests of one HTTP/1 connection, as they come in: each must name a server that is allowed. Pure.

Where one request ends and the next begins is read as strictly as the rest: whatever two servers could read in two ways is refused.

Spec: RFC 9112 sections 6, 7.1 and 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from netcore import limits
from netcore.look.findings import Finding, Name, NeedMore, NoName, Protocol, Refused
from netcore.look.http_request import HttpRequestReader

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\x20-\x7e]*)?\r\n")
_TRAILER = re.compile(rb"[\x20-\x7e\x80-\xff]*\r\n")


class _Part(Enum):
    """What comes next."""

    REQUEST = "request line and headers"
    BODY = "body of known length, or a chunk of it"
    CHUNK_END = "end of a chunk"
    CHUNK_SIZE = "size of a chunk"
    TRAILER = "trailers"


class HttpRequests:
    """Takes the octets of a connection in the order of the stream. *cleared*: how many of them may be sent, if the names may.

    *left*, *in_chunks*: where it goes on, see `place`.
    """

    __slots__ = ("_count", "_in_chunks", "_left", "_line", "_part", "_reader", "cleared", "count")

    def __init__(self, left: int = 0, *, in_chunks: bool = False) -> None:
        self.cleared = 0
        self.count = 0
        """Requests whose names were told."""
        self._count = 0
        self._part = _Part.BODY if left else _Part.CHUNK_END if in_chunks else _Part.REQUEST
        self._reader = HttpRequestReader()
        self._left = left
        """Octets of the body or chunk that have not come."""
        self._in_chunks = in_chunks
        self._line = b""

    @property
    def is_between(self) -> bool:
        """Whether all octets that have come are of whole requests."""
        return self._part is _Part.REQUEST and self.cleared == self._count

    @property
    def place(self) -> tuple[int, bool] | None:
        """What follows the octets that are cleared, so that somebody else can go on: the octets left of a body, or of a chunk (True).

        None: it is the middle of a line between chunks.
        """
        match self._part:
            case _Part.REQUEST:
                return 0, False
            case _Part.BODY:
                return self._left, self._in_chunks
            case _Part.CHUNK_END if not self._line:
                return 0, True
            case _:
                return None

    def feed(self, octets: bytes) -> Iterator[Finding]:
        """Yield the name of each request that begins in *octets*, or why the connection is refused: nothing counts behind that."""
        self._count += len(octets)
        while octets:
            match self._part:
                case _Part.REQUEST:
                    finding = self._reader.feed(octets)
                    if isinstance(finding, NeedMore):
                        if self._count - self.cleared >= limits.FIRST_DATA:
                            yield Refused(Protocol.HTTP, f"the headers of a request have more than {limits.FIRST_DATA} octets")
                        return
                    if not isinstance(finding, Name):
                        yield finding if isinstance(finding, Refused) else _not_http(finding)
                        return
                    self.count += 1
                    yield finding
                    octets = self._end_headers()
                case _Part.BODY:
                    octets = self._body(octets)
                case _:
                    rest = self._read_line(octets)
                    if rest is None:
                        yield Refused(Protocol.HTTP, "the chunks of its body are not well formed")
                        return
                    octets = rest
            if self._part is not _Part.REQUEST or not octets:
                self.cleared = self._count - len(octets)

    def _end_headers(self) -> bytes:
        rest, body = self._reader.rest, self._reader.body
        self._reader = HttpRequestReader()
        self._in_chunks = body is None
        self._left = body or 0
        self._part = _Part.CHUNK_SIZE if body is None else _Part.BODY if body else _Part.REQUEST
        self.cleared = self._count - len(rest)
        return rest

    def _body(self, octets: bytes) -> bytes:
        taken = min(self._left, len(octets))
        self._left -= taken
        if not self._left:
            self._part = _Part.CHUNK_END if self._in_chunks else _Part.REQUEST
        self.cleared = self._count - (len(octets) - taken)
        return octets[taken:]

    def _read_line(self, octets: bytes) -> bytes | None:
        """Read a line of a body in chunks; return what follows, None if it is not well formed."""
        line, end, rest = octets.partition(b"\n")
        self._line += line + end
        if len(self._line) > limits.CHUNK_LINE:
            return None
        if not end:
            return b""
        whole, self._line = self._line, b""
        match self._part:
            case _Part.CHUNK_END:
                self._part = _Part.CHUNK_SIZE
                return rest if whole == b"\r\n" else None
            case _Part.CHUNK_SIZE:
                size = _SIZE.fullmatch(whole)
                if size is None:
                    return None
                self._left = int(size[1], 16)
                self._part = _Part.BODY if self._left else _Part.TRAILER
                return rest
            case _:
                if not _TRAILER.fullmatch(whole):
                    return None
                if whole == b"\r\n":
                    self._part = _Part.REQUEST
                    self.cleared = self._count - len(rest)
                return rest


def _not_http(_: Finding | NoName) -> Refused:
    return Refused(Protocol.HTTP, "what follows a request is not another one of HTTP/1")
