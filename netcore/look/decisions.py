"""What was allowed and perhaps not opened yet, as fixed records: a daemon that is killed in between leaves them to the next one. Pure.

A record says which connection (its ends and the connection mark that it had), where its injected data end, and which mark it is to get.
"""

from __future__ import annotations

import struct
import zlib
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from netcore.look.steps import Decide, FlowKey
from netcore.model import IPAddress

_RECORD = struct.Struct("!BHH16s16sIII")
_CHECK = struct.Struct("!I")
RECORD_LENGTH = 64


class Decided(NamedTuple):
    """The sequence number behind what was injected, and the mark that the connection gets."""

    end: int
    mark: int


def encode(step: Decide) -> bytes:
    """Return the record of one decision."""
    key = step.key
    numbers = step.held, step.end & 0xFFFF_FFFF, step.mark
    record = _RECORD.pack(
        key.client.version, key.client_port, key.server_port, _padded(key.client), _padded(key.server), *numbers
    )  # fmt: skip
    return (record + _CHECK.pack(zlib.crc32(record))).ljust(RECORD_LENGTH, b"\0")


def decode(octets: bytes) -> dict[FlowKey, dict[int, Decided]]:
    """Return what all whole records say, by the ends of connections and their held mark."""
    found: dict[FlowKey, dict[int, Decided]] = {}
    for at in range(0, len(octets) - RECORD_LENGTH + 1, RECORD_LENGTH):
        record = octets[at : at + _RECORD.size]
        (check,) = _CHECK.unpack_from(octets, at + _RECORD.size)
        version, client_port, server_port, client, server, held, end, mark = _RECORD.unpack(record)
        if version in (4, 6) and check == zlib.crc32(record):
            key = FlowKey(_address(version, client), client_port, _address(version, server), server_port)
            found.setdefault(key, {})[held] = Decided(end, mark)
    return found


def _padded(address: IPAddress) -> bytes:
    return address.packed.ljust(16, b"\0")


def _address(version: int, octets: bytes) -> IPAddress:
    return IPv4Address(octets[:4]) if version == 4 else IPv6Address(octets)
