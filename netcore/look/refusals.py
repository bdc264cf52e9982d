"""What a client is told whose connection is refused, in the words of its own protocol. Pure.

Spec: RFC 8446 sections 5.1 and 6 (alert access_denied), RFC 9110 section 15.5.4 (403), RFC 9112 section 9.6 (Connection: close).
"""

from __future__ import annotations

from netcore.look.findings import Protocol

_ALERT = bytes([21, 3, 3, 0, 2, 2, 49])
"""A record with a fatal alert access_denied; every version takes this number in a record."""


def answer(protocol: Protocol, sentence: str) -> bytes:
    """Return the octets that come before the end of the connection; nothing where the protocol is not known."""
    match protocol:
        case Protocol.TLS:
            return _ALERT
        case Protocol.HTTP:
            body = f"{sentence}\n".encode()
            lines = (
                "HTTP/1.1 403 Forbidden",
                "Content-Type: text/plain; charset=utf-8",
                f"Content-Length: {len(body)}",
                "Connection: close",
            )
            return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body
        case Protocol.OTHER:
            return b""
