"""Connection tracking: delete the entries of an address, and those that a published port led astray; who began one.

The kernel finds them by its own filter where that does what it should (`flow_filter`), and else the table is looked through here.

Spec: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from netcore import limits
from netcore.desired.flows import FlowEnds, Flows, PortMove, is_astray
from netcore.errors import KernelError
from netcore.kernel import flow_filter, rtnl, sysctl
from netcore.kernel.flow_filter import DELETE, GET, PROTOCOL_NAMES, Choice, Part
from netcore.kernel.netlink import NetlinkSocket, Request, attr, find, nested
from netcore.model import IPAddress

_FILTERED_PORTS = ("tcp", "udp")
PortKey = tuple[int, str, int]
"""(family, protocol, port of the host)."""
_COUNT = "net/netfilter/nf_conntrack_count"
_PINGS = {1: (4, 0), 58: (7, 129)}
"""ICMP and ICMPv6 → the type of the attribute with a ping's number, which those with type and code follow; type of the reply."""


class TranslatedFlow(NamedTuple):
    """What a flow bears behind the host. *source_port*: of a ping its number."""

    protocol: int
    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int


def forget(netlink: NetlinkSocket, routes: NetlinkSocket, flows: Flows) -> None:
    """Delete the entries of *flows* on the host. A kernel without connection tracking has none. *routes*: a socket for routes."""
    if sysctl.read(_COUNT) == "0":
        return
    with contextlib.suppress(KernelError):
        flush(netlink, routes, flows, flow_filter.honoured())


def client_behind(netlink: NetlinkSocket, flow: TranslatedFlow) -> IPAddress | None:
    """Return who began *flow*, before its address was translated; None if that is not known. One request."""
    family = flow.source.version
    reply = nested(
        flow_filter.TUPLE_REPLY,
        nested(flow_filter.TUPLE_IP, *map(attr, flow_filter.ends(family), (flow.destination.packed, flow.source.packed))),
        nested(flow_filter.TUPLE_PROTO, attr(flow_filter.PROTO_NUM, bytes([flow.protocol])), *_reply_numbers(flow)),
    )
    with contextlib.suppress(KernelError, OSError):
        found = netlink.get(Request(GET, 0, flow_filter.head(family) + reply, "look up", "conntrack entry"))
        packed = find(found[20:], flow_filter.TUPLE_ORIG, flow_filter.TUPLE_IP, flow_filter.ends(family)[0])
        if packed is not None:
            return IPv4Address(packed) if family == 4 else IPv6Address(packed)
    return None


def _reply_numbers(flow: TranslatedFlow) -> list[bytes]:
    """Return what the replies of *flow* bear: the ports, or the number of a ping and the type of its reply."""
    if flow.protocol in _PINGS:
        first, reply = _PINGS[flow.protocol]
        return [attr(first, struct.pack("!H", flow.source_port)), attr(first + 1, bytes([reply])), attr(first + 2, b"\0")]
    return [
        attr(flow_filter.SOURCE_PORT, struct.pack("!H", flow.destination_port)),
        attr(flow_filter.DESTINATION_PORT, struct.pack("!H", flow.source_port)),
    ]


def flush(netlink: NetlinkSocket, routes: NetlinkSocket, flows: Flows, honoured: Collection[Choice]) -> None:
    """Delete the entries of *flows*, found by filter as far as that is *honoured*. Raises KernelError."""
    requests, rest = by_filter(flows.addresses, honoured)
    if any(error is not None for error in netlink.run(requests)):
        rest = flows.addresses
    _delete_of_addresses(netlink, rest)
    _delete_astray(netlink, flows.ports, honoured, functools.cache(functools.partial(rtnl.is_own_address, routes)))


def by_filter(addresses: Set[IPAddress], honoured: Collection[Choice]) -> tuple[list[Request], Set[IPAddress]]:
    """Return the requests by which the kernel deletes the flows of some of *addresses*, and the others.

    Each request is a walk through the table, so for many addresses looking once is quicker.
    """
    filtered = [address for address in addresses if (address.version, Part.ADDRESS) in honoured]
    requests = [request for address in filtered for request in flow_filter.of_address(address)]
    if len(requests) > limits.FLOW_FILTERS:
        return [], addresses
    return requests, addresses - set(filtered)


