"""This host as one of several: who it is, where others reach it, and the store they share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from netcore.cluster.cluster import Cluster
from netcore.cluster.state import Node
from netcore.controller import Controller
from netcore.errors import InvalidRequest
from netcore.model import IPAddress
from netcore.store import etcd
from resolver.daemon.config import DaemonConfig


def settings_of(config: DaemonConfig) -> etcd.EtcdSettings:
    """Return where etcd is and how to get in."""
    return replace(
        etcd.parse_url(config.store),
        ca=config.store_ca,
        certificate=config.store_certificate,
        key=config.store_key,
        ttl=config.store_ttl,
        grace=config.store_grace,
    )


def find_vtep(config: DaemonConfig) -> IPAddress | None:
    """Return the address that other hosts reach this one at; None on a host that is alone. Blocking."""
    if not config.store:
        return None
    if config.advertise:
        return ip_address(config.advertise)
    for endpoint in settings_of(config).endpoints:
        place = urlsplit(endpoint)
        with contextlib.suppress(OSError):
            kind, _, _, _, address = socket.getaddrinfo(place.hostname, place.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(kind, socket.SOCK_DGRAM) as sock:
                # Nothing is sent: the kernel only says which address of ours it would send from.
                sock.connect(address)
                return ip_address(sock.getsockname()[0])
    raise InvalidRequest("advertise", "no way to etcd tells which address of this host others can reach; set it")


async def make(config: DaemonConfig, controller: Controller, clock: Callable[[], float]) -> Cluster:
    """Return this host's part in the cluster, not begun."""
    vtep = controller.settings.vtep
    assert vtep is not None
    identity = await asyncio.to_thread(_identity, Path(config.state_dir, "node"))
    node = Node(id=identity, name=os.uname().nodename, vtep=vtep)
    return Cluster(settings_of(config), node, controller.overlays.on_cluster_change, clock)


def _identity(path: Path) -> str:
    """Return this host's id, which is made once. Two daemons never share a state directory."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    identity = secrets.token_hex(16)
    path.write_text(f"{identity}\n")
    return identity
