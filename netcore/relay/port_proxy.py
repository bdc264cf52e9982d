"""Published ports that NAT can't carry: from the host's ::1, and from an address of one family to a sandbox of the other.

They are relayed by this process: here the sandbox sees the host as its client, everywhere else it sees the client itself.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from typing import Protocol

from netcore.keeper.kept_sockets import KeptSockets
from netcore.model import PortMapping
from netcore.plan.published_ports import Relayed
from netcore.relay import host_ports
from netcore.relay.clients import Clients, IsInternalClient, RelayRule, Target
from netcore.relay.tcp_relay import TcpRelay
from netcore.relay.totals import Kind, Totals, descriptors
from netcore.relay.udp_relay import UdpRelay

log = logging.getLogger(__name__)


class HeldSockets(Protocol):
    """The sockets that hold the ports, as `HostPorts` has them."""

    def opened(self, mapping: PortMapping) -> socket.socket | None:
        """Return the socket of *mapping*, which packets reach from now on; None if there is none."""


class PortProxies:
    """The relays of all sandboxes, each on the socket that holds its port. *keeps_source*: a sandbox sees its client, not the host."""

    def __init__(self, ports: HeldSockets, is_internal_client: IsInternalClient, kept: KeptSockets, *, keeps_source: bool = False) -> None:
        self._ports = ports
        self._keeps_source = keeps_source
        self._is_internal_client = is_internal_client
        self._kept = kept
        self.totals = Totals(descriptors())
        self._relays: dict[str, dict[socket.socket, TcpRelay | UdpRelay]] = {}

    def settle(self, sandbox_id: str, wanted: Mapping[PortMapping, Relayed]) -> None:
        """Relay *wanted*, and nothing else, for a sandbox from now on; connections that lead elsewhere, or come by its other ports, end."""
        relays = self._relays.pop(sandbox_id, {})
        rules = self._rules(wanted)
        for sock in [sock for sock in relays if sock not in rules]:
            relays.pop(sock).close()
            host_ports.block(sock)
        for sock, rule in rules.items():
            if sock not in relays:
                relays[sock] = self._begin(sandbox_id, sock, rule)
            elif relays[sock].rule != rule:
                relays[sock].follow(rule)
        if relays:
            self._relays[sandbox_id] = relays

    def _begin(self, sandbox_id: str, sock: socket.socket, rule: RelayRule) -> TcpRelay | UdpRelay:
        internal, keeps_source = self._is_internal_client, self._keeps_source
        if sock.type == socket.SOCK_STREAM:
            places = self.totals.places(Kind.CONNECTIONS, sandbox_id)
            return TcpRelay(sock, rule, internal, self._kept, places, keeps_source=keeps_source)
        return UdpRelay(sock, rule, internal, self.totals.places(Kind.CLIENTS, sandbox_id), keeps_source=keeps_source)

    def _rules(self, wanted: Mapping[PortMapping, Relayed]) -> dict[socket.socket, RelayRule]:
        """Return what each socket relays. One may hold a port of both families, each of which has its own targets."""
        groups: dict[socket.socket, list[tuple[Clients, tuple[Target, ...]]]] = {}
        for mapping, relayed in wanted.items():
            sock = self._ports.opened(mapping)
            if sock is None:
                log.warning("port is published without a relay port=%d protocol=%s", mapping.host_port, mapping.protocol)
                continue
            clients = Clients.LOOPBACK if relayed.only_loopback else Clients(mapping.family)
            groups.setdefault(sock, []).append((clients, tuple((address, relayed.port) for address in relayed.addresses)))
        return {sock: RelayRule(tuple(each)) for sock, each in groups.items()}

    def leave(self) -> None:
        """End all relays of this process; the connections go on with the next daemon, if they are kept."""
        for relays in self._relays.values():
            for relay in relays.values():
                relay.leave()
        self._relays.clear()
