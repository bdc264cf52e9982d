"""The expressions that a rule is made of in the kernel: one function for each kind, from its values to its octets. Pure.

A rule is run from left to right. What loads a value puts it into a register, what compares reads one; a rule ends where a
comparison fails. Registers: 1 to 4 have 16 octets, 8 to 23 have four, and are the same memory.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h, NFTA_*.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from netcore.kernel.netlink import attr, nested

EQUAL, NOT_EQUAL, LESS, LESS_OR_EQUAL, GREATER, GREATER_OR_EQUAL = range(6)
LINK, NETWORK, TRANSPORT = range(3)
"""Headers that a payload is counted from."""
DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5
ADD, UPDATE, DELETE = range(3)
ICMP_UNREACHABLE, TCP_RESET, ICMPX_UNREACHABLE = range(3)
SOURCE_NAT, DESTINATION_NAT = range(2)
OBJECT_COUNTER = 1
_PORT_IS_GIVEN, _SEVERAL_EXPRESSIONS = 2, 2
_VERDICT = 0
"""The register of a verdict."""


class SetReference(NamedTuple):
    """A set as rules name it. *number*: which it is in the transaction that makes both."""

    name: str
    number: int


def register(words: int) -> int:
    """Return the register that begins *words* (of four octets) behind the first."""
    return 8 + words if words % 4 else 1 + words // 4


# Rules have much in common, and one sandbox's are the next one's but for two numbers.
@lru_cache(1024)
def u32(type_: int, value: int) -> bytes:
    """Return an attribute with a number of four octets."""
    return attr(type_, struct.pack("!I", value & 0xFFFF_FFFF))


def _u64(type_: int, value: int) -> bytes:
    return attr(type_, struct.pack("!Q", value))


@lru_cache(256)
def text(type_: int, value: str) -> bytes:
    """Return an attribute with a name."""
    return attr(type_, value.encode() + b"\0")


def _expression(kind: str, *attributes: bytes) -> bytes:
    return text(1, kind) + nested(2, *attributes)


def expression_list(type_: int, expressions: Sequence[bytes]) -> bytes:
    """Return an attribute that holds expressions."""
    return nested(type_, *(nested(1, one) for one in expressions))


def data(value: bytes) -> bytes:
    """Return a value, as what compares or holds one has it."""
    return attr(1, value)


def verdict(code: int, chain: str | None = None) -> bytes:
    """Return a verdict, as what gives or holds one has it. *chain*: where JUMP and GOTO lead."""
    return nested(2, u32(1, code), *(() if chain is None else (text(2, chain),)))


# --- values of a packet, into a register ----------------------------------------------------------------------------


@lru_cache(256)
def meta(key: int, into: int) -> bytes:
    return _expression("meta", u32(2, key), u32(1, into))


def conntrack(key: int, into: int) -> bytes:
    return _expression("ct", u32(2, key), u32(1, into))


def route(key: int, into: int) -> bytes:
    return _expression("rt", u32(2, key), u32(1, into))


@lru_cache(256)
def payload(base: int, offset: int, length: int, into: int) -> bytes:
    return _expression("payload", u32(1, into), u32(2, base), u32(3, offset), u32(4, length))


def extension(header: int, offset: int, length: int, into: int, *, presence: bool, ipv4_option: bool) -> bytes:
    """Load octets of an IPv6 extension header or an IPv4 option. *presence*: whether it is there instead."""
    place = attr(2, bytes([header])) + u32(3, offset) + u32(4, length)
    return _expression("exthdr", u32(1, into), place, u32(6, 2 if ipv4_option else 0), u32(5, int(presence)))


def routing_look_up(flags: int, result: int, into: int) -> bytes:
    return _expression("fib", u32(3, flags), u32(2, result), u32(1, into))


def local_socket(key: int, into: int) -> bytes:
    return _expression("socket", u32(1, key), u32(2, into), u32(3, 0))


def random_number(into: int, count: int, first: int) -> bytes:
    """Load one of *count* numbers from *first* on."""
    return _expression("numgen", u32(1, into), u32(2, count), u32(3, 1), u32(4, first))


# --- registers -------------------------------------------------------------------------------------------------------


@lru_cache(256)
def masked(at: int, mask: bytes, inverted: bytes) -> bytes:
    """Replace what a register holds by its bits in *mask*, of which those in *inverted* are turned."""
    values = nested(4, data(mask)), nested(5, data(inverted))
    return _expression("bitwise", u32(1, at), u32(2, at), u32(6, 0), u32(3, len(mask)), *values)


def shifted_right(at: int, length: int, bits: int) -> bytes:
    return _expression("bitwise", u32(1, at), u32(2, at), u32(6, 2), u32(3, length), nested(7, data(struct.pack("=I", bits))))


def in_network_order(at: int, length: int) -> bytes:
    return _expression("byteorder", u32(1, at), u32(2, at), u32(3, 1), u32(4, length), u32(5, 4 if length % 4 == 0 else 2))


@lru_cache(256)
def compare(at: int, operator: int, value: bytes) -> bytes:
    return _expression("cmp", u32(1, at), u32(2, operator), nested(3, data(value)))


@lru_cache(256)
def look_up(at: int, where: SetReference, *, inverted: bool = False, into: int | None = None) -> bytes:
    """Go on if the set has what a register holds, or lacks it (*inverted*). *into*: where the datum of a map goes."""
    target = () if into is None else (u32(3, into),)
    flags = (u32(5, 1),) if inverted else ()
    return _expression("lookup", u32(2, at), *target, text(1, where.name), u32(4, where.number), *flags)


def look_up_verdict(at: int, where: SetReference) -> bytes:
    return look_up(at, where, into=_VERDICT)


def immediate(into: int, value: bytes) -> bytes:
    return _expression("immediate", u32(1, into), nested(2, data(value)))


# --- what a rule does ------------------------------------------------------------------------------------------------


@lru_cache(256)
def give(code: int, chain: str | None = None) -> bytes:
    """Give a verdict."""
    return _expression("immediate", u32(1, _VERDICT), nested(2, verdict(code, chain)))


def set_meta(key: int, source: int) -> bytes:
    return _expression("meta", u32(2, key), u32(3, source))


def set_conntrack(key: int, source: int) -> bytes:
    return _expression("ct", u32(2, key), u32(4, source))


def write_payload(base: int, offset: int, length: int, source: int, checksum: int) -> bytes:
    """Write to the packet. *checksum*: the offset of the Internet checksum that is to be corrected, 0: nothing is."""
    corrected = (u32(6, 1), u32(7, checksum)) if checksum else ()
    return _expression("payload", u32(5, source), u32(2, base), u32(3, offset), u32(4, length), *corrected)


def counter() -> bytes:
    return _expression("counter")


@lru_cache(64)
def named_counter(name: str) -> bytes:
    # The kernel takes a name with or without its end.
    return _expression("objref", u32(1, OBJECT_COUNTER), attr(2, name.encode()))


def limit(rate: int, seconds: int, burst: int, *, over: bool) -> bytes:
    return _expression("limit", _u64(1, rate), _u64(2, seconds), u32(3, burst), u32(4, 0), u32(5, int(over)))


def connection_count(most: int, *, over: bool) -> bytes:
    return _expression("connlimit", u32(1, most), u32(2, int(over)))


def change_set(operation: int, where: SetReference, at: int, timeout: int | None, inner: Sequence[bytes]) -> bytes:
    """Add to a set what a register holds. *timeout*: milliseconds. *inner*: expressions that each element has for itself."""
    lasting = () if timeout is None else (_u64(6, timeout),)
    match inner:
        case ():
            own: tuple[bytes, ...] = ()
        case (one,):
            own = (nested(7, one),)
        case _:
            own = (expression_list(10, inner), u32(9, _SEVERAL_EXPRESSIONS))
    return _expression("dynset", u32(4, at), u32(3, operation), *lasting, text(1, where.name), u32(2, where.number), *own)


def log(group: int, prefix: str | None, snap_length: int | None, threshold: int | None) -> bytes:
    """Hand the packet to who listens to *group* (NFLOG). *snap_length*: octets of it. *threshold*: packets that are handed over at once."""
    before = () if prefix is None else (text(2, prefix),)
    length = () if snap_length is None else (u32(3, snap_length),)
    packets = () if threshold is None else (attr(4, struct.pack("!H", threshold)),)
    return _expression("log", *before, attr(1, struct.pack("!H", group)), *length, *packets)


def reject(kind: int, code: int) -> bytes:
    return _expression("reject", u32(1, kind), attr(2, bytes([code])))


def masquerade() -> bytes:
    return _expression("masq")


def redirect(port: int) -> bytes:
    """*port*: the register that holds it."""
    return _expression("redir", u32(1, port), u32(3, _PORT_IS_GIVEN))


def hand_to_socket(family: int, port: int) -> bytes:
    """Have the packet go to the socket that has its connection, else to the one that listens at a port (*port*: the register)."""
    return _expression("tproxy", u32(1, family), u32(3, port))


def translate(kind: int, family: int, address: int, port: int | None) -> bytes:
    """*address*, *port*: the registers that hold them."""
    return _expression("nat", u32(1, kind), u32(2, family), u32(3, address), *(() if port is None else (u32(5, port),)))


def no_tracking() -> bytes:
    return text(1, "notrack")
