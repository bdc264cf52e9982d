"""What every resolver of this daemon works with, in sandboxes and on gateways."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netcore.keeper.kept_sockets import KeptSockets
from netcore.plan.drift import Concern
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.spare_sockets import SpareSockets
from resolver.service import DnsService
from resolver.transport.poller import Poller


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The stages of a query, the poller of the sockets, the worker threads, and what outlives the daemon.

    *spares*: sockets that were opened before there was a sandbox. *follow_socket*: is told of each
    socket that others may destroy, and whose it is.
    """

    service: DnsService
    poller: Poller
    run_blocking: RunBlocking
    kept: KeptSockets
    spares: SpareSockets
    follow_socket: Callable[[socket.socket, Concern], None] = lambda _sock, _owner: None

    def follow(self, sockets: Sequence[socket.socket], owner: Concern) -> None:
        """Have it noticed when somebody destroys one of *sockets*."""
        for sock in sockets:
            self.follow_socket(sock, owner)