def _delete_of_addresses(netlink: NetlinkSocket, addresses: Set[IPAddress]) -> None:
    packed = {address.packed for address in addresses}
    for family in sorted({address.version for address in addresses}):
        for message in netlink.dump(flow_filter.all_flows(family)):
            body = message[20:]
            if any(find(body, direction, *_source(family)) in packed for direction in (flow_filter.TUPLE_ORIG, flow_filter.TUPLE_REPLY)):
                _delete(netlink, family, body)


def _delete_astray(
    netlink: NetlinkSocket, moves: Iterable[PortMove], honoured: Collection[Choice], is_of_host: Callable[[IPAddress], bool]
) -> None:
    by_port: dict[PortKey, list[PortMove]] = defaultdict(list)
    for move in moves:
        by_port[move.family, move.protocol, move.port].append(move)
    for request in looks(by_port, honoured):
        for message in netlink.dump(request):
            flow = _read(message)
            if flow is None:
                continue
            of_port = by_port.get((flow.family, flow.protocol, flow.destination[1]), ())
            if any(is_astray(flow, move, is_of_host) for move in of_port):
                _delete(netlink, flow.family, message[20:])


def looks(by_port: Mapping[PortKey, Sequence[PortMove]], honoured: Collection[Choice]) -> list[Request]:
    """Return the requests that list the flows to these ports, and perhaps others.

    Each is a walk through the table, so for many ports looking at all flows once is quicker.
    """
    filtered = [key for key in sorted(by_port) if (key[0], Part.PORT) in honoured and key[1] in _FILTERED_PORTS]
    if len(filtered) > limits.FLOW_FILTERS:
        filtered = []

    others = defaultdict(list)
    for key in by_port.keys() - filtered:
        others[key[0]].append(key)

    def untranslated(family: int, keys: Iterable[PortKey]) -> bool:
        # Where a port led nowhere before, only what is not translated can be wrong: not the many flows of sandboxes to others' servers.
        return (family, Part.PORT) in honoured and all(move.before is None for key in keys for move in by_port[key])

    narrow = [flow_filter.to_port(*key, untranslated=untranslated(key[0], [key])) for key in filtered]
    return narrow + [flow_filter.all_flows(family, untranslated=untranslated(family, keys)) for family, keys in sorted(others.items())]


def _source(family: int) -> tuple[int, int]:
    """Return where in a tuple its source address is."""
    return flow_filter.TUPLE_IP, flow_filter.ends(family)[0]


def _read(message: bytes) -> FlowEnds | None:
    """Return the flow that *message* tells of, None if it has no ports."""
    family, body = 4 if message[16] == socket.AF_INET else 6, message[20:]
    source, destination = flow_filter.ends(family)
    asked = find(body, flow_filter.TUPLE_ORIG, flow_filter.TUPLE_IP, destination)
    answers = find(body, flow_filter.TUPLE_REPLY, flow_filter.TUPLE_IP, source)
    port = find(body, flow_filter.TUPLE_ORIG, flow_filter.TUPLE_PROTO, flow_filter.DESTINATION_PORT)
    answering = find(body, flow_filter.TUPLE_REPLY, flow_filter.TUPLE_PROTO, flow_filter.SOURCE_PORT)
    protocol = find(body, flow_filter.TUPLE_ORIG, flow_filter.TUPLE_PROTO, flow_filter.PROTO_NUM)
    if not (asked and answers and port and answering and protocol):
        return None
    name = PROTOCOL_NAMES.get(protocol[0], "")
    return FlowEnds(family, name, (ip_address(asked), _number(port)), (ip_address(answers), _number(answering)))


def _number(port: bytes) -> int:
    return int.from_bytes(port, "big")


def _delete(netlink: NetlinkSocket, family: int, body: bytes) -> None:
    original, identity, zone = (find(body, part) for part in (flow_filter.TUPLE_ORIG, flow_filter.ID, flow_filter.ZONE))
    parts = [nested(flow_filter.TUPLE_ORIG, original or b"")]
    # Together with the id the entry that was seen goes, and not one that took its place.
    parts += [attr(flow_filter.ID, identity)] if identity is not None else []
    parts += [attr(flow_filter.ZONE, zone)] if zone is not None else []
    (error,) = netlink.run([Request(DELETE, 0, flow_filter.head(family) + b"".join(parts), "delete", "conntrack entry")])
    if error is not None and error.errno != errno.ENOENT:
        raise error
