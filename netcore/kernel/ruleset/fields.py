"""What of a packet rules compare: `ip saddr`, `meta mark`, `ct state`, … Each is one row. Pure.

Spec: nft(8), PRIMARY and PAYLOAD EXPRESSIONS; Linux include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from netcore.kernel.ruleset import expressions
from netcore.kernel.ruleset.data_types import BIG_ENDIAN, HOST_ORDER, TYPES, DataType, integer
from netcore.kernel.ruleset.expressions import LINK, NETWORK, TRANSPORT


@dataclass(frozen=True, slots=True)
class Meta:
    """What the kernel knows of a packet beside its octets. *key*: `NFT_META_`."""

    key: int


@dataclass(frozen=True, slots=True)
class Conntrack:
    """What connection tracking knows of it. *key*: `NFT_CT_`."""

    key: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where it goes next. *key*: `NFT_RT_`."""

    key: int


@dataclass(frozen=True, slots=True)
class Payload:
    """Octets of a packet. *listed*: libnftables' numbers of the header and the field.

    *checksum*: the offset of what covers them, 0: nothing does, None: not known here.
    """

    base: int
    offset: int
    length: int
    listed: tuple[int, int] = (0, 0)
    checksum: int | None = None


@dataclass(frozen=True, slots=True)
class Extension:
    """Octets of an IPv6 extension header or an IPv4 option. *presence*: whether it is there."""

    header: int
    offset: int
    length: int
    presence: bool = False
    ipv4_option: bool = False


@dataclass(frozen=True, slots=True)
class RoutingLookUp:
    """What routing says of an address."""

    flags: int
    result: int


@dataclass(frozen=True, slots=True)
class LocalSocket:
    """The socket that will get it. *key*: `NFT_SOCKET_`."""

    key: int


Source = Meta | Conntrack | Route | Payload | Extension | RoutingLookUp | LocalSocket


@dataclass(frozen=True, slots=True)
class Field:
    """One field. *needs*: the protocol whose header has it. *bits*: (how many, below how many others), of one that has no whole octets."""

    type: DataType
    source: Source
    needs: str = ""
    bits: tuple[int, int] | None = None

    @property
    def mask(self) -> bytes:
        """The bits of a field that has no whole octets."""
        assert self.bits is not None
        count, low = self.bits
        return ((1 << count) - 1 << low).to_bytes(self.type.length, "big")

    def load(self, into: int) -> list[bytes]:
        """Return what puts it into a register; of a field without whole octets, at its place and with zeroes around."""
        loaded = [_load(self.source, into)]
        if self.bits is not None:
            loaded.append(expressions.masked(into, self.mask, bytes(self.type.length)))
        return loaded

    def load_as_key(self, into: int) -> list[bytes]:
        """Return what puts it into a register as part of a key: moved to the lowest bits."""
        if self.bits is None or not self.bits[1]:
            return self.load(into)
        return [*self.load(into), expressions.shifted_right(into, self.type.length, self.bits[1])]

    def octets(self, word: str) -> bytes:
        """Return what a register has if the field is *word*."""
        encoded = self.type.octets(word)
        if self.bits is None or not self.bits[1]:
            return encoded
        return (int.from_bytes(encoded, "big") << self.bits[1]).to_bytes(self.type.length, "big")


def _load(source: Source, into: int) -> bytes:
    match source:
        case Meta():
            return expressions.meta(source.key, into)
        case Conntrack():
            return expressions.conntrack(source.key, into)
        case Route():
            return expressions.route(source.key, into)
        case Payload():
            return expressions.payload(source.base, source.offset, source.length, into)
        case Extension():
            header, presence, option = source.header, source.presence, source.ipv4_option
            return expressions.extension(header, source.offset, source.length, into, presence=presence, ipv4_option=option)
        case RoutingLookUp():
            return expressions.routing_look_up(source.flags, source.result, into)
        case LocalSocket():
            return expressions.local_socket(source.key, into)


_IFNAME, _MARK, _PROTOCOL, _SERVICE = TYPES["ifname"], TYPES["mark"], TYPES["inet_proto"], TYPES["inet_service"]
_ADDRESS4, _ADDRESS6, _ETHER, _PRESENT = TYPES["ipv4_addr"], TYPES["ipv6_addr"], TYPES["ether_addr"], TYPES["boolean"]
_ICMP_TABLE, _IGMP_TABLE, _UDP_TABLE, _TCP_TABLE, _TH_TABLE, _IP_TABLE, _IP6_TABLE = 4, 5, 6, 8, 11, 12, 13
_ICMPV6_TABLE, _ARP_TABLE, _ETHER_TABLE = 14, 15, 17
_TCP_CHECKSUM, _UDP_CHECKSUM, _NO_CHECKSUM = 16, 6, 0

