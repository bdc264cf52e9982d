"""TCP segments as values: read from packets of IPv4 and IPv6, and made into such packets. Pure.

Spec: RFC 9293 section 3.1, RFC 7323 sections 2 and 3, RFC 791 section 3.1, RFC 8200 sections 3 and 8.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netcore.internet_checksum import checksum
from netcore.model import IPAddress

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_TCP = 6
_TTL = 64
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_HEADER = struct.Struct("!HHIIBBHHH")
_MSS_KIND, _WINDOW_SCALE_KIND, _TIMESTAMPS_KIND, _END, _NO_OPERATION = 2, 3, 8, 0, 1
_TIMESTAMPS = struct.Struct("!II")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment and its ends. *length*: octets of payload when it was sent; *payload* may have fewer of a copy that was cut."""

    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int = 0xFFFF
    options: bytes = b""
    payload: bytes = b""
    length: int = 0
    traffic_class: int = 0

    @property
    def timestamps(self) -> tuple[int, int] | None:
        """(value, echoed value), if the segment has them."""
        value = _option(self.options, _TIMESTAMPS_KIND)
        return None if value is None or len(value) != _TIMESTAMPS.size else _TIMESTAMPS.unpack(value)

    @property
    def maximum_segment_size(self) -> int | None:
        """What a SYN says of the largest segment that its sender takes."""
        value = _option(self.options, _MSS_KIND)
        return None if value is None or len(value) != 2 else int.from_bytes(value, "big")

    @property
    def window_shift(self) -> int:
        """By how many bits windows are shifted that the sender of a SYN tells from then on (RFC 7323 section 2.2)."""
        value = _option(self.options, _WINDOW_SCALE_KIND)
        return min(value[0], 14) if value else 0


def _option(options: bytes, wanted: int) -> bytes | None:
    at = 0
    while at < len(options) and options[at] != _END:
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            return None
        if options[at] == wanted:
            return options[at + 2 : at + length]
        at += length
    return None


def timestamps_option(value: int, echoed: int) -> bytes:
    """Return the option, padded to four octets (RFC 7323 appendix A)."""
    return bytes([_NO_OPERATION, _NO_OPERATION, _TIMESTAMPS_KIND, 10]) + _TIMESTAMPS.pack(value & 0xFFFF_FFFF, echoed & 0xFFFF_FFFF)


def read(packet: bytes) -> Segment | None:
    """Return the segment of a packet that begins with its IP header; None for anything with IP options, extension headers or fragments."""
    version = packet[0] >> 4 if packet else 0
    source: IPAddress
    destination: IPAddress
    if version == 4 and len(packet) >= _IPV4.size:
        first, traffic_class, total, _, fragment, _, protocol, _, packed, packed_to = _IPV4.unpack_from(packet)
        if first != 0x45 or fragment & 0x3FFF or protocol != _TCP:
            return None
        source, destination, at = IPv4Address(packed), IPv4Address(packed_to), _IPV4.size
    elif version == 6 and len(packet) >= _IPV6.size:
        first, total, protocol, _, packed, packed_to = _IPV6.unpack_from(packet)
        if protocol != _TCP:
            return None
        source, destination, at = IPv6Address(packed), IPv6Address(packed_to), _IPV6.size
        traffic_class, total = first >> 20 & 0xFF, total + at
    else:
        return None
    if len(packet) < at + _HEADER.size:
        return None
    source_port, destination_port, sequence, acknowledgement, offset, flags, window, _, _ = _HEADER.unpack_from(packet, at)
    data = at + (offset >> 4) * 4
    if data < at + _HEADER.size or data > min(total, len(packet)):
        return None
    return Segment(
        source=source, destination=destination, source_port=source_port, destination_port=destination_port, sequence=sequence,
        acknowledgement=acknowledgement, flags=flags, window=window, options=packet[at + _HEADER.size : data],
        payload=packet[data : min(total, len(packet))], length=total - data, traffic_class=traffic_class,
    )  # fmt: skip


def write(segment: Segment) -> bytes:
    """Return the packet of *segment*, with a hop limit and checksums of its own. Routers may cut it (IPv4)."""
    # Without the bits of explicit congestion notification, which are between the ends and the routers.
    traffic_class = segment.traffic_class & 0xFC
    source, destination = segment.source.packed, segment.destination.packed
    offset = (_HEADER.size + len(segment.options)) // 4 << 4
    ports = segment.source_port, segment.destination_port
    numbers = segment.sequence & 0xFFFF_FFFF, segment.acknowledgement & 0xFFFF_FFFF
    header = _HEADER.pack(*ports, *numbers, offset, segment.flags, segment.window, 0, 0)
    body = header + segment.options + segment.payload
    pseudo = source + destination + struct.pack("!II", len(body), _TCP)
    body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
    if segment.source.version == 4:
        start = _IPV4.pack(0x45, traffic_class, _IPV4.size + len(body), 0, 0, _TTL, _TCP, 0, source, destination)
        return start[:10] + struct.pack("!H", checksum(start)) + start[12:] + body
    return _IPV6.pack(6 << 28 | traffic_class << 20, len(body), _TCP, _TTL, source, destination) + body


def distance(start: int, sequence: int) -> int:
    """Return how far *sequence* is behind *start*, negative if it is before it (RFC 9293 section 3.4)."""
    ahead = (sequence - start) & 0xFFFF_FFFF
    return ahead - (1 << 32) if ahead & 0x8000_0000 else ahead
