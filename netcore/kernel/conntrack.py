"""Connection tracking: delete the entries of an address or a host port, so that no connection goes on to an old peer.

Spec: Linux include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct

from netcore.desired.flows import Flows
from netcore.errors import KernelError
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request, attr, find, nested

_SUBSYSTEM = 1
_GET, _DELETE = (_SUBSYSTEM << 8) | 1, (_SUBSYSTEM << 8) | 2
_NFGEN = struct.Struct("!BBH")
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE, _ID = 1, 2, 18, 12
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_PROTO_NUM, _DST_PORT = 1, 3
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


def forget(flows: Flows) -> None:
    """Delete the entries of *flows* on the host. A kernel without connection tracking has none."""
    with NetlinkSocket(NETFILTER) as netlink:
        try:
            flush(netlink, flows)
        except KernelError:
            return


def flush(netlink: NetlinkSocket, flows: Flows) -> int:
    """Delete the entries of *flows*; return how many. Raises KernelError."""
    packed = {address.packed for address in flows.addresses}
    wanted = {(family, _PROTOCOLS[protocol], port) for family, protocol, port in flows.ports}
    families = {address.version for address in flows.addresses} | {family for family, _, _ in flows.ports}
    count = 0
    for family in sorted(families):
        af = socket.AF_INET if family == 4 else socket.AF_INET6
        for message in netlink.dump(Request(_GET, 0, _NFGEN.pack(af, 0, 0), "list", "conntrack entries")):
            body = message[20:]
            if _matches(body, family, packed, wanted):
                count += _delete(netlink, af, body)
    return count


def _matches(body: bytes, family: int, packed: set[bytes], wanted: set[tuple[int, int, int]]) -> bool:
    source, destination = (1, 2) if family == 4 else (3, 4)
    for direction in (_TUPLE_ORIG, _TUPLE_REPLY):
        for end in (source, destination):
            if find(body, direction, _TUPLE_IP, end) in packed:
                return True
    protocol = find(body, _TUPLE_ORIG, _TUPLE_PROTO, _PROTO_NUM)
    port = find(body, _TUPLE_ORIG, _TUPLE_PROTO, _DST_PORT)
    return protocol is not None and port is not None and (family, protocol[0], struct.unpack("!H", port)[0]) in wanted


def _delete(netlink: NetlinkSocket, af: int, body: bytes) -> bool:
    original, identity, zone = find(body, _TUPLE_ORIG), find(body, _ID), find(body, _ZONE)
    parts = [nested(_TUPLE_ORIG, original or b"")]
    # Together with the id the entry that was seen goes, and not one that took its place.
    parts += [attr(_ID, identity)] if identity is not None else []
    parts += [attr(_ZONE, zone)] if zone is not None else []
    error = netlink.run([Request(_DELETE, 0, _NFGEN.pack(af, 0, 0) + b"".join(parts), "delete", "conntrack entry")])[0]
    if error is None:
        return True
    if error.errno == errno.ENOENT:
        return False
    raise KernelError(error.operation, error.target, error.errno, error.detail)
