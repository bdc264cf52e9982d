"""Addresses, neighbours, routes and forwarding entries: requests, sent as one batch for each namespace."""

from __future__ import annotations

import errno

from netcore.desired.objects import HOST, Address, Forwarding, Neighbor, OwnDefaultRoute, Route
from netcore.kernel import default_routes, rtnl
from netcore.kernel.handlers.handler import Handler
from netcore.kernel.inventory import Inventory
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _index(sessions: NetlinkSessions, part: Address | Neighbor | Route) -> int:
    return sessions.link_index(part.sandbox_id, part.ifname)


def _observe_address(inventory: Inventory, address: Address) -> bool:
    namespace = inventory.of(address.sandbox_id)
    return namespace is not None and (address.ifname, address.interface) in namespace.addresses


def _observe_neighbor(inventory: Inventory, neighbor: Neighbor) -> bool:
    namespace = inventory.of(neighbor.sandbox_id)
    return namespace is not None and (neighbor.ifname, neighbor.address, neighbor.mac) in namespace.neighbors


def _observe_route(inventory: Inventory, route: Route) -> bool:
    namespace = inventory.of(route.sandbox_id)
    return namespace is not None and (route.ifname, route.destination, route.gateway) in namespace.routes


def _mend_address(sessions: NetlinkSessions, address: Address) -> tuple[()]:
    """Add an address at once: with it the kernel makes the route to its subnet, which must not be made a second time."""
    netlink, index = sessions.rtnetlink(address.sandbox_id), _index(sessions, address)
    # A link that came up again may have got it from the kernel.
    if (index, address.interface) not in rtnl.addresses(netlink, index):
        netlink.execute(rtnl.add_address(address.interface, index))
    return ()


def _mend_route(sessions: NetlinkSessions, route: Route) -> list[Request]:
    index = _index(sessions, route)
    present = rtnl.routes(sessions.rtnetlink(route.sandbox_id), index)
    return [] if (index, route.destination, route.gateway) in present else [rtnl.replace_route(route.destination, route.gateway, index)]


def _observe_own(inventory: Inventory, own: OwnDefaultRoute) -> bool:
    """Return whether the namespace has that way, or another of its own in its place, which is its own affair."""
    namespace = inventory.of(own.sandbox_id)
    wanted = (own.route.family, default_routes.metric(own.route))
    return namespace is not None and wanted in {(route.family, default_routes.metric(route)) for route in namespace.defaults}


def _create_forwarding(sessions: NetlinkSessions, entry: Forwarding) -> list[Request]:
    return rtnl.forwarding(entry.mac, entry.vtep, sessions.link_index(HOST, entry.ifname), create=True)


def _delete_forwarding(sessions: NetlinkSessions, entry: Forwarding) -> list[Request]:
    return rtnl.forwarding(entry.mac, entry.vtep, sessions.link_index(HOST, entry.ifname), create=False)


ADDRESS: Handler[Address, Request] = Handler(
    create=lambda sessions, address: [rtnl.add_address(address.interface, _index(sessions, address))],
    delete=lambda sessions, address: [rtnl.delete_address(address.interface, _index(sessions, address))],
    observe=_observe_address,
    mend=_mend_address,
)
NEIGHBOR: Handler[Neighbor, Request] = Handler(
    create=lambda sessions, neighbor: [rtnl.replace_neighbor(neighbor.address, neighbor.mac, _index(sessions, neighbor))],
    delete=lambda sessions, neighbor: [rtnl.delete_neighbor(neighbor.address, neighbor.mac, _index(sessions, neighbor))],
    observe=_observe_neighbor,
)
ROUTE: Handler[Route, Request] = Handler(
    create=lambda sessions, route: [rtnl.replace_route(route.destination, route.gateway, _index(sessions, route))],
    delete=lambda sessions, route: [rtnl.delete_route(route.destination, route.gateway, _index(sessions, route))],
    observe=_observe_route,
    # With the link down its addresses may be gone as well, and with them the way to the next hop.
    waits=frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH}),
    mend=_mend_route,
)
OWN_DEFAULT_ROUTE: Handler[OwnDefaultRoute, Request] = Handler(
    create=lambda _, own: [default_routes.give_back(own.route)],
    delete=lambda _, own: [default_routes.take_away(own.route)],
    observe=_observe_own,
    # It never left; or its link or the address that it needs is gone, and the route with it.
    already=frozenset({errno.EEXIST, errno.ENODEV, errno.ENETUNREACH, errno.EHOSTUNREACH}),
)
FORWARDING: Handler[Forwarding, Request] = Handler(
    create=_create_forwarding,
    delete=_delete_forwarding,
    observe=lambda inventory, entry: (entry.mac, entry.vtep) in inventory.forwardings(entry.ifname),
)
