"""Routes in a nest for the subnets of the host, so that networks of the nest take none of these, and the host's stay reachable.

They lead where everything else leads. They are made before the daemon starts, and follow the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from netcore import limits
from netcore.drivers.host_routes import HostRoute, RouteKind
from netcore.edge.connection import Edge
from netcore.edge.routes import open_bound, routes
from netcore.errors import KernelError, NetcoreError
from netcore.kernel import rtnl
from netcore.kernel.netlink import NetlinkSocket
from netcore.model import IPAddress, IPNetwork
from netcore.way_out.rules import HERE4, HERE6, NEST4, NEST6, UPLINK

log = logging.getLogger(__name__)

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_ROUTE_GROUPS = (7, 11)
"""RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE."""
_PAUSE = 0.5
"""Seconds between a change and the look at it: changes come in groups."""
_LENGTH = 65_536


def subnets_of(host: Iterable[HostRoute]) -> set[IPNetwork]:
    """Return the subnets that a nest must not take, of the routes of its *host*: what the host reaches without its default route."""
    return {
        route.destination
        for route in host
        if route.destination.prefixlen and route.kind is not RouteKind.REFUSED
        if not (route.destination.is_loopback or route.destination.is_link_local or route.destination.is_multicast)
        if not any(route.destination.overlaps(own) for own in (NEST4.network, NEST6.network) if own.version == route.destination.version)
    }


class HostRoutesInNest:
    """*nest*: a socket of the nest's namespace."""

    def __init__(self, edge: Edge, nest: NetlinkSocket) -> None:
        self._edge = edge
        self._nest = nest
        self._index = rtnl.link_index(nest, UPLINK)
        self._there: set[IPNetwork] = set()

    def settle(self) -> None:
        """Bring the nest's routes to the host's. Blocking, for a millisecond."""
        try:
            wanted = subnets_of(routes(self._edge))
        except NetcoreError as error:
            log.warning("the host's routes are not known reason=%s", error)
            return
        for subnet in self._there - wanted:
            with contextlib.suppress(KernelError):
                self._nest.execute(rtnl.delete_route(subnet, _gateway(subnet), self._index))
        kept = self._there & wanted
        for subnet in sorted(wanted - kept, key=lambda one: (one.version, one))[: limits.WAY_OUT_ROUTES]:
            with contextlib.suppress(KernelError):
                self._nest.execute(rtnl.replace_route(subnet, _gateway(subnet), self._index))
                kept.add(subnet)
        self._there = kept

    def follow(self) -> None:
        """Settle again whenever a route of the host changes, on the running loop."""
        try:
            changes = open_bound(self._edge)
            for group in _ROUTE_GROUPS:
                changes.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError as error:
            log.warning("changes of the host's routes are not followed reason=%s", error)
            return
        changes.setblocking(False)
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.TimerHandle] = []

        def settle() -> None:
            waiting.clear()
            self.settle()

        def note() -> None:
            try:
                while changes.recv(_LENGTH):
                    continue
            except OSError:
                # Empty, or some were lost: all are looked at anyway.
                pass
            if not waiting:
                waiting.append(loop.call_later(_PAUSE, settle))

        loop.add_reader(changes.fileno(), note)


def _gateway(subnet: IPNetwork) -> IPAddress:
    return HERE4.ip if subnet.version == 4 else HERE6.ip
