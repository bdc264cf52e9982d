"""Deleting and listing tracked flows by the kernel's own filter: the requests, and whether this kernel takes them for what they mean.

A delete request with a filter (CTA_FILTER) and part of a tuple walks the table in the kernel, which takes a fifth of the
time of a dump and does not grow with what others have there. But not every kernel means the same by it. Those before
6.8 or so take the partial tuple for a whole one, or delete everything; and with IPv6 addresses all that were read
(to 6.18) delete what does *not* match. So each kind of request is tried once, in a namespace of its own.

Spec: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c (ctnetlink_filter_match).
"""

from __future__ import annotations

import functools
import logging
import socket
import struct
from collections.abc import Iterable, Sequence
from enum import Enum
from ipaddress import ip_address
from typing import NamedTuple

from netcore.errors import NetcoreError
from netcore.kernel import netns
from netcore.kernel.netlink import CREATE, NETFILTER, NetlinkSocket, Request, attr, find, nested
from netcore.model import IPAddress

log = logging.getLogger(__name__)

NEW, GET, DELETE = 0x100, 0x101, 0x102
"""Types of messages: the subsystem's number, 1, and IPCTNL_MSG_CT_."""

TUPLE_ORIG, TUPLE_REPLY, ID, ZONE = 1, 2, 12, 18
TUPLE_IP, TUPLE_PROTO = 1, 2
PROTO_NUM, SOURCE_PORT, DESTINATION_PORT = 1, 2, 3
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

_STATUS, _TIMEOUT, _FILTER, _STATUS_MASK = 3, 7, 25, 26
_TRANSLATED = 0x30
"""IPS_SRC_NAT and IPS_DST_NAT."""
_UNTRANSLATED = attr(_STATUS, bytes(4)) + attr(_STATUS_MASK, struct.pack("!I", _TRANSLATED))
_ORIG_FLAGS, _REPLY_FLAGS = 1, 2
_BY_SOURCE, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1, 8, 32
_NFGEN = struct.Struct("!BBH")
_PORT = struct.Struct("!H")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Part(Enum):
    """By what a flow is chosen."""

    ADDRESS = "address"
    PORT = "port"


Choice = tuple[int, Part]
"""(family, by what)."""


def head(family: int, version: int = 0) -> bytes:
    """Return what every message begins with."""
    return _NFGEN.pack(_FAMILIES[family], version, 0)


def ends(family: int) -> tuple[int, int]:
    """Return the types of the attributes with source and destination address."""
    return (1, 2) if family == 4 else (3, 4)


def of_address(address: IPAddress) -> list[Request]:
    """Return the requests that delete all flows that *address* began or answers, however the other end's address is translated.

    Those are by the source in both directions. What goes to *address* is answered by it, unless it was led elsewhere.
    """
    wanted = nested(TUPLE_IP, attr(ends(address.version)[0], address.packed))
    return [_deletion(address.version, direction, _BY_SOURCE, wanted, f"of {address}") for direction in (TUPLE_ORIG, TUPLE_REPLY)]


def to_port(family: int, protocol: str, port: int, *, untranslated: bool) -> Request:
    """Return the request that lists the flows to *port*, as the client wrote it. Only of TCP and UDP does the filter look at ports.

    *untranslated*: only those with no address translated, where the kernel looks at that; else all the same.
    """
    wanted = nested(TUPLE_PROTO, attr(PROTO_NUM, bytes([PROTOCOLS[protocol]])), attr(DESTINATION_PORT, _PORT.pack(port)))
    filter_ = nested(_FILTER, attr(_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL | _BY_DESTINATION_PORT)))
    body = head(family) + nested(TUPLE_ORIG, wanted) + filter_ + (_UNTRANSLATED if untranslated else b"")
    return Request(GET, 0, body, "list", f"conntrack entries to {protocol} port {port}")


def all_flows(family: int, *, untranslated: bool = False) -> Request:
    """Return the request that lists all flows. *untranslated*: see `to_port`."""
    return Request(GET, 0, head(family) + (_UNTRANSLATED if untranslated else b""), "list", "conntrack entries")


def _deletion(family: int, direction: int, flags: int, wanted: bytes, target: str) -> Request:
    flag_type = _ORIG_FLAGS if direction == TUPLE_ORIG else _REPLY_FLAGS
    filter_ = nested(_FILTER, attr(flag_type, struct.pack("=I", flags)))
    # Version 1: without a filter that the kernel knows, only this family would go.
    return Request(DELETE, 0, head(family, 1) + nested(direction, wanted) + filter_, "delete", f"conntrack entries {target}")


# --- whether the kernel means the same -----------------------------------------------------------------------------------


