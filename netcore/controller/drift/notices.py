"""Which network or sandbox a notification is about, and whether it may be damage. Reads no kernel.

Our own operations cause most notifications. So what a message says is compared with what must be: a link that is up, on its
bridge, under its name says nothing. Only what contradicts leads to a comparison.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from netcore import drivers
from netcore.kernel import nf_tables, rtnl
from netcore.kernel.all_namespaces import Notice
from netcore.kernel.netlink import find, message_type, walk
from netcore.kernel.rtnl import Link
from netcore.model import Endpoint, IPAddress, Network, NetworkId, Sandbox, SandboxId
from netcore.plan.drift import TABLES, Concern, Part
from netcore.plan.host_state import HostState

_NEWLINK, _DELLINK, _DELADDR, _DELROUTE, _NEWNEIGH, _DELNEIGH = 16, 17, 21, 25, 28, 29
_AF_UNSPEC, _AF_BRIDGE = 0, 7
_OIF, _PROTOCOL_INFO, _NDA_DST, _NDA_LLADDR = 4, 12, 1, 2
_BRPORT_MODE, _BRPORT_LEARNING, _BRPORT_ISOLATED = 4, 8, 33
_PERMANENT = 0x80
_TYPE_AND_PORT = struct.Struct("=4xH6xI")
_TABLE = nf_tables.OURS.encode() + b"\0"
_FAMILIES, _FAMILY_IPV4 = (nf_tables.FAMILIES["inet"], nf_tables.FAMILIES["bridge"]), nf_tables.FAMILIES["ip"]


@dataclass(frozen=True, slots=True)
class ExpectedLink:
    """A link of ours on the host. *master*: the bridge that it is a port of. *mac*, *mtu*, *alias*: "" or 0 for any.

    *port_mac*: the one that is at this port of the bridge, "" if it is no port.
    """

    concern: Concern
    master: str = ""
    mac: str = ""
    has_hairpin: bool = False
    mtu: int = 0
    alias: str = ""
    port_mac: str = ""

    def is_port_right(self, *, hairpin: bool | None, learns: bool | None, is_isolated: bool | None) -> bool:
        """Return whether flags of a bridge port are as they must be; None: not told of."""
        lacks_hairpin = self.has_hairpin and hairpin is False
        return not lacks_hairpin and not (self.port_mac and (learns or is_isolated))


_Neighbor = tuple[str, IPAddress]
"""(link, address)."""


class Expectations:
    """What notifications are compared with: the links and neighbours of the host that follow from a `HostState`.

    It is brought up to date by what has changed, so that a change costs the same with any number of networks and endpoints.
    """

    def __init__(self) -> None:
        self._links: dict[str, dict[NetworkId, ExpectedLink]] = {}
        self._of_networks: dict[NetworkId, list[str]] = {}
        self._ports: dict[str, ExpectedLink] = {}
        self._neighbors: dict[_Neighbor, tuple[Concern, str]] = {}
        self._of_sandboxes: dict[SandboxId, tuple[list[str], list[_Neighbor]]] = {}

    def link(self, name: str) -> ExpectedLink | None:
        """Return what is expected of a link, None if it is not ours."""
        return self._ports.get(name) or next(iter(self._links.get(name, {}).values()), None)

    def neighbor(self, name: str, address: IPAddress) -> tuple[Concern, str] | None:
        """Return whose neighbour *address* on a link is, and its MAC; None if it is not ours."""
        return self._neighbors.get((name, address))

    def take_networks(self, state: HostState) -> None:
        """Take over all networks that there are now: what is known of the host has changed."""
        for network_id in {*self._of_networks, *state.networks}:
            self.take_network(state, network_id)

    def take_network(self, state: HostState, network_id: NetworkId) -> None:
        """Take over a network as it is now; one that is gone, or has nothing on this host, has no links."""
        for name in self._of_networks.pop(network_id, ()):
            del self._links[name][network_id]
            if not self._links[name]:
                del self._links[name]
        network = state.network_here(network_id)
        if network is not None:
            links = _links_of(network, state)
            self._of_networks[network_id] = [*links]
            for name, link in links.items():
                self._links.setdefault(name, {})[network_id] = link

    def take_sandbox(self, state: HostState, sandbox_id: SandboxId) -> None:
        """Take over the endpoints that a sandbox has now; one that is gone has none."""
        links, neighbors = self._of_sandboxes.pop(sandbox_id, ([], []))
        # Another one may have the name of the link, or the address, by now.
        for link in links:
            if link in self._ports and self._ports[link].concern.identity == sandbox_id:
                del self._ports[link]
        for neighbor in neighbors:
            if neighbor in self._neighbors and self._neighbors[neighbor][0].identity == sandbox_id:
                del self._neighbors[neighbor]
        for endpoint in state.endpoints.get(sandbox_id, ()):
            self._add_endpoint(state, sandbox_id, endpoint)

    def _add_endpoint(self, state: HostState, sandbox_id: SandboxId, endpoint: Endpoint) -> None:
        network = state.networks.get(endpoint.network_id)
        if network is None or not drivers.of(network).has_host_veth:
            return
        links, neighbors = self._of_sandboxes.setdefault(sandbox_id, ([], []))
        concern, bridge = Concern(Part.SANDBOX, sandbox_id), network.bridge.bridge_name
        links.append(endpoint.host_ifname)
        self._ports[endpoint.host_ifname] = ExpectedLink(
            concern, master=bridge, has_hairpin=bool(endpoint.ports), mtu=network.common.mtu, port_mac=endpoint.mac
        )
        for interface in (endpoint.ipv4, endpoint.ipv6):
            if interface is not None:
                neighbors.append((bridge, interface.ip))
                self._neighbors[bridge, interface.ip] = concern, endpoint.mac


def _is_port_right(message: bytes, known: ExpectedLink) -> bool:
    """Return whether the flags of a bridge port are right, as far as a message (header included) tells of them."""
    told = dict(walk(find(message[32:], _PROTOCOL_INFO) or b""))
    hairpin, learns, is_isolated = (
        any(told[flag][:1]) if flag in told else None for flag in (_BRPORT_MODE, _BRPORT_LEARNING, _BRPORT_ISOLATED)
    )
    return known.is_port_right(hairpin=hairpin, learns=learns, is_isolated=is_isolated)


def _index(message: bytes) -> int:
    return int.from_bytes(message[20:24], sys.byteorder)


def _links_of(network: Network, state: HostState) -> dict[str, ExpectedLink]:
    """Return the host's links that exist for *network*, by name."""
    concern, found = Concern(Part.NETWORK, network.id), dict[str, ExpectedLink]()
    link = drivers.of(network).host_link(network)
    if link is not None and link.routed:
        reused = network.bridge.reuse_bridge
        found[link.name] = (
            ExpectedLink(concern) if reused else ExpectedLink(concern, mac=network.bridge.bridge_mac, alias=f"berth:{network.id}")
        )
    for wanted in drivers.of(network).network_objects(network, state.facts):
        for sandbox_id, name in wanted.links():
            if sandbox_id is None:
                found.setdefault(name, ExpectedLink(concern))
    return found


