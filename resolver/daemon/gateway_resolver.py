"""The resolver on a network's gateway addresses, for containers and programs that don't use 127.0.0.11."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

from netcore import drivers
from netcore.errors import NetcoreError
from netcore.kernel import bound_ports
from netcore.model import IPAddress, Network
from resolver.client import Client, Strangers
from resolver.daemon import listeners
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.listeners import SocketPair
from resolver.service import DnsService
from resolver.transport.batch import packed
from resolver.transport.poller import Poller
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener
from resolver.zone.published import PublishedZone

log = logging.getLogger(__name__)


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
    _listeners: list[tuple[UdpListener, TcpListener]] = field(default_factory=list)
    _pairs: list[SocketPair] = field(default_factory=list)

    async def listen(
        self,
        service: DnsService,
        poller: Poller,
        run_blocking: RunBlocking,
        client_at: Callable[[bytes], Client | None],
        *,
        for_host: bool,
    ) -> None:
        """Answer at all gateway addresses. *client_at*: the sandbox with that address (packed) on this network.

        Who asks is known by the bridge that the query came over and by its source address, which is bound to its bridge port.
        *for_host*: what programs of this host itself ask is answered too.
        """

        def client_of(address: bytes) -> Client:
            return client_at(address) or self.strangers.at(address)

        attached = drivers.of(self.network).host_link(self.network)
        bridge = attached.name if attached is not None else ""
        for interface in drivers.of(self.network).host_addresses(self.network):
            open_pair = partial(listeners.open_on_gateway, interface.ip, bridge, for_host=for_host)
            await self._listen(interface.ip, open_pair, service, poller, run_blocking, client_of)

    async def _listen(
        self,
        address: IPAddress,
        open_pair: Callable[[], listeners.SocketPair],
        service: DnsService,
        poller: Poller,
        run_blocking: RunBlocking,
        client_of: Callable[[bytes], Client],
    ) -> None:
        try:
            pair = await run_blocking(open_pair)
        except (NetcoreError, OSError) as error:
            self.warning = f"no resolver at {address}: {await _why_closed(error, run_blocking)}"
            log.warning("gateway resolver not started network=%s reason=%s", self.network.name, self.warning)
            return
        udp = UdpListener(poller, pair.udp, service, self.strangers.common, lambda peer: client_of(packed(peer)), pair.screen)
        tcp = TcpListener(service, lambda peer: client_of(ip_address(peer).packed))
        await tcp.listen(pair.tcp)
        self._listeners.append((udp, tcp))
        self._pairs.append(pair)

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of all listeners."""
        return [sock for pair in self._pairs for sock in (pair.udp, pair.tcp)]

    def is_broken(self) -> bool:
        """Return whether somebody destroyed the sockets, or the link that they are bound to."""
        for _, tcp in self._listeners:
            tcp.stop_if_destroyed()
        attached = drivers.of(self.network).host_link(self.network)
        link = attached.name if attached is not None else ""
        return any(not listeners.is_serving(pair, link) for pair in self._pairs)

    async def close(self) -> None:
        """Stop answering."""
        for udp, tcp in self._listeners:
            udp.close()
            await tcp.close()
        self._listeners.clear()
        self._pairs.clear()


async def _why_closed(error: NetcoreError | OSError, run_blocking: RunBlocking) -> str:
    """Return why the sockets at a gateway address could not be opened."""
    match error:
        case PermissionError():
            return "port 53 needs the capability CAP_NET_BIND_SERVICE"
        case OSError():
            holder = await run_blocking(lambda: bound_ports.find_holder(53))
            return f"port 53 is held by {holder or 'another program'} ({error.strerror})"
        case _:
            return str(error)
