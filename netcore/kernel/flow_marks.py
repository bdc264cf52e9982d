"""The connection mark of one tracked connection, changed only if it still is what it was thought to be. Blocking.

The kernel looks a connection up by its ends, and those may belong to another one by now. With an empty mask it combines the mark
that there is with the one it is given by exclusive or (ctnetlink_change_mark), so a connection with another mark gets neither.

The id of an entry (CTA_ID) would not do: the kernel looks at it where an entry is deleted, not where one is changed; an entry that is
made where one was freed may have its id again; and what begins anew in an open connection has the entry of that one.

Each request must be sent once: a second one would undo the first.

Spec: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import struct

from netcore.kernel import flow_filter
from netcore.kernel.flow_filter import DESTINATION_PORT, NEW, PROTO_NUM, PROTOCOLS, SOURCE_PORT, TUPLE_IP, TUPLE_ORIG, TUPLE_PROTO
from netcore.kernel.netlink import Request, attr, nested
from netcore.model import IPAddress

_MARK, _MASK = 8, 21
_PORT = struct.Struct("!H")


def exchange(source: IPAddress, source_port: int, destination: IPAddress, destination_port: int, before: int, after: int) -> Request:
    """Return the request that gives a TCP connection the mark *after* if it has *before*. Its ends are as its client wrote them."""
    version = source.version
    ends = flow_filter.ends(version)
    addresses = nested(TUPLE_IP, attr(ends[0], source.packed), attr(ends[1], destination.packed))
    number = attr(PROTO_NUM, bytes([PROTOCOLS["tcp"]]))
    ports = attr(SOURCE_PORT, _PORT.pack(source_port)) + attr(DESTINATION_PORT, _PORT.pack(destination_port))
    original = addresses + nested(TUPLE_PROTO, number, ports)
    return exchange_of_tuple(version, original, before, after, target=f"connection to {destination} port {destination_port}")


def exchange_of_tuple(version: int, original: bytes, before: int, after: int, *, zone: bytes = b"", target: str) -> Request:
    """Return the same for a connection of any protocol. *original*: what is in its first tuple; *zone*: the attribute, if it has one."""
    marks = attr(_MARK, struct.pack("!I", before ^ after)) + attr(_MASK, bytes(4))
    return Request(NEW, 0, flow_filter.head(version) + nested(TUPLE_ORIG, original) + marks + zone, "mark", target)
