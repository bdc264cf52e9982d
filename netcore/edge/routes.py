"""The routes of the host, as seen through the edge. Blocking, for a millisecond."""

from __future__ import annotations

import socket

from netcore.drivers.host_routes import HostRoute, RouteKind
from netcore.edge.connection import Edge
from netcore.errors import Unavailable
from netcore.kernel import routing_tables
from netcore.kernel.netlink import FAMILY, ROUTE, NetlinkSocket
from netcore.model import IPNetwork


def open_bound(edge: Edge) -> socket.socket:
    """Return a netlink socket for routes that belongs to the host's namespace."""
    made = edge.open(FAMILY, socket.SOCK_RAW, ROUTE)
    made.setblocking(True)
    made.bind((0, 0))
    return made


def routes(edge: Edge) -> list[HostRoute]:
    """Return the host's routes; raises Unavailable."""
    try:
        with NetlinkSocket(ROUTE, open_bound(edge)) as host:
            return routing_tables.routes(host)
    except OSError as error:
        raise Unavailable("the host's network", f"the process outside does not answer: {error}") from error


def local_addresses(edge: Edge) -> tuple[IPNetwork, ...]:
    """Return what the host takes for its own addresses; raises Unavailable."""
    return tuple(route.destination for route in routes(edge) if route.kind is RouteKind.LOCAL)
