"""What namespaces hold now: links, addresses, routes, neighbours, sysctls. Blocking; reads only.

A start reads everything that the host has. A comparison of one network or sandbox asks for its own links only: with a
thousand sandboxes all links of the host are a megabyte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from netcore.default_route import DefaultRoute
from netcore.desired.objects import (
    HOST,
    Address,
    BridgePort,
    Forwarding,
    Hairpin,
    KernelObject,
    Neighbor,
    OwnDefaultRoute,
    Route,
    Sysctl,
    TapLink,
    Veth,
)
from netcore.errors import NetcoreError
from netcore.kernel import default_routes, netns, rtnl, sysctl
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import IPAddress, IPInterface, IPNetwork, NetnsPath, SandboxId


@dataclass(frozen=True, slots=True)
class NamespaceInventory:
    """What one namespace holds, by link name. *defaults*: default routes as they were told.

    *entries*: (port, MAC) of the entries of bridges that say for good who is at a port.
    """

    links: Mapping[str, rtnl.Link]
    names: Mapping[int, str]
    addresses: frozenset[tuple[str, IPInterface]]
    routes: frozenset[tuple[str, IPNetwork, IPAddress | None]]
    neighbors: frozenset[tuple[str, IPAddress, str]]
    sysctls: Mapping[str, str] = field(default_factory=dict)
    defaults: tuple[DefaultRoute, ...] = ()
    entries: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Versions:
    """Of which IP versions addresses, routes and neighbours are asked for: each is a dump."""

    addresses: Collection[int] = (4, 6)
    routes: Collection[int] = (4, 6)
    neighbors: Collection[int] = (4, 6)


_BOTH = _Versions()


def _versions_of(wanted: Collection[KernelObject]) -> _Versions:
    return _Versions(
        {part.interface.version for part in wanted if isinstance(part, Address)},
        {part.destination.version for part in wanted if isinstance(part, Route)},
        {part.address.version for part in wanted if isinstance(part, Neighbor)},
    )


def read(
    sysctls: Collection[str] = (), *, defaults: bool = False, entries: bool = False, versions: _Versions = _BOTH
) -> NamespaceInventory:
    """Return what the namespace of the calling thread holds. *sysctls*: which of them to read. *defaults*, *entries*: whether to."""
    with NetlinkSocket(ROUTE) as netlink:
        links = {link.name: link for link in rtnl.links(netlink)}
        names = {link.index: name for name, link in links.items()}
        return NamespaceInventory(
            links,
            names,
            frozenset((names.get(index, ""), interface) for index, interface in rtnl.addresses(netlink, versions=versions.addresses)),
            frozenset(
                (names.get(index, ""), destination, hop) for index, destination, hop in rtnl.routes(netlink, versions=versions.routes)
            ),
            frozenset((names.get(index, ""), address, mac) for index, address, mac in rtnl.neighbors(netlink, versions.neighbors)),
            sysctl.read_all(sysctls),
            default_routes.read() if defaults else (),
            frozenset((names.get(index, ""), mac) for mac, index in rtnl.static_entries(netlink)) if entries else frozenset(),
        )


def read_of(wanted: Collection[KernelObject]) -> NamespaceInventory:
    """Return what the namespace of the calling thread holds of *wanted*, and of their links, and nothing else."""
    with NetlinkSocket(ROUTE) as netlink:
        found = {name: rtnl.find_link(netlink, name) for name in _link_names(wanted)}
        links = {name: link for name, link in found.items() if link is not None}
        index = {name: link.index for name, link in links.items()}
        addressed = {(part.ifname, part.interface.version) for part in wanted if isinstance(part, Address) and part.ifname in index}
        routed = {(part.ifname, part.destination.version) for part in wanted if isinstance(part, Route) and part.ifname in index}
        neighbors = [part for part in wanted if isinstance(part, Neighbor) and part.ifname in index]
        return NamespaceInventory(
            links,
            {link.index: name for name, link in links.items()},
            frozenset(
                (name, interface) for name, version in addressed for _, interface in rtnl.addresses(netlink, index[name], (version,))
            ),
            frozenset(
                (name, destination, hop)
                for name, version in routed
                for _, destination, hop in rtnl.routes(netlink, index[name], (version,))
            ),
            frozenset(
                (part.ifname, part.address, mac)
                for part in neighbors
                if (mac := rtnl.find_neighbor(netlink, index[part.ifname], part.address)) is not None
            ),
            entries=frozenset(
                (part.host_ifname, part.mac)
                for part in wanted
                if isinstance(part, BridgePort)
                and part.host_ifname in index
                and rtnl.has_static_entry(netlink, part.mac, index[part.host_ifname])
            ),
        )


def _link_names(wanted: Collection[KernelObject]) -> set[str]:
    names: set[str] = set()
    for part in wanted:
        names.update(name for sandbox_id, name in part.links() if sandbox_id is HOST)
        match part:
            case Veth() | TapLink():
                names.add(part.bridge)
            case Address() | Route() | Neighbor() | Forwarding():
                names.add(part.ifname)
            case Hairpin():
                names.add(part.host_ifname)
            case _:
                names.update([name] if (name := getattr(part, "name", None)) is not None else [])
    return names


class Inventory:
    """The host's and the sandboxes' inventories. The host is read when it is first asked for; all sandboxes when one of them is.

    *wanted*: what will be asked for. *only_wanted*: of the host nothing else is read. *host*: what the host holds, if it is known.
    Sysctls of the host are read one by one when they are asked for.
    """

    def __init__(
        self,
        netns_path: Callable[[SandboxId], NetnsPath],
        wanted: Iterable[KernelObject] = (),
        *,
        only_wanted: bool = False,
        host: NamespaceInventory | None = None,
    ) -> None:
        self._netns_path = netns_path
        self._read: dict[SandboxId | None, NamespaceInventory | None] = {} if host is None else {HOST: host}
        self._forwardings: dict[str, frozenset[tuple[str, IPAddress]]] = {}
        self._wanted: dict[SandboxId | None, list[KernelObject]] = defaultdict(list)
        for kernel_object in wanted:
            self._wanted[kernel_object.lane.sandbox_id].append(kernel_object)
        self._only_wanted = only_wanted

    def of(self, sandbox_id: SandboxId | None) -> NamespaceInventory | None:
        """Return what a namespace holds, None if a sandbox has no namespace any more."""
        if sandbox_id not in self._read:
            if sandbox_id is HOST:
                self._read[HOST] = self._read_host()
            else:
                self._read_sandboxes(sandbox_id)
        return self._read[sandbox_id]

    def _sysctls(self, sandbox_id: SandboxId | None) -> list[str]:
        return [wanted.path for wanted in self._wanted[sandbox_id] if isinstance(wanted, Sysctl)]

    def _read_host(self) -> NamespaceInventory:
        wanted = self._wanted[HOST]
        return read_of(wanted) if self._only_wanted else read(entries=any(isinstance(part, BridgePort) for part in wanted))

    def _read_sandboxes(self, asked: SandboxId) -> None:
        """Read all sandboxes that will be asked for, *asked* among them."""
        wanted: list[SandboxId] = [one for one in {asked: None, **self._wanted} if one is not HOST]
        sysctls = [self._sysctls(one) for one in wanted]
        defaults = [any(isinstance(part, OwnDefaultRoute) for part in self._wanted[one]) for one in wanted]
        versions = [_versions_of(self._wanted[one]) for one in wanted]
        found = netns.run_inside_each(
            [self._netns_path(one) for one in wanted],
            lambda place: read(sysctls[place], defaults=defaults[place], versions=versions[place]),
        )
        for one, held in zip(wanted, found, strict=True):
            if isinstance(held, OSError):
                raise held
            self._read[one] = None if isinstance(held, NetcoreError) else held

    def link(self, sandbox_id: SandboxId | None, ifname: str) -> rtnl.Link | None:
        """Return a link, None if there is none."""
        namespace = self.of(sandbox_id)
        return None if namespace is None else namespace.links.get(ifname)

    def sysctl(self, sandbox_id: SandboxId | None, path: str) -> str | None:
        """Return the value of one of the wanted sysctls, None if there is none."""
        if sandbox_id is HOST:
            return sysctl.read(path)
        namespace = self.of(sandbox_id)
        return None if namespace is None else namespace.sysctls.get(path)

    def has_static_entry(self, ifname: str, mac: str) -> bool:
        """Return whether the bridge of the host's port *ifname* has *mac* there for good."""
        host = self.of(HOST)
        return host is not None and (ifname, mac) in host.entries

    def forwardings(self, tunnel: str) -> frozenset[tuple[str, IPAddress]]:
        """Return (MAC, VTEP) of the forwarding entries of a tunnel of the host."""
        if tunnel not in self._forwardings:
            link = self.link(HOST, tunnel)
            with NetlinkSocket(ROUTE) as netlink:
                self._forwardings[tunnel] = frozenset(rtnl.forwardings(netlink, link.index)) if link is not None else frozenset()
        return self._forwardings[tunnel]
