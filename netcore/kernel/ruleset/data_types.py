"""The data types of nftables that we use: their numbers, their lengths, and how a value is written in octets. Pure.

Spec: nft(8), DATA TYPES; the numbers are libnftables' (include/datatype.h): `nft list` shows a set by them.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from netcore.parse.mac import octets

NO_ORDER, HOST_ORDER, BIG_ENDIAN = 0, 1, 2
"""How `nft list` reads a number back."""

_BITS = 6
"""Of the number of a data type; that of several fields is made of theirs."""


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type. *encode*: a value → *length* octets. *read*: a word of a text → a value. *flags*: its values are bits."""

    number: int
    length: int
    order: int
    encode: Callable[[Any], bytes]
    read: Callable[[str], Any]
    flags: bool = False

    def octets(self, word: str) -> bytes:
        """Return what *word* stands for; raises ValueError or KeyError if it is no value of this type."""
        return self.encode(self.read(word))


def _number(number: int, length: int, order: int, words: Mapping[str, int] | None = None, *, flags: bool = False) -> DataType:
    """Return a type of numbers of *length* octets, which may have *words*."""
    known = dict(words or {})
    octets = sys.byteorder if order == HOST_ORDER else "big"

    def read(word: str) -> int:
        return known[word] if word in known else int(word, 0)

    def encode(value: int | str) -> bytes:
        return (read(value) if isinstance(value, str) else value).to_bytes(length, octets)

    return DataType(number, length, order, encode, read, flags)


def integer(length: int, order: int = BIG_ENDIAN) -> DataType:
    """Return the type of plain numbers of *length* octets."""
    return _number(4, length, order)


_SERVICE = struct.Struct("!H")
_PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
_ICMP = {"echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "router-advertisement": 9, "time-exceeded": 11}
_ICMPV6 = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "echo-request": 128,
    "echo-reply": 129,
    "mld-listener-query": 130,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
}
_TCP_FLAGS = {"fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20}

_NAME_LENGTH = 16


def _link_name(word: str) -> str:
    name = word.strip('"')
    if "*" in name or len(name) >= _NAME_LENGTH:
        raise ValueError(f"{word} is not the whole name of a link")
    return name


TYPES: Mapping[str, DataType] = {
    "verdict": DataType(0xFFFF_FF00, 0, NO_ORDER, lambda _: b"", lambda word: word),
    "nf_proto": _number(2, 1, NO_ORDER, {"ipv4": 2, "ipv6": 10}),
    "ipv4_addr": DataType(7, 4, BIG_ENDIAN, lambda value: value.packed, IPv4Address),
    "ipv6_addr": DataType(8, 16, BIG_ENDIAN, lambda value: value.packed, IPv6Address),
    # The address of a link, and an IPv6 address, at a place that nothing says to be one.
    "payload48": DataType(4, 6, BIG_ENDIAN, octets, str),
    "payload128": DataType(4, 16, BIG_ENDIAN, lambda value: value.packed, lambda word: IPv6Address(int(word, 0))),
    "ether_addr": DataType(9, 6, BIG_ENDIAN, octets, str),
    "ether_type": _number(10, 2, BIG_ENDIAN, {"ip": 0x0800, "arp": 0x0806, "8021q": 0x8100, "ip6": 0x86DD, "8021ad": 0x88A8}),
    "inet_proto": _number(12, 1, BIG_ENDIAN, _PROTOCOLS),
    "inet_service": DataType(13, 2, BIG_ENDIAN, _SERVICE.pack, int),
    "icmp_type": _number(14, 1, BIG_ENDIAN, _ICMP),
    "icmpv6_type": _number(29, 1, BIG_ENDIAN, _ICMPV6),
    "igmp_type": _number(42, 1, BIG_ENDIAN, {"membership-query": 0x11}),
    "tcp_flag": _number(15, 1, BIG_ENDIAN, _TCP_FLAGS, flags=True),
    "mark": _number(19, 4, HOST_ORDER),
    "pkt_type": _number(31, 1, HOST_ORDER, {"unicast": 0, "host": 0, "broadcast": 1, "multicast": 2, "other": 3}),
    "iface_type": _number(21, 2, HOST_ORDER, {"ether": 1}),
    "ct_state": _number(26, 4, HOST_ORDER, {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}, flags=True),
    "ct_dir": _number(27, 1, HOST_ORDER, {"original": 0, "reply": 1}),
    "ct_status": _number(28, 4, HOST_ORDER, {"assured": 4, "confirmed": 8, "snat": 0x10, "dnat": 0x20}, flags=True),
    "fib_addrtype": _number(38, 4, HOST_ORDER, {"unicast": 1, "local": 2, "broadcast": 3, "multicast": 5}),
    "boolean": _number(39, 1, HOST_ORDER, {"missing": 0, "exists": 1}),
    "ifname": DataType(41, _NAME_LENGTH, HOST_ORDER, lambda value: value.encode().ljust(_NAME_LENGTH, b"\0"), _link_name),
}
"""By the names of nft(8), as far as it has one."""

_PADDING = (b"", bytes(3), bytes(2), bytes(1))
# A range of a thousand ports is encoded in one go: a table, not a chain of comparisons for each field.
_ENCODERS = {name: data_type.encode for name, data_type in TYPES.items()}


def encode_fields(types: Sequence[str], fields: Sequence[Any]) -> bytes:
    """Return a key or datum of a set with *types*: each field padded to four octets if there are several."""
    return joined([_ENCODERS[kind](value) for kind, value in zip(types, fields, strict=True)])


def joined(parts: Sequence[bytes]) -> bytes:
    """Return the octets of all fields of a key or datum."""
    if len(parts) == 1:
        return parts[0]
    return b"".join([part + _PADDING[len(part) & 3] for part in parts])


def number_of(types: Sequence[DataType]) -> int:
    """Return the number that stands for all *types* of a key or datum."""
    number = 0
    for data_type in types:
        number = number << _BITS | data_type.number
    return number


def length_of(types: Sequence[DataType]) -> int:
    """Return the length of a key or datum in octets."""
    if len(types) == 1:
        return types[0].length
    return sum(data_type.length + 3 & ~3 for data_type in types)
