"""What namespaces hold now: links, addresses, routes, neighbours. Blocking; reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netcore.desired.objects import HOST
from netcore.errors import NetcoreError
from netcore.kernel import netns, rtnl
from netcore.kernel.netlink import ROUTE, NetlinkSocket
from netcore.model import IPAddress, IPInterface, IPNetwork, NetnsPath, SandboxId


@dataclass(frozen=True, slots=True)
class NamespaceInventory:
    """What one namespace holds, by link name."""

    links: Mapping[str, rtnl.Link]
    names: Mapping[int, str]
    addresses: frozenset[tuple[str, IPInterface]]
    routes: frozenset[tuple[str, IPNetwork, IPAddress | None]]
    neighbors: frozenset[tuple[str, IPAddress, str]]


def read() -> NamespaceInventory:
    """Return what the namespace of the calling thread holds."""
    with NetlinkSocket(ROUTE) as netlink:
        links = {link.name: link for link in rtnl.links(netlink)}
        names = {link.index: name for name, link in links.items()}
        return NamespaceInventory(
            links,
            names,
            frozenset((names.get(index, ""), interface) for index, interface in rtnl.addresses(netlink)),
            frozenset((names.get(index, ""), destination, hop) for index, destination, hop in rtnl.routes(netlink)),
            frozenset((names.get(index, ""), address, mac) for index, address, mac in rtnl.neighbors(netlink)),
        )


class Inventory:
    """The host's and the sandboxes' inventories; each namespace is read once, when it is first asked for."""

    def __init__(self, netns_path: Callable[[SandboxId], NetnsPath]) -> None:
        self._netns_path = netns_path
        self._read: dict[SandboxId | None, NamespaceInventory | None] = {}

    def of(self, sandbox_id: SandboxId | None) -> NamespaceInventory | None:
        """Return what a namespace holds, None if a sandbox has no namespace any more."""
        if sandbox_id not in self._read:
            self._read[sandbox_id] = read() if sandbox_id is HOST else self._read_sandbox(sandbox_id)
        return self._read[sandbox_id]

    def _read_sandbox(self, sandbox_id: SandboxId) -> NamespaceInventory | None:
        try:
            with netns.opened(self._netns_path(sandbox_id)) as descriptor:
                return netns.run_inside(descriptor, read)
        except NetcoreError:
            return None

    def link(self, sandbox_id: SandboxId | None, ifname: str) -> rtnl.Link | None:
        """Return a link, None if there is none."""
        namespace = self.of(sandbox_id)
        return None if namespace is None else namespace.links.get(ifname)