FIELDS: Mapping[tuple[str, ...], Field] = {
    ("iifname",): Field(_IFNAME, Meta(6)),
    ("oifname",): Field(_IFNAME, Meta(7)),
    ("meta", "length"): Field(integer(4, HOST_ORDER), Meta(0)),
    ("meta", "protocol"): Field(TYPES["ether_type"], Meta(1)),
    ("meta", "mark"): Field(_MARK, Meta(3)),
    ("meta", "iiftype"): Field(TYPES["iface_type"], Meta(8)),
    ("meta", "nfproto"): Field(TYPES["nf_proto"], Meta(15)),
    ("meta", "l4proto"): Field(_PROTOCOL, Meta(16)),
    ("meta", "pkttype"): Field(TYPES["pkt_type"], Meta(19)),
    ("ct", "state"): Field(TYPES["ct_state"], Conntrack(0)),
    ("ct", "direction"): Field(TYPES["ct_dir"], Conntrack(1)),
    ("ct", "status"): Field(TYPES["ct_status"], Conntrack(2)),
    ("ct", "mark"): Field(_MARK, Conntrack(3)),
    ("fib", "saddr", "type"): Field(TYPES["fib_addrtype"], RoutingLookUp(1, 3)),
    ("fib", "daddr", "type"): Field(TYPES["fib_addrtype"], RoutingLookUp(2, 3)),
    ("rt", "ip", "nexthop"): Field(_ADDRESS4, Route(1)),
    ("rt", "ip6", "nexthop"): Field(_ADDRESS6, Route(2)),
    ("socket", "transparent"): Field(integer(1), LocalSocket(0)),
    ("socket", "wildcard"): Field(integer(1), LocalSocket(2)),
    ("ether", "daddr"): Field(_ETHER, Payload(LINK, 0, 6, (_ETHER_TABLE, 1), _NO_CHECKSUM), "ether"),
    ("ether", "saddr"): Field(_ETHER, Payload(LINK, 6, 6, (_ETHER_TABLE, 2), _NO_CHECKSUM), "ether"),
    ("ether", "type"): Field(TYPES["ether_type"], Payload(LINK, 12, 2, (_ETHER_TABLE, 3)), "ether"),
    ("arp", "saddr", "ether"): Field(_ETHER, Payload(NETWORK, 8, 6, (_ARP_TABLE, 6)), "arp"),
    ("arp", "saddr", "ip"): Field(_ADDRESS4, Payload(NETWORK, 14, 4, (_ARP_TABLE, 8)), "arp"),
    ("arp", "daddr", "ether"): Field(_ETHER, Payload(NETWORK, 18, 6, (_ARP_TABLE, 7)), "arp"),
    ("arp", "daddr", "ip"): Field(_ADDRESS4, Payload(NETWORK, 24, 4, (_ARP_TABLE, 9)), "arp"),
    ("ip", "hdrlength"): Field(integer(1), Payload(NETWORK, 0, 1, (_IP_TABLE, 2)), "ip", bits=(4, 0)),
    ("ip", "protocol"): Field(_PROTOCOL, Payload(NETWORK, 9, 1, (_IP_TABLE, 9)), "ip"),
    ("ip", "saddr"): Field(_ADDRESS4, Payload(NETWORK, 12, 4, (_IP_TABLE, 11)), "ip"),
    ("ip", "daddr"): Field(_ADDRESS4, Payload(NETWORK, 16, 4, (_IP_TABLE, 12)), "ip"),
    ("ip", "option", "lsrr"): Field(_PRESENT, Extension(131, 0, 1, presence=True, ipv4_option=True), "ip"),
    ("ip", "option", "ssrr"): Field(_PRESENT, Extension(137, 0, 1, presence=True, ipv4_option=True), "ip"),
    ("ip6", "nexthdr"): Field(_PROTOCOL, Payload(NETWORK, 6, 1, (_IP6_TABLE, 6)), "ip6"),
    ("ip6", "hoplimit"): Field(integer(1), Payload(NETWORK, 7, 1, (_IP6_TABLE, 7)), "ip6"),
    ("ip6", "saddr"): Field(_ADDRESS6, Payload(NETWORK, 8, 16, (_IP6_TABLE, 8)), "ip6"),
    ("ip6", "daddr"): Field(_ADDRESS6, Payload(NETWORK, 24, 16, (_IP6_TABLE, 9)), "ip6"),
    ("rt", "type"): Field(integer(1), Extension(43, 2, 1), "ip6"),
    ("frag", "frag-off"): Field(integer(2), Extension(44, 2, 2), "ip6", bits=(13, 3)),
    ("exthdr", "frag"): Field(_PRESENT, Extension(44, 0, 1, presence=True), "ip6"),
    ("icmp", "type"): Field(TYPES["icmp_type"], Payload(TRANSPORT, 0, 1, (_ICMP_TABLE, 1)), "icmp"),
    ("icmpv6", "type"): Field(TYPES["icmpv6_type"], Payload(TRANSPORT, 0, 1, (_ICMPV6_TABLE, 1)), "icmpv6"),
    ("igmp", "type"): Field(TYPES["igmp_type"], Payload(TRANSPORT, 0, 1, (_IGMP_TABLE, 1)), "igmp"),
    ("th", "sport"): Field(_SERVICE, Payload(TRANSPORT, 0, 2, (_TH_TABLE, 1))),
    ("th", "dport"): Field(_SERVICE, Payload(TRANSPORT, 2, 2, (_TH_TABLE, 2))),
    ("tcp", "sport"): Field(_SERVICE, Payload(TRANSPORT, 0, 2, (_TCP_TABLE, 1), _TCP_CHECKSUM), "tcp"),
    ("tcp", "dport"): Field(_SERVICE, Payload(TRANSPORT, 2, 2, (_TCP_TABLE, 2), _TCP_CHECKSUM), "tcp"),
    ("tcp", "doff"): Field(integer(1), Payload(TRANSPORT, 12, 1, (_TCP_TABLE, 5)), "tcp", bits=(4, 4)),
    ("tcp", "flags"): Field(TYPES["tcp_flag"], Payload(TRANSPORT, 13, 1, (_TCP_TABLE, 7)), "tcp"),
    ("udp", "sport"): Field(_SERVICE, Payload(TRANSPORT, 0, 2, (_UDP_TABLE, 1), _UDP_CHECKSUM), "udp"),
    ("udp", "dport"): Field(_SERVICE, Payload(TRANSPORT, 2, 2, (_UDP_TABLE, 2), _UDP_CHECKSUM), "udp"),
}
"""By the words that a rule names it by. `@th,64,128` (header, offset and length in bits) is a field too."""

