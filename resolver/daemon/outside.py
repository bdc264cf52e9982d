"""Sockets to upstreams, and subscriptions, where these are reached from: inside a sandbox, or from the host.

In a nest the edge makes those of the host.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from netcore.controller import Controller
from netcore.edge.connection import Edge
from netcore.kernel import netns
from netcore.kernel.notifications import PATHS, Notifications
from netcore.model import SandboxId
from resolver.engine.upstream import Upstream
from resolver.rootless import places
from resolver.transport.upstream_socket import open_datagram

_T = TypeVar("_T")


def edge_path(run_dir: str) -> str:
    """Return the path of the edge's socket, "" where this is no nest."""
    path = Path(run_dir, places.EDGE)
    return str(path) if places.is_nest() and path.exists() else ""


def edge_at(path: str) -> Edge | None:
    """Return the way to the edge whose socket is at *path*, None for ""."""
    return Edge(path) if path else None


class Sockets:
    """*controller*: returns the controller, which is not there before the resolver is."""

    def __init__(self, edge: Edge | None, controller: Callable[[], Controller]) -> None:
        self._edge = edge
        self._controller = controller

    async def open(self, sandbox_id: str | None, upstream: Upstream, kind: int) -> socket.socket:
        """Open a socket to an upstream from a sandbox, or from the host; see `OpenSocket`."""
        edge, controller = self._edge, self._controller()
        if sandbox_id:
            return await self._inside(sandbox_id, lambda: open_datagram(upstream, kind))
        if edge is None:
            return open_datagram(upstream, kind)
        return await controller.workers.run(lambda: open_datagram(upstream, kind, edge.open))

    async def subscribe(self, sandbox_id: str | None) -> Notifications:
        """Return what tells of other ways to upstreams, from a sandbox or from here."""
        return await self._inside(sandbox_id, lambda: Notifications(*PATHS)) if sandbox_id else Notifications(*PATHS)

    async def _inside(self, sandbox_id: str, work: Callable[[], _T]) -> _T:
        controller = self._controller()
        path = controller.netns_path(SandboxId(sandbox_id))

        def enter() -> _T:
            with netns.opened(path) as descriptor:
                return netns.run_inside(descriptor, work)

        return await controller.workers.run(enter)
