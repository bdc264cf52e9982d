"""Domain names as wire octets: uncompressed, lower-case, with the root label. Pure.

Length octets are at most 63 and letters begin at 65, so that `bytes.lower` folds the case of a whole name at once.

Spec: RFC 1035 sections 3.1 and 5.1; RFC 4343 (case).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from resolver.errors import BadName, DecodeError

ROOT = b"\0"
IN_ADDR_ARPA = b"\x07in-addr\x04arpa\0"
IP6_ARPA = b"\x03ip6\x04arpa\0"
_ESCAPED = frozenset(b'."();@$\\')


def from_text(text: str) -> bytes:
    """Return the lower-case wire form of *text*, with or without a final dot; BadName if it is not a domain name."""
    stripped = text.removesuffix(".")
    if not stripped:
        return ROOT
    parts = []
    for label in stripped.split("."):
        octets = label.encode("ascii", errors="replace") if label.isascii() else b""
        if not 0 < len(octets) <= 63:
            raise BadName(text, "each part must be 1 to 63 ASCII characters")
        parts.append(bytes([len(octets)]) + octets.lower())
    wire = b"".join(parts) + ROOT
    if len(wire) > 255:
        raise BadName(text, "is longer than 255 octets")
    return wire


def is_address_form(text: str) -> bool:
    """Return whether C libraries take *text* for an IPv4 address, and never ask a name server for it: 10.1, 123, 0x7f.1.

    One to four numbers, decimal, octal or hexadecimal; the last one fills the octets that are left (inet_aton(3)).
    """
    parts = text.split(".")
    numbers = [_number(part) for part in parts]
    if len(parts) > 4 or None in numbers:
        return False
    *first, last = (number for number in numbers if number is not None)
    return all(number < 256 for number in first) and last < 256 ** (5 - len(parts))


def _number(text: str) -> int | None:
    try:
        if text[:2].lower() == "0x":
            return int(text[2:], 16) if text[2:].isalnum() else None
        if not (text.isascii() and text.isdigit()):
            return None
        return int(text, 8 if text[0] == "0" else 10)
    except ValueError:
        return None


def to_text(wire: bytes) -> str:
    """Return *wire* as text with a final dot; odd octets are escaped as in a zone file."""
    labels = []
    at = 0
    while wire[at]:
        labels.append("".join(_escape(octet) for octet in wire[at + 1 : at + 1 + wire[at]]))
        at += 1 + wire[at]
    return ".".join(labels) + "."


def _escape(octet: int) -> str:
    if octet in _ESCAPED:
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"


def expand(message: bytes, at: int) -> bytes:
    """Return the name at *at* of a message without its compression, in lower case (RFC 1035 section 4.1.4).

    Raises DecodeError for one that is malformed, longer than 255 octets or that points anywhere but back.
    """
    parts: list[bytes] = []
    start = at
    try:
        while length := message[at]:
            if length <= 63:
                at += 1 + length
                if at - start > 255:
                    break
                continue
            parts.append(message[start:at])
            target = (length & 0x3F) << 8 | message[at + 1]
            if length < 0xC0 or not 12 <= target < start or len(parts) > 127:
                raise DecodeError(at, "a name does not point back")
            at = start = target
    except IndexError as error:
        raise DecodeError(at, "the name runs off the end") from error
    wire = b"".join((*parts, message[start:at], ROOT)).lower()
    if len(wire) > 255:
        raise DecodeError(at, "the name is longer than 255 octets")
    return wire


def parent(wire: bytes) -> bytes:
    """Return *wire* without its first label."""
    return wire[1 + wire[0] :] if wire[0] else wire


def is_below(name: bytes, domain: bytes) -> bool:
    """Return whether *name* is *domain* or below it, label by label."""
    if not name.endswith(domain):
        return False
    at = 0
    while len(name) - at > len(domain):
        at += 1 + name[at]
    return name[at:] == domain


def join(prefix: bytes, suffix: bytes) -> bytes:
    """Return the name *prefix* below *suffix*."""
    return prefix[:-1] + suffix


def reverse(address: IPv4Address | IPv6Address) -> bytes:
    """Return the reverse-mapping name of *address* (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if address.version == 4:
        labels = [str(octet).encode() for octet in reversed(address.packed)]
        return b"".join(bytes([len(label)]) + label for label in labels) + IN_ADDR_ARPA
    nibbles = reversed(address.packed.hex())
    return b"".join(b"\x01" + nibble.encode() for nibble in nibbles) + IP6_ARPA


def reverse_network(wire: bytes) -> IPv4Network | IPv6Network | None:
    """Return the network that a reverse-mapping name stands for, one address for a full name; None if it is not such a name."""
    if wire.endswith(IN_ADDR_ARPA):
        labels = _labels(wire[: -len(IN_ADDR_ARPA)] + ROOT)
        if len(labels) > 4 or any(not label.isdigit() or len(label) > 3 or int(label) > 255 for label in labels):
            return None
        octets = bytes(int(label) for label in reversed(labels))
        return IPv4Network((octets.ljust(4, b"\0"), 8 * len(octets)))
    if wire.endswith(IP6_ARPA):
        labels = _labels(wire[: -len(IP6_ARPA)] + ROOT)
        if len(labels) > 32 or any(len(label) != 1 or label not in b"0123456789abcdef" for label in labels):
            return None
        digits = b"".join(reversed(labels)).decode().ljust(32, "0")
        return IPv6Network((bytes.fromhex(digits), 4 * len(labels)))
    return None


def _labels(wire: bytes) -> list[bytes]:
    labels = []
    at = 0
    while wire[at]:
        labels.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return labels
