"""The resolver inside one sandbox, at 127.0.0.11. `redirect.py` makes it appear on port 53."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field

from netcore.kernel.nft_listing import Structure
from netcore.model import Endpoint, NetworkId, Sandbox
from resolver.client import Client
from resolver.daemon import listeners
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.listeners import SocketPair
from resolver.service import DnsService
from resolver.transport.poller import Poller
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener
from resolver.zone.zone import Record

_DNS_PORT = 53

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class SandboxResolver:
    """One sandbox with its listeners, and what the registry has published for it.

    *listeners*: None while they could not be opened. *endpoints*: in gateway order. *published*: its records in each network's
    zone. *addresses*: (network, packed address) of its endpoints. *watched*: the networks whose changes its client hears of.
    *warning*: what is not as it should be. *pair*: the sockets of the listeners. *redirect*: what makes them appear at port 53,
    as the kernel had it when it was first looked at.
    """

    sandbox: Sandbox
    client: Client
    listeners: tuple[UdpListener, TcpListener] | None = None
    endpoints: tuple[Endpoint, ...] = ()
    published: dict[NetworkId, tuple[Record, ...]] = field(default_factory=dict)
    addresses: list[tuple[NetworkId, bytes]] = field(default_factory=list)
    watched: set[NetworkId] = field(default_factory=set)
    warning: str | None = None
    pair: SocketPair | None = None
    redirect: Structure | None = None

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of the listeners."""
        return [self.pair.udp, self.pair.tcp] if self.pair is not None else []

    async def find_broken(self, run_blocking: RunBlocking) -> list[tuple[str, str]]:
        """Return (kind, description) of what others have broken: the listeners, the redirect."""
        if self.pair is None:
            # Set aside, and tried again as such.
            return []
        if self.listeners is not None:
            self.listeners[1].stop_if_destroyed()
        if not listeners.is_serving(self.pair):
            return [("listener", "resolver at 127.0.0.11")]
        if self.pair.udp.getsockname()[1] == _DNS_PORT:
            return []
        rules = await run_blocking(lambda: listeners.redirect_rules(self.sandbox.netns_path))
        if self.redirect is None and rules:
            self.redirect = rules
        return [("redirect", "redirect of port 53 at 127.0.0.11")] if rules != self.redirect or not rules else []

    async def restore_redirect(self, run_blocking: RunBlocking) -> None:
        """Make the listeners appear at port 53 again."""
        pair = self.pair
        if pair is not None:
            self.redirect = await run_blocking(lambda: listeners.redirect_again(self.sandbox.netns_path, pair))

    async def reopen(self, service: DnsService, poller: Poller, run_blocking: RunBlocking) -> None:
        """Listen anew, in place of sockets that somebody has destroyed. The remembered replies stay."""
        await self.close()
        self.listeners = self.pair = None
        await self.listen(service, poller, run_blocking, replace=True)

    async def close(self) -> None:
        """Close the listeners; the redirect stays."""
        if self.listeners is not None:
            udp, tcp = self.listeners
            udp.close()
            await tcp.close()

    async def listen(self, service: DnsService, poller: Poller, run_blocking: RunBlocking, *, replace: bool) -> None:
        """Open the listeners, unless they are; *replace*: those of an earlier daemon were there."""
        if self.listeners is not None:
            return
        pair, warning = await run_blocking(lambda: listeners.open_in_sandbox(self.sandbox.netns_path, replace=replace))
        udp = UdpListener(poller, pair.udp, service, self.client)
        tcp = TcpListener(service, lambda _: self.client)
        await tcp.listen(pair.tcp)
        self.listeners, self.warning = (udp, tcp), warning
        self.pair, self.redirect = pair, None
        if warning is not None:
            log.warning("resolver bound to port 53 itself sandbox=%s reason=%s", self.sandbox.name, warning)
