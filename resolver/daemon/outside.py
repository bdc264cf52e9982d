"""The daemon's way outside: sockets to the host's name servers, made here, or by the edge if this daemon is in a nest."""

from __future__ import annotations

import socket
from pathlib import Path

from netcore.edge.connection import Edge
from resolver.daemon.blocking import RunBlocking
from resolver.engine.upstream import Upstream
from resolver.rootless import places
from resolver.transport.upstream_socket import open_datagram


def edge_path(run_dir: str) -> str:
    """Return the path of the edge's socket, "" where this is no nest."""
    path = Path(run_dir, places.EDGE)
    return str(path) if places.is_nest() and path.exists() else ""


def edge_at(path: str) -> Edge | None:
    """Return the way to the edge whose socket is at *path*, None for ""."""
    return Edge(path) if path else None


async def open_to_host(edge: Edge | None, run_blocking: RunBlocking, upstream: Upstream, kind: int) -> socket.socket:
    """Open a socket to one of the host's name servers."""
    return open_datagram(upstream, kind) if edge is None else await run_blocking(lambda: open_datagram(upstream, kind, edge.open))