class HostNotices:
    """Follows the links of the host by their indexes, and says what rtnetlink notifications contradict."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def know(self, links: Iterable[Link]) -> None:
        """Take *links* for those that there are."""
        self._names = {link.index: link.name for link in links}

    def concerns(self, messages: Iterable[bytes], expected: Expectations) -> set[Concern]:
        """Return whose objects are contradicted by *messages*."""
        found: set[Concern] = set()
        last: dict[int, bytes] = {}
        ports: dict[int, bytes] = {}
        for message in messages:
            match message_type(message):
                case type_ if type_ in (_NEWLINK, _DELLINK) and message[16] == _AF_BRIDGE:
                    ports[_index(message)] = message
                case type_ if type_ in (_NEWLINK, _DELLINK) and message[16] == _AF_UNSPEC:
                    found |= self._take_link(message, expected, last, is_gone=type_ == _DELLINK)
                case type_ if type_ == _DELADDR:
                    found |= self._owner(struct.unpack_from("=I", message, 20)[0], expected)
                case type_ if type_ == _DELROUTE:
                    oif = find(message[28:], _OIF)
                    found |= self._owner(struct.unpack("=I", oif)[0], expected) if oif is not None else set()
                case type_ if type_ in (_NEWNEIGH, _DELNEIGH):
                    found |= self._take_neighbor(message, expected, is_gone=type_ == _DELNEIGH)
        for index, message in last.items():
            # Of those that are not ours nothing is expected.
            known = expected.link(self._names[index])
            if known is not None and not self._is_right(rtnl.read_link(message), known):
                found.add(known.concern)
        for index, message in ports.items():
            known = expected.link(self._names.get(index, ""))
            if known is not None and not _is_port_right(message, known):
                found.add(known.concern)
        return found

    def _owner(self, index: int, expected: Expectations) -> set[Concern]:
        known = expected.link(self._names.get(index, ""))
        return {known.concern} if known is not None else set()

    def _take_link(self, message: bytes, expected: Expectations, last: dict[int, bytes], *, is_gone: bool) -> set[Concern]:
        index = _index(message)
        if is_gone:
            last.pop(index, None)
            found = self._owner(index, expected)
            self._names.pop(index, None)
            return found
        name = rtnl.link_name(message)
        before = self._names.get(index, name)
        renamed = expected.link(before) if before != name else None
        found = {renamed.concern} if renamed is not None else set()
        self._names[index] = name
        last[index] = message
        return found

    def _is_right(self, link: Link, known: ExpectedLink) -> bool:
        return (
            link.up
            and (not known.master or self._names.get(link.master) == known.master)
            and (not known.mac or link.mac == known.mac)
            and (not known.mtu or link.mtu == known.mtu)
            and (not known.alias or link.alias == known.alias)
            and known.is_port_right(hairpin=link.has_hairpin, learns=link.learns, is_isolated=link.is_isolated)
        )

    def _take_neighbor(self, message: bytes, expected: Expectations, *, is_gone: bool) -> set[Concern]:
        family, index, state = message[16], *struct.unpack_from("=iH", message, 20)
        name = self._names.get(index, "")
        if family == _AF_BRIDGE:
            # An entry of a tunnel, or the one that says who is at a port.
            known = expected.link(name)
            if not is_gone or known is None:
                return set()
            is_ours = known.concern.part is Part.NETWORK or find(message[28:], _NDA_LLADDR) == bytes.fromhex(
                known.port_mac.replace(":", "")
            )
            return {known.concern} if is_ours else set()
        attributes = dict(walk(message[28:]))
        if _NDA_DST not in attributes:
            return set()
        wanted = expected.neighbor(name, ip_address(attributes[_NDA_DST]))
        if wanted is None:
            return set()
        concern, mac = wanted
        is_right = state & _PERMANENT and attributes.get(_NDA_LLADDR, b"").hex(":") == mac and not is_gone
        return set() if is_right else {concern}


@dataclass(frozen=True, slots=True)
class TableNotices:
    """What nftables notifications are about.

    *concerns*: whose tables of ours somebody else changed. *is_foreign*: somebody else changed any table.
    """

    concerns: frozenset[Concern]
    is_foreign: bool


def of_tables(notices: Iterable[Notice], sandboxes: Mapping[int, SandboxId], own_ports: Collection[int]) -> TableNotices:
    """Return what *notices* of nftables are about. *own_ports*: addresses of the netlink sockets that this daemon changes something by."""
    found: set[Concern] = set()
    is_foreign = False
    for nsid, message in notices:
        kind, port = _TYPE_AND_PORT.unpack_from(message)
        # First what our own changes cause, many of each.
        if (nsid is None and port in own_ports) or kind >> 8 != nf_tables.SUBSYSTEM:
            continue
        is_ours = find(message[nf_tables.BODY :], 1) == _TABLE
        if nsid is None:
            is_foreign = True
            if is_ours and kind != nf_tables.NEWGEN and message[16] in _FAMILIES:
                found.add(TABLES)
        elif is_ours and nsid in sandboxes and message[16] == _FAMILY_IPV4:
            found.add(Concern(Part.SANDBOX, sandboxes[nsid]))
    return TableNotices(frozenset(found), is_foreign)


def is_compared(sandbox: Sandbox) -> bool:
    """Return whether a sandbox has a namespace of its own that is ours to keep right."""
    return sandbox.shared_with is None and not sandbox.ended