class _Sample(NamedTuple):
    """A flow to try with: addresses of both directions, the port that the client asked for. Its own port is the flow's number."""

    source: IPAddress
    destination: IPAddress
    reply_source: IPAddress
    reply_destination: IPAddress
    number: int
    protocol: str
    port: int
    zone: int = 0

    @property
    def family(self) -> int:
        return self.source.version


_WANTED_PORT, _OTHER_PORT = 80, 81
_NUMBER = (TUPLE_ORIG, TUPLE_PROTO, SOURCE_PORT)


def _samples(family: int) -> list[_Sample]:
    a, b, c = (ip_address(f"192.0.2.{last}") if family == 4 else ip_address(f"2001:db8::{last}") for last in (1, 2, 3))
    return [
        _Sample(a, b, b, c, 1, "udp", _OTHER_PORT),
        _Sample(b, a, a, b, 2, "udp", _OTHER_PORT),
        _Sample(b, c, a, b, 3, "tcp", _OTHER_PORT),
        _Sample(c, b, b, a, 4, "tcp", _OTHER_PORT),
        _Sample(a, c, c, a, 5, "udp", _OTHER_PORT, zone=7),
        _Sample(b, c, c, b, 6, "udp", _OTHER_PORT),
        _Sample(b, c, c, b, 7, "udp", _WANTED_PORT),
        _Sample(b, c, c, b, 8, "tcp", _WANTED_PORT),
        _Sample(c, b, b, c, 9, "udp", _WANTED_PORT, zone=7),
        _Sample(b, a, c, b, 10, "udp", _OTHER_PORT),
    ]


@functools.cache
def honoured() -> frozenset[Choice]:
    """Return which requests this kernel carries out as they are meant. It is asked once, in a namespace that is gone then."""
    try:
        result = netns.run_in_temporary(_try_all)
    except NetcoreError as error:
        log.info("flows are looked for one by one reason=%s", error)
        return frozenset()
    return result


def _try_all() -> frozenset[Choice]:
    result: set[Choice] = set()
    with NetlinkSocket(NETFILTER) as netlink:
        for family in _FAMILIES:
            samples = _samples(family)
            if any(netlink.run([_creation(sample) for sample in samples])):
                continue
            if _finds_port(netlink, samples):
                result.add((family, Part.PORT))
            if _deletes_address(netlink, samples):
                result.add((family, Part.ADDRESS))
    return frozenset(result)


def _finds_port(netlink: NetlinkSocket, samples: Sequence[_Sample]) -> bool:
    """Return whether a look at one port finds all of *samples* to it. What it finds besides is sorted out."""
    family = samples[0].family
    return all(
        _numbers(sample for sample in samples if (sample.protocol, sample.port) == (protocol, _WANTED_PORT))
        <= _listed(netlink, to_port(family, protocol, _WANTED_PORT, untranslated=untranslated))
        for protocol in ("tcp", "udp")
        for untranslated in (False, True)
    )


def _deletes_address(netlink: NetlinkSocket, samples: Sequence[_Sample]) -> bool:
    """Return whether of *samples* exactly those of one address go."""
    wanted: IPAddress = samples[0].source
    if any(netlink.run(of_address(wanted))):
        return False
    left = _numbers(sample for sample in samples if wanted not in (sample.source, sample.reply_source))
    return _listed(netlink, all_flows(wanted.version)) == left


def _numbers(samples: Iterable[_Sample]) -> set[bytes]:
    return {_PORT.pack(sample.number) for sample in samples}


def _listed(netlink: NetlinkSocket, request: Request) -> set[bytes | None]:
    """Return the numbers of the flows that *request* lists."""
    return {find(message[20:], *_NUMBER) for message in netlink.dump(request)}


def _creation(sample: _Sample) -> Request:
    # An hour, in seconds.
    body = head(sample.family) + _body(sample) + attr(_TIMEOUT, struct.pack("!I", 3600))
    return Request(NEW, CREATE, body, "create", "conntrack entry")


def _body(sample: _Sample) -> bytes:
    number, source, destination = attr(PROTO_NUM, bytes([PROTOCOLS[sample.protocol]])), *ends(sample.family)
    asking, asked = _PORT.pack(sample.number), _PORT.pack(sample.port)

    def ports(first: bytes, second: bytes) -> bytes:
        return nested(TUPLE_PROTO, number, attr(SOURCE_PORT, first), attr(DESTINATION_PORT, second))

    original = nested(TUPLE_IP, attr(source, sample.source.packed), attr(destination, sample.destination.packed))
    reply = nested(TUPLE_IP, attr(source, sample.reply_source.packed), attr(destination, sample.reply_destination.packed))
    zone = attr(ZONE, _PORT.pack(sample.zone)) if sample.zone else b""
    return nested(TUPLE_ORIG, original, ports(asking, asked)) + nested(TUPLE_REPLY, reply, ports(asked, asking)) + zone
