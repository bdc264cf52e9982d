"""What every resolver of this daemon works with, in sandboxes and on gateways."""

from __future__ import annotations

from dataclasses import dataclass

from netcore.keeper.kept_sockets import KeptSockets
from resolver.daemon.blocking import RunBlocking
from resolver.service import DnsService
from resolver.transport.poller import Poller


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The stages of a query, the poller of the sockets, the worker threads, and what outlives the daemon."""

    service: DnsService
    poller: Poller
    run_blocking: RunBlocking
    kept: KeptSockets
