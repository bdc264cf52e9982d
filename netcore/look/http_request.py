"""The host that an HTTP/1 request asks for, read as it comes in. Pure.

Stricter than servers are: whatever two of them could read in two ways is refused.

Spec: RFC 9112 sections 2, 3 and 5; RFC 9110 sections 5.5, 5.6.2 and 7.2; RFC 9113 section 3.4.
"""

from __future__ import annotations

import re

from netcore.look.findings import NEED_MORE, NO_NAME, Finding, Name, Protocol, Refused
from netcore.look.host_names import BadName, read_name

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOKEN_CHARACTERS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI")
"""RFC 9110 section 9, RFC 5789, RFC 9113 section 3.4."""
_CR = 13
_LONGEST_METHOD = max(map(len, _METHODS))
_TARGET_STARTS = (b"/", b"*", b"HTTP:", b"HTTPS:")
_BLANKS = b" \t\r\n"
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REQUEST_LINE = re.compile(rb"([^ ]+) ([^ ]+) (HTTP/[0-9.]+)")
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(?:[/?#].*)?", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_PORT = re.compile(rb"[0-9]{0,5}")


class _Malformed(ValueError):
    """The text is a clause that says what is wrong."""


class HttpRequestReader:
    """Takes the octets of a connection in the order of the stream, in pieces of any size."""

    __slots__ = ("_end", "_hosts", "_is_late", "_is_word_over", "_lengths", "_looked", "_octets", "_target", "_word", "body", "rest")

    def __init__(self) -> None:
        self._octets = bytearray()
        """What follows the last line that was read."""
        self._looked = 0
        """Octets of it in which there is no end of a line."""
        self._end: bytes | None = None
        """What each line ends with, once the first has."""
        self._word = bytearray()
        """What the first line begins with, up to a blank."""
        self._is_word_over = False
        self._is_late = False
        """Blanks or empty lines come before the first line."""
        self._target: bytes | None = None
        """The host in the request line, if there is one."""
        self._hosts: list[bytes] = []
        self._lengths: list[tuple[bytes, bytes]] = []
        """Headers that say how long the body is."""
        self.body: int | None = 0
        """Octets of the body, None: it comes in chunks. Of a request that is read."""
        self.rest = b""
        """What follows the headers."""

    def feed(self, octets: bytes) -> Finding:
        """Return what is known with *octets* too. After anything but NeedMore the reader is spent."""
        if self._end is None:
            if not self._octets:
                stripped = octets.lstrip(_BLANKS)
                self._is_late |= len(stripped) < len(octets)
                octets = stripped
            if not self._may_be_request(octets.partition(b"\n")[0]):
                return NO_NAME
        self._octets += octets
        try:
            return self._read()
        except _Malformed as malformed:
            return Refused(Protocol.HTTP, str(malformed))

    def _may_be_request(self, octets: bytes) -> bool:
        """Return whether the first line may still be a request line, now that *octets* follow in it."""
        if not self._is_word_over:
            length = len((_TOKEN_CHARACTERS.match(octets) or [b""])[0])
            self._word += octets[:length]
            octets = octets[length:]
            if not octets:
                return True
            if octets[:1] not in (b" ", b"\t"):
                return False
            self._is_word_over = True
        return self._begins_with_method() or not _CONTROL.search(octets)

    def _begins_with_method(self) -> bool:
        return len(self._word) <= _LONGEST_METHOD and self._word.upper() in _METHODS

    def _is_request(self, line: bytes) -> bool:
        """Return whether the first line is meant for an HTTP server, well formed or not, be it of HTTP/0.9."""
        upper = line.upper()
        target = upper[len(self._word) :].lstrip(b" \t")
        return b"HTTP/" in upper or (self._begins_with_method() and target.startswith(_TARGET_STARTS))

    def _read(self) -> Finding:
        start = 0
        while (end := self._octets.find(b"\n", max(start, self._looked))) >= 0:
            line = self._line(bytes(self._octets[start : end + 1]))
            if self._end is None:
                if not self._is_request(line):
                    return NO_NAME
                if self._is_late:
                    raise _Malformed("something blank comes before the request")
                self._end = b"\r\n" if self._octets[max(end - 1, 0)] == _CR else b"\n"
                self._target = _host_of_request_line(line)
            elif not line:
                self.rest = bytes(self._octets[end + 1 :])
                return self._found()
            else:
                self._header(line)
            start = end + 1
        del self._octets[:start]
        self._looked = len(self._octets)
        return NEED_MORE

    def _line(self, octets: bytes) -> bytes:
        """Return a line without its end."""
        line, end = (octets[:-2], b"\r\n") if octets.endswith(b"\r\n") else (octets[:-1], b"\n")
        if self._end is None:
            return line
        if end != self._end:
            raise _Malformed("some lines end with CR LF and others with LF")
        if b"\r" in line or _CONTROL.search(line):
            raise _Malformed("a header has a control character")
        return line

    def _header(self, line: bytes) -> None:
        if line[:1] in (b" ", b"\t"):
            raise _Malformed("a header goes on in a second line")
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise _Malformed("a header has no name, or something between its name and the colon")
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._lengths.append((name.lower(), value.strip(b" \t")))
        if name.lower() == b"host":
            self._hosts.append(value.strip(b" \t"))
            if len(self._hosts) > 1:
                raise _Malformed("there are several Host headers")

    def _found(self) -> Finding:
        if not self._hosts:
            raise _Malformed("there is no Host header")
        name = _host(self._hosts[0], "the Host header")
        if self._target is not None and _host(self._target, "the request line") != name:
            raise _Malformed("the request line and the Host header name different servers")
        self.body = self._length()
        return Name(name, Protocol.HTTP)

    def _length(self) -> int | None:
        """Return how many octets the body has, None if it comes in chunks (RFC 9112 section 6)."""
        match self._lengths:
            case []:
                return 0
            case [(b"content-length", value)] if _LENGTH.fullmatch(value):
                return int(value)
            case [(b"transfer-encoding", value)] if value.lower() == b"chunked":
                return None
        raise _Malformed("it is not clear how long the body is")


def _host_of_request_line(line: bytes) -> bytes | None:
    """Return the authority of a request in absolute form, None for one in origin form."""
    if line == b"PRI * HTTP/2.0":
        raise _Malformed("it is HTTP/2 without TLS, whose names are not looked at; use TLS or HTTP/1.1")
    parts = _REQUEST_LINE.fullmatch(line)
    if b"\r" in line or _CONTROL.search(line) or parts is None:
        raise _Malformed("the request line is not well formed")
    method, target, version = parts.groups()
    if version not in _VERSIONS or not _TOKEN.fullmatch(method):
        raise _Malformed("the request line is not of HTTP/1.0 or HTTP/1.1")
    if b"#" in target:
        raise _Malformed("the request line has a fragment")
    if method.upper() == b"CONNECT":
        raise _Malformed("CONNECT asks for a tunnel to somewhere else")
    if target.startswith(b"/") or target == b"*":
        return None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise _Malformed("the request line names no path and no http or https address")
    # Some look for the user name before they look where the host ends.
    if b"@" in target.split(b"/")[2]:
        raise _Malformed("the request line has a user name")
    return absolute[1]


def _host(authority: bytes, where: str) -> str:
    """Return the name in `host[:port]`."""
    if b"@" in authority:
        raise _Malformed(f"{where} has a user name")
    host, _, port = authority.partition(b":")
    if b":" in port or b"[" in authority:
        raise _Malformed(f"{where} is an address")
    if not _PORT.fullmatch(port):
        raise _Malformed(f"{where} has a port that is no number")
    try:
        return read_name(host)
    except BadName as bad:
        raise _Malformed(f"{where} {bad}") from None
