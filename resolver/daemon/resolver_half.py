"""The parts that answer DNS queries, as the start makes them."""

from __future__ import annotations

from dataclasses import dataclass

from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.registry import Registry
from resolver.service import DnsService
from resolver.transport.poller import Poller
from resolver.transport.upstream import UpstreamPool


@dataclass(frozen=True, slots=True)
class ResolverHalf:
    """The host's name servers, the poller of the sockets, the connections to upstreams, the stages of a query, and the names."""

    host: HostResolvConf
    poller: Poller
    pool: UpstreamPool
    service: DnsService
    registry: Registry
