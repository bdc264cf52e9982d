"""ClientHellos built by hand, right ones and odd ones (RFC 8446 section 4.1.2, RFC 6066 section 3)."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterable


def vector(width: int, octets: bytes) -> bytes:
    """Return *octets* behind their length."""
    return len(octets).to_bytes(width, "big") + octets


def extension(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, value)


def server_names(*names: bytes, kind: int = 0) -> bytes:
    """Return the extension server_name."""
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def padding(length: int) -> bytes:
    return extension(21, bytes(length))


GREASE = extension(0x1A1A, b"\0")
VERSIONS = extension(43, vector(1, b"\x03\x04\x03\x03"))
OUTER_ECH = extension(0xFE0D, b"\0" + b"\0\1\0\1" + b"\7" + vector(2, bytes(32)) + vector(2, bytes(64)))


def body(
    extensions: Iterable[bytes] | None, *, ciphers: bytes = b"\x13\x01\xc0\x2f", session: bytes = bytes(32), after: bytes = b""
) -> bytes:
    """Return a ClientHello without its header; *extensions* None: of a time before there were any."""
    start = b"\3\3" + bytes(range(32)) + vector(1, session) + vector(2, ciphers) + b"\1\0"
    return start + (b"" if extensions is None else vector(2, b"".join(extensions))) + after


def message(content: bytes, *, kind: int = 1, length: int | None = None) -> bytes:
    return bytes([kind]) + (len(content) if length is None else length).to_bytes(3, "big") + content


def records(octets: bytes, size: int = 1 << 14, *, kind: int = 22, version: bytes = b"\3\1") -> bytes:
    """Return *octets* in records of at most *size*."""
    parts = [octets[at : at + size] for at in range(0, len(octets), size)]
    return b"".join(bytes([kind]) + version + vector(2, part) for part in parts)


def hello(name: bytes = b"packages.example.org", *more: bytes, size: int = 1 << 14) -> bytes:
    """Return a ClientHello as it goes over the wire."""
    return records(message(body([GREASE, server_names(name), VERSIONS, *more])), size)


def from_library(name: str | None, *, protocols: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    """Return the ClientHello that the TLS library of the interpreter sends."""
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    context.set_alpn_protocols(list(protocols))
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(received, sent, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def seen_by_library(octets: bytes) -> str | None:
    """Return the server name that a TLS server of the interpreter's library reads in *octets*, None if it reads none.

    What it refuses has no name, as far as anybody is served.
    """
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: seen.append(name) or ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE  # type: ignore[func-returns-value]
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    received.write(octets)
    connection = context.wrap_bio(received, sent, server_side=True)
    # A name that is not ASCII never reaches the callback: the module says so there.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        connection.do_handshake()
    except ssl.SSLError:
        pass
    finally:
        sys.unraisablehook = hook
    return seen[0] if seen else None
