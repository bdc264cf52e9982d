"""What was allowed and perhaps not opened yet, as fixed records: a daemon that is killed in between leaves them to the next one. Pure.

A record says which connection (its ends and the connection mark that it had), where its injected data end, and which mark it is to get.
Of a connection of HTTP that is followed, whose mark stays, it says what of a body comes there instead: where its next request begins.
"""

from __future__ import annotations

import struct
import zlib
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from netcore.look.steps import Decide, FlowKey
from netcore.model import IPAddress

_RECORD = struct.Struct("!BHH16s16sIIIQB")
_CHECK = struct.Struct("!I")
RECORD_LENGTH = 64


class Decided(NamedTuple):
    """The sequence number behind what was injected, and the mark that the connection gets; 0: it is followed on from there.

    *left*: octets of a body, or of a chunk if *in_chunks*, that follow.
    """

    end: int
    mark: int
    left: int = 0
    in_chunks: bool = False


def encode(step: Decide) -> bytes:
    """Return the record of one decision."""
    key = step.key
    numbers = step.held, step.end & 0xFFFF_FFFF, step.mark, step.left, step.in_chunks
    record = _RECORD.pack(
        key.client.version, key.client_port, key.server_port, _padded(key.client), _padded(key.server), *numbers
    )  # fmt: skip
    return (record + _CHECK.pack(zlib.crc32(record))).ljust(RECORD_LENGTH, b"\0")


def decode(record: bytes) -> tuple[FlowKey, int, Decided] | None:
    """Return the ends of a connection, its held mark, and what was decided; None if it is no whole record."""
    if len(record) != RECORD_LENGTH or _CHECK.unpack_from(record, _RECORD.size) != (zlib.crc32(record[: _RECORD.size]),):
        return None
    version, client_port, server_port, client, server, held, end, mark, left, in_chunks = _RECORD.unpack_from(record)
    if version not in (4, 6):
        return None
    key = FlowKey(_address(version, client), client_port, _address(version, server), server_port)
    return key, held, Decided(end, mark, left, bool(in_chunks))


def _padded(address: IPAddress) -> bytes:
    return address.packed.ljust(16, b"\0")


def _address(version: int, octets: bytes) -> IPAddress:
    return IPv4Address(octets[:4]) if version == 4 else IPv6Address(octets)
