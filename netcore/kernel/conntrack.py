"""Connection tracking: delete the entries of an address or a host port, so that no connection goes on to an old peer; who began one.

The kernel finds them by its own filter where that does what it should (`flow_filter`), and else the table is looked through here.

Spec: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import contextlib
import errno
import struct
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from netcore import limits
from netcore.desired.flows import Flows
from netcore.errors import KernelError
from netcore.kernel import flow_filter, sysctl
from netcore.kernel.flow_filter import DELETE, GET, PROTOCOLS, Choice, Part
from netcore.kernel.netlink import NetlinkSocket, Request, attr, find, nested
from netcore.model import IPAddress

_FILTERED_PORTS = ("tcp", "udp")
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


def forget(netlink: NetlinkSocket, flows: Flows) -> None:
    """Delete the entries of *flows* on the host. A kernel without connection tracking has none."""
    if sysctl.read(_COUNT) == "0":
        return
    with contextlib.suppress(KernelError):
        flush(netlink, flows, flow_filter.honoured())


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


def flush(netlink: NetlinkSocket, flows: Flows, honoured: Collection[Choice]) -> None:
    """Delete the entries of *flows*, by filter as far as that is *honoured*. Raises KernelError."""
    requests, rest = by_filter(flows, honoured)
    if any(error is not None for error in netlink.run(requests)):
        rest = flows
    _look_for(netlink, rest)


def by_filter(flows: Flows, honoured: Collection[Choice]) -> tuple[list[Request], Flows]:
    """Return the requests by which the kernel deletes some of *flows*, and the others.

    Each request is a walk through the table, so for many flows looking once is quicker.
    """
    addresses = [address for address in flows.addresses if (address.version, Part.ADDRESS) in honoured]
    ports = [port for port in flows.ports if (port[0], Part.PORT) in honoured and port[1] in _FILTERED_PORTS]
    requests = [request for address in addresses for request in flow_filter.of_address(address)]
    requests += [flow_filter.of_port(*port) for port in ports]
    if len(requests) > limits.FLOW_FILTERS:
        return [], flows
    return requests, Flows(addresses=flows.addresses.difference(addresses), ports=flows.ports.difference(ports))


def _look_for(netlink: NetlinkSocket, flows: Flows) -> None:
    packed = {address.packed for address in flows.addresses}
    wanted = {(family, PROTOCOLS[protocol], port) for family, protocol, port in flows.ports}
    families = {address.version for address in flows.addresses} | {family for family, _, _ in flows.ports}
    for family in sorted(families):
        for message in netlink.dump(Request(GET, 0, flow_filter.head(family), "list", "conntrack entries")):
            body = message[20:]
            if _matches(body, family, packed, wanted):
                _delete(netlink, family, body)


def _matches(body: bytes, family: int, packed: set[bytes], wanted: set[tuple[int, int, int]]) -> bool:
    for direction in (flow_filter.TUPLE_ORIG, flow_filter.TUPLE_REPLY):
        if find(body, direction, flow_filter.TUPLE_IP, flow_filter.ends(family)[0]) in packed:
            return True
    protocol = find(body, flow_filter.TUPLE_ORIG, flow_filter.TUPLE_PROTO, flow_filter.PROTO_NUM)
    port = find(body, flow_filter.TUPLE_ORIG, flow_filter.TUPLE_PROTO, flow_filter.DESTINATION_PORT)
    return protocol is not None and port is not None and (family, protocol[0], struct.unpack("!H", port)[0]) in wanted


def _delete(netlink: NetlinkSocket, family: int, body: bytes) -> None:
    original, identity, zone = (find(body, part) for part in (flow_filter.TUPLE_ORIG, flow_filter.ID, flow_filter.ZONE))
    parts = [nested(flow_filter.TUPLE_ORIG, original or b"")]
    # Together with the id the entry that was seen goes, and not one that took its place.
    parts += [attr(flow_filter.ID, identity)] if identity is not None else []
    parts += [attr(flow_filter.ZONE, zone)] if zone is not None else []
    (error,) = netlink.run([Request(DELETE, 0, flow_filter.head(family) + b"".join(parts), "delete", "conntrack entry")])
    if error is not None and error.errno != errno.ENOENT:
        raise error
