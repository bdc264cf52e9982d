"""The resolver on a network's gateway addresses, for containers and programs that don't use 127.0.0.11."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

from netcore import drivers
from netcore.errors import NetcoreError
from netcore.kernel import bound_ports
from netcore.model import IPAddress, Network
from netcore.plan.drift import Concern, Part
from resolver.daemon import listeners
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.listeners import SocketPair
from resolver.daemon.surroundings import Surroundings
from resolver.dns_client import Client, Strangers
from resolver.transport.batch import packed
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener
from resolver.wire import name as names
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import StaticRecord, by_name

log = logging.getLogger(__name__)

ClientAt = Callable[[bytes], Client | None]
"""Address (packed) → the sandbox that has it on one network."""


@dataclass(slots=True)
class GatewayResolver:
    """One network: its zone, and the resolver on its gateway *addresses*. *strangers*: who asks there and is no endpoint.

    *warning*: why nobody listens there.
    """

    network: Network
    zone: PublishedZone
    strangers: Strangers
    addresses: tuple[str, ...] = ()
    warning: str | None = None
    _watched: list[PublishedZone] = field(default_factory=list)
    _listeners: dict[IPAddress, tuple[UdpListener, TcpListener]] = field(default_factory=dict)
    _pairs: list[SocketPair] = field(default_factory=list)

    def watch(self, networks: Iterable[GatewayResolver]) -> None:
        """Have strangers told of changes in the zones of *networks*, and of no others."""
        for zone in self._watched:
            zone.watchers.discard(self.strangers.common)
        self._watched = [network.zone for network in networks]
        for zone in self._watched:
            zone.watchers.add(self.strangers.common)

    async def go_on(self, surroundings: Surroundings, client_at: ClientAt, *, for_host: bool) -> None:
        """Answer at those gateway addresses whose sockets an earlier daemon left. *client_at*, *for_host*: see `listen`."""
        link = self._link()
        for address in self._addresses():
            take = partial(listeners.take_on_gateway, surroundings.kept, self.network.id, address, link, for_host=for_host)
            pair = await surroundings.run_blocking(take)
            if pair is not None:
                await self._serve(address, pair, surroundings, client_at)

    async def listen(self, surroundings: Surroundings, client_at: ClientAt, *, for_host: bool) -> None:
        """Answer at all gateway addresses. *client_at*: the sandbox with that address (packed) on this network.

        Who asks is known by the bridge that the query came over and by its source address, which is bound to its bridge port.
        *for_host*: what programs of this host itself ask is answered too.
        """
        for address in self._addresses():
            if address not in self._listeners:
                await self._listen(address, surroundings, client_at, for_host=for_host)

    def _addresses(self) -> list[IPAddress]:
        return [interface.ip for interface in drivers.of(self.network).host_addresses(self.network)]

    def _link(self) -> str:
        attached = drivers.of(self.network).host_link(self.network)
        return attached.name if attached is not None else ""

    async def _listen(self, address: IPAddress, surroundings: Surroundings, client_at: ClientAt, *, for_host: bool) -> None:
        link, kept, run_blocking = self._link(), surroundings.kept, surroundings.run_blocking

        def open_and_keep() -> SocketPair:
            pair = listeners.open_on_gateway(address, link, for_host=for_host)
            kept.keep(pair.by_name(listeners.names_on_gateway(self.network.id, address)))
            return pair

        try:
            pair = await run_blocking(open_and_keep)
        except (NetcoreError, OSError) as error:
            self.warning = f"no resolver at {address}: {await _why_closed(error, run_blocking)}"
            log.warning("gateway resolver not started network=%s reason=%s", self.network.name, self.warning)
            return
        await self._serve(address, pair, surroundings, client_at)

    async def _serve(self, address: IPAddress, pair: SocketPair, surroundings: Surroundings, client_at: ClientAt) -> None:
        def client_of(asking: bytes) -> Client:
            return client_at(asking) or self.strangers.at(asking)

        poller, service = surroundings.poller, surroundings.service
        udp = UdpListener(poller, pair.udp, service, self.strangers.common, lambda peer: client_of(packed(peer)), pair.screen)
        tcp = TcpListener(service, lambda peer: client_of(ip_address(peer).packed))
        await tcp.listen(pair.tcp)
        self._listeners[address] = udp, tcp
        self._pairs.append(pair)
        surroundings.follow(pair.sockets(), Concern(Part.NETWORK, self.network.id))

    def pause(self) -> None:
        """Read no more queries, and accept no connection; what was read is still answered."""
        for udp, tcp in self._listeners.values():
            udp.pause()
            tcp.pause()

    def is_broken(self) -> bool:
        """Return whether somebody destroyed the sockets, or the link that they are bound to."""
        for _, tcp in self._listeners.values():
            tcp.stop_if_destroyed()
        link = self._link()
        return any(not listeners.is_serving(pair, link) for pair in self._pairs)

    async def reopen(self, surroundings: Surroundings, client_at: ClientAt, *, for_host: bool) -> None:
        """Listen anew, in place of sockets that somebody has destroyed. *client_at*, *for_host*: see `listen`."""
        kept, names = surroundings.kept, self.kept_names()
        await surroundings.run_blocking(lambda: kept.drop(*names))
        await self.close()
        self.warning = None
        await self.listen(surroundings, client_at, for_host=for_host)

    async def close(self) -> None:
        """Stop answering; what is kept stays."""
        for udp, tcp in self._listeners.values():
            udp.close()
            await tcp.close()
        self._listeners.clear()
        self._pairs.clear()

    def udp_listeners(self) -> list[UdpListener]:
        """Return what queries come by over UDP."""
        return [udp for udp, _ in self._listeners.values()]

    def kept_names(self) -> list[str]:
        """Return what the sockets are kept by."""
        return [name for address in self._listeners for name in listeners.names_on_gateway(self.network.id, address)]


async def _why_closed(error: NetcoreError | OSError, run_blocking: RunBlocking) -> str:
    """Return why the sockets at a gateway address could not be opened."""
    match error:
        case PermissionError():
            return "port 53 needs the capability CAP_NET_BIND_SERVICE"
        case OSError():
            holder = await run_blocking(lambda: bound_ports.find_holder(listeners.PORT))
            return f"port 53 is held by {holder or 'another program'} ({error.strerror})"
        case _:
            return str(error)


def show_static_names(gateway: GatewayResolver | None, changed: Mapping[str, Sequence[StaticRecord]]) -> None:
    """From now on these names of a network have these static records, or none; None: the network is not served here."""
    if gateway is None:
        return
    static = by_name((record for records in changed.values() for record in records), gateway.network.common.ttl)
    gateway.zone.change_static({(wire := names.from_text(name)): static.get(wire) for name in changed})
