"""Which notifications from inside a sandbox contradict what must exist there. Reads no kernel.

An operation of ours causes a dozen of them, and a comparison costs as much as the operation. So what only says that something is
there now, or is as it must be, leads to none; the rounds look at everything anyway.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from netcore.desired.objects import KernelObject, Neighbor, VethPeer
from netcore.kernel import rtnl
from netcore.kernel.all_namespaces import Notice
from netcore.kernel.netlink import REPLACE, find, message_type, walk
from netcore.model import IPAddress, SandboxId
from netcore.plan.drift import Concern, Part

_NEWLINK, _NEWADDR, _NEWROUTE, _NEWNEIGH, _DELNEIGH, _NEWNETCONF = 16, 20, 24, 28, 29, 80
_AF_UNSPEC, _AF_INET = 0, 2
_NDA_DST, _NDA_LLADDR = 1, 2
_NETCONF_RP_FILTER = 3
_PERMANENT = 0x80
_LOOSE = (2).to_bytes(4, "little"), (2).to_bytes(4, "big")

ObjectsOf = Callable[[SandboxId], Iterable[KernelObject]]
"""A sandbox → what must exist for it."""


def contradicted(notices: Iterable[Notice], sandboxes: Mapping[int, SandboxId], objects_of: ObjectsOf) -> set[Concern]:
    """Return the sandboxes that *notices* may be damage of. *sandboxes*: by the id of their namespace."""
    by_sandbox: dict[SandboxId, list[bytes]] = {}
    for notice in notices:
        if notice.nsid is not None and notice.nsid in sandboxes:
            by_sandbox.setdefault(sandboxes[notice.nsid], []).append(notice.message)
    return {Concern(Part.SANDBOX, identity) for identity, told in by_sandbox.items() if _contradict(told, objects_of, identity)}


def _contradict(messages: Iterable[bytes], objects_of: ObjectsOf, identity: SandboxId) -> bool:
    links: dict[int, bytes] = {}
    neighbors: list[bytes] = []
    for message in messages:
        match message_type(message):
            case type_ if type_ == _NEWLINK and message[16] == _AF_UNSPEC:
                # Only what it is like in the end counts.
                links[struct.unpack_from("=i", message, 20)[0]] = message
            case type_ if type_ in (_NEWNEIGH, _DELNEIGH):
                neighbors.append(message)
            case type_ if type_ == _NEWADDR:
                # One address more takes nothing away.
                continue
            case type_ if type_ == _NEWROUTE and not _flags(message) & REPLACE:
                continue
            case type_ if type_ == _NEWNETCONF and _sets_loose_filter(message):
                continue
            case _:
                return True
    if not links and not neighbors:
        return False
    objects = [*objects_of(identity)]
    ends = {wanted.ifname: wanted for wanted in objects if isinstance(wanted, VethPeer)}
    expected = {wanted.address: wanted for wanted in objects if isinstance(wanted, Neighbor) and wanted.sandbox_id == identity}
    return not (all(_is_right(message, ends) for message in links.values()) and all(_says_nothing(one, expected) for one in neighbors))


def _flags(message: bytes) -> int:
    flags: int = struct.unpack_from("=H", message, 6)[0]
    return flags


def _is_right(message: bytes, ends: Mapping[str, VethPeer]) -> bool:
    link = rtnl.read_link(message)
    wanted = ends.get(link.name)
    return wanted is not None and link.up and (link.mac, link.mtu) == (wanted.mac, wanted.mtu)


def _says_nothing(message: bytes, expected: Mapping[IPAddress, Neighbor]) -> bool:
    """Return whether a neighbour is none of ours, or as it must be."""
    attributes = dict(walk(message[28:]))
    if _NDA_DST not in attributes:
        return True
    wanted = expected.get(ip_address(attributes[_NDA_DST]))
    if wanted is None:
        return True
    state = struct.unpack_from("=H", message, 24)[0]
    is_there = message_type(message) == _NEWNEIGH and bool(state & _PERMANENT)
    return is_there and attributes.get(_NDA_LLADDR, b"").hex(":") == wanted.mac


def _sets_loose_filter(message: bytes) -> bool:
    """Return whether the message tells of nothing but the reverse path filter that our links have."""
    return message[16] == _AF_INET and find(message[20:], _NETCONF_RP_FILTER) in _LOOSE
