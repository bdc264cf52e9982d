"""The resolver inside one sandbox, at 127.0.0.11. `redirect.py` makes it appear on port 53."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel.nft_listing import Structure
from netcore.model import Endpoint, NetworkId, Sandbox
from netcore.plan.drift import Concern, Part
from resolver.daemon import listeners
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.daemon.listeners import SocketPair
from resolver.daemon.spare_sockets import SpareSockets
from resolver.daemon.surroundings import Surroundings
from resolver.dns_client import Client
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener
from resolver.zone.zone import Record

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class SandboxResolver:
    """One sandbox with its listeners, and what the registry has published for it.

    *listeners*: None while they could not be opened. *endpoints*: in gateway order. *published*: its records in each network's
    zone. *addresses*: (network, packed address) of its endpoints. *watched*: the networks whose changes its client hears of.
    *warning*: what is not as it should be. *pair*: the sockets of the listeners. *redirect*: what makes them appear at port 53,
    as the kernel had it when it was first looked at. *in_order*: generation of the sandbox's ruleset in which that was found so last.
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
    in_order: int | None = None

    async def listen(self, surroundings: Surroundings, *, replace: bool, first: Callable[[], None] = lambda: None) -> None:
        """Begin to answer, unless it does. *replace*: an earlier daemon did so, and its sockets are gone on with if they were kept.

        *first*: what else is to be done on the worker thread that opens the sockets, before it does.
        """
        if self.listeners is not None:
            return
        sandbox, kept, spares = self.sandbox, surroundings.kept, surroundings.spares

        def body() -> tuple[SocketPair, str | None]:
            first()
            return open_sockets(sandbox, kept, spares, replace=replace)

        await self.listen_on(surroundings, *await surroundings.run_blocking(body))

    async def listen_on(self, surroundings: Surroundings, pair: SocketPair, warning: str | None) -> None:
        """Begin to answer on the sockets that `open_sockets` returned."""
        sandbox, client, self.warning = self.sandbox, self.client, warning
        tcp = TcpListener(surroundings.service, lambda _: client)
        self.listeners = UdpListener(surroundings.poller, pair.udp, surroundings.service, client), tcp
        self.pair, self.redirect, self.in_order = pair, None, None
        await tcp.listen(pair.tcp)
        surroundings.follow(pair.sockets(), Concern(Part.SANDBOX, sandbox.id))
        if self.warning is not None:
            log.warning("resolver bound to port 53 itself sandbox=%s reason=%s", sandbox.name, self.warning)

    def pause(self) -> None:
        """Read no more queries, and accept no connection; what was read is still answered."""
        if self.listeners is not None:
            for listener in self.listeners:
                listener.pause()

    async def find_broken(self, run_blocking: RunBlocking) -> list[tuple[str, str]]:
        """Return (kind, description) of what others have broken: the listeners, the redirect."""
        if self.pair is None:
            # Set aside, and tried again as such.
            return []
        if self.listeners is not None:
            self.listeners[1].stop_if_destroyed()
        if not listeners.is_serving(self.pair):
            return [("listener", "resolver at 127.0.0.11")]
        if self.pair.udp.getsockname()[1] == listeners.PORT:
            return []
        generation, rules = await run_blocking(lambda: listeners.redirect_rules(self.sandbox.netns_path, self.in_order))
        return [("redirect", "redirect of port 53 at 127.0.0.11")] if self._is_damaged(generation, rules) else []

    def is_redirected(self) -> bool:
        """Return whether it has listeners that a redirect makes appear at port 53."""
        return self.pair is not None and listeners.is_serving(self.pair) and self.pair.udp.getsockname()[1] != listeners.PORT

    def _is_damaged(self, generation: int, rules: Structure | None) -> bool:
        if rules is None:
            return False
        if self.redirect is None and listeners.is_complete(rules):
            self.redirect = rules
        is_whole = bool(rules) and rules == self.redirect
        self.in_order = generation if is_whole else None
        return not is_whole

    async def check_redirect(self, found: tuple[int, Structure | None], run_blocking: RunBlocking) -> None:
        """Write the redirect again, if somebody damaged it while no daemon ran. *found*: see `listeners.redirect_rules`."""
        if self._is_damaged(*found):
            await self.restore_redirect(run_blocking)

    async def restore_redirect(self, run_blocking: RunBlocking) -> None:
        """Make the listeners appear at port 53 again."""
        pair = self.pair
        if pair is not None:
            self.in_order = None
            self.redirect = await run_blocking(lambda: listeners.redirect_again(self.sandbox.netns_path, pair))

    async def reopen(self, surroundings: Surroundings) -> None:
        """Listen anew, in place of sockets that somebody has destroyed. The remembered replies stay."""
        await self.close()
        await self.listen(surroundings, replace=True)

    async def close(self) -> None:
        """Close the listeners; the redirect stays, and so does what is kept."""
        closing, self.listeners, self.pair = self.listeners, None, None
        if closing is not None:
            udp, tcp = closing
            udp.close()
            await tcp.close()


def open_sockets(sandbox: Sandbox, kept: KeptSockets, spares: SpareSockets, *, replace: bool) -> tuple[SocketPair, str | None]:
    """Return sockets for the resolver of *sandbox*, and a warning if there is one; *replace*: see `SandboxResolver.listen`. Blocking."""
    taken = listeners.take_in_sandbox(kept, sandbox) if replace else None
    if taken is not None:
        on_53 = taken.udp.getsockname()[1] == listeners.PORT
        return taken, "port 53 of the sandbox is taken by the resolver" if on_53 else None
    pair, warning = _new_sockets(sandbox, spares, replace=replace)
    kept.keep(pair.by_name(listeners.names_in_sandbox(sandbox)))
    return pair, warning


def _new_sockets(sandbox: Sandbox, spares: SpareSockets, *, replace: bool) -> tuple[SocketPair, str | None]:
    spare = spares.take(sandbox.netns_path)
    if spare is None:
        return listeners.open_in_sandbox(sandbox.netns_path, replace=replace)
    if listeners.is_serving(spare[0]):
        return spare
    # Somebody has destroyed them meanwhile; their redirect is there.
    spare[0].close()
    return listeners.open_in_sandbox(sandbox.netns_path, replace=True)


def watch(gateways: Mapping[NetworkId, GatewayResolver], resolver: SandboxResolver, network_ids: Iterable[NetworkId]) -> None:
    """Have the client told of changes in the zones of these networks, and of no others."""
    wanted = set(network_ids)
    for network_id in resolver.watched ^ wanted:
        gateway = gateways.get(network_id)
        if gateway is not None:
            watchers = gateway.zone.watchers
            (watchers.add if network_id in wanted else watchers.discard)(resolver.client)
    resolver.watched = wanted
