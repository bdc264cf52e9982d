"""This host as one of several: who it is, where others reach it, and the store they share."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
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
from netcore.errors import InvalidRequest
from netcore.model import IPAddress
from netcore.store.etcd_settings import EtcdSettings, parse_url
from netcore.store.protocol import SharedStore
from resolver.daemon.config import DaemonConfig

log = logging.getLogger(__name__)


def etcd_settings(config: DaemonConfig) -> EtcdSettings:
    """Return where etcd is and how to get in."""
    return replace(
        parse_url(config.store),
        ca=config.store_ca or None,
        certificate=config.store_certificate or None,
        key=config.store_key or None,
        ttl=config.store_ttl,
        grace=config.store_grace,
    )


def find_vtep(config: DaemonConfig) -> IPAddress | None:
    """Return the address that other hosts reach this one at, None on a host that shares no store. Blocking.

    It is the address that `advertise` names; otherwise the one that etcd is reached from. InvalidRequest if there is none.
    """
    if not config.store:
        return None
    if config.advertise:
        return ip_address(config.advertise)
    for url in etcd_settings(config).endpoints:
        server = urlsplit(url)
        with contextlib.suppress(OSError):
            family, _, _, _, address = socket.getaddrinfo(server.hostname, server.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                # Nothing is sent: the kernel only says which address of ours it would send from.
                sock.connect(address)
                return ip_address(sock.getsockname()[0])
    raise InvalidRequest("advertise", "there is no route to etcd that tells which address of this host others reach; set it")


async def make(config: DaemonConfig, vtep: IPAddress, clock: Callable[[], float]) -> Cluster:
    """Return this host's part in the cluster, not started. *clock*: seconds since the epoch."""
    node_id = await asyncio.to_thread(read_or_make_node_id, Path(config.state_dir))
    node = Node(id=node_id, name=os.uname().nodename, vtep=vtep)
    return Cluster(lambda: _open(config), node, clock, review_period=config.store_ttl)


async def _open(config: DaemonConfig) -> SharedStore:
    # It takes a quarter of a second, most of it for aiohttp. Names are answered before it is needed, and meanwhile: so on a thread.
    await asyncio.to_thread(importlib.import_module, "netcore.store.etcd")
    from netcore.store import etcd

    return await etcd.open_etcd(etcd_settings(config))


_NODE = "node"


def read_or_make_node_id(directory: Path) -> str:
    """Return this host's id, which is made once and kept in the state *directory*; one that can't be kept now is of this run only.

    Blocking. Two daemons never share a state directory.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        # A full file system may have left an empty file.
        kept = Path(directory, _NODE).read_text().strip()
        if kept:
            return kept
    node_id = secrets.token_hex(16)
    try:
        write_node_id(directory, node_id)
    except OSError as error:
        log.warning("this host's id in the cluster is not kept yet reason=%s", error)
    return node_id


def write_node_id(directory: Path, node_id: str) -> None:
    """Keep this host's id in the state *directory*, unless one is kept there; a whole one or none. Blocking; OSError."""
    path = Path(directory, _NODE)
    if path.is_file() and path.stat().st_size:
        return
    fresh = path.with_name(f"{_NODE}.new")
    fresh.write_text(f"{node_id}\n")
    fresh.replace(path)