_MOST_WORDS = 3
_HEADERS = {"@ll": LINK, "@nh": NETWORK, "@th": TRANSPORT}


@lru_cache(1024)
def field_of(words: tuple[str, ...]) -> tuple[Field, int] | None:
    """Return the field that *words* begin with, and how many words name it; None if they name none."""
    if words and words[0].startswith(tuple(_HEADERS)):
        header, *numbers = words[0].split(",")
        if len(numbers) == 2:
            offset, length = (int(number) // 8 for number in numbers)
            if any(int(number) % 8 for number in numbers):
                return None
            return Field(integer(length), Payload(_HEADERS[header], offset, length)), 1
    for count in range(min(_MOST_WORDS, len(words)), 0, -1):
        found = FIELDS.get(tuple(words[:count]))
        if found is not None:
            return found, count
    return None


# --- how `nft list` is told what a set is of -------------------------------------------------------------------------

_VERDICT_KIND, _PAYLOAD_KIND, _META_KIND, _CONNTRACK_KIND, _CONCATENATION_KIND, _ROUTING_KIND = 1, 7, 9, 12, 13, 26
_BOTH_DIRECTIONS = 0xFFFF_FFFF


def record(type_: int, value: bytes) -> bytes:
    """Return one record of the user data of a set (libnftnl, udata.h)."""
    return bytes([type_, len(value)]) + value


def record_of_number(type_: int, value: int) -> bytes:
    """Return a record that holds a number."""
    return record(type_, struct.pack("=I", value))


CONCATENATION = record_of_number(0, _CONCATENATION_KIND) + record(1, b"")
"""Says that a set was declared with the types of several fields."""

VERDICT = record_of_number(0, _VERDICT_KIND) + record(1, b"")
"""Says that a map has verdicts."""


def listed(fields: Sequence[Field]) -> bytes:
    """Return what says of which fields a set is; empty if `nft list` needs no such thing or knows none."""
    each = [_listed(one) for one in fields]
    if not each or not all(each):
        return b""
    if len(each) == 1:
        return each[0]
    return record_of_number(0, _CONCATENATION_KIND) + record(1, b"".join(record(at, one) for at, one in enumerate(each)))


def _listed(field: Field) -> bytes:
    match field.source:
        case Meta():
            return _record_of_field(_META_KIND, record_of_number(0, field.source.key))
        case Payload():
            return _record_of_field(_PAYLOAD_KIND, _listed_payload(field, field.source))
        case Conntrack():
            return _record_of_field(_CONNTRACK_KIND, record_of_number(0, field.source.key) + record_of_number(1, _BOTH_DIRECTIONS))
        case RoutingLookUp():
            return _record_of_field(_ROUTING_KIND, record_of_number(0, field.source.result) + record_of_number(1, field.source.flags))
    return b""


def _record_of_field(kind: int, details: bytes) -> bytes:
    return record_of_number(0, kind) + record(1, details)


def _listed_payload(field: Field, source: Payload) -> bytes:
    header, number = source.listed
    place = record_of_number(0, header) + record_of_number(1, number)
    if not header:
        place += record_of_number(2, source.base + 1) + record_of_number(3, source.offset * 8)
    if field.type.number != integer(1).number:
        return place
    return place + record_of_number(4, field.bits[0] if field.bits is not None else source.length * 8)


def order_of(field: Field) -> int:
    """Return in which order of octets a register holds the field."""
    match field.source:
        case Payload() | Meta(1):
            return BIG_ENDIAN
        case Meta():
            return HOST_ORDER
    return field.type.order
