"""Which clients of a published port are relayed to its sandbox, and where to. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address, ip_address
from typing import Any

from netcore.model import IPAddress

Target = tuple[IPAddress, int]
"""Address and port in the sandbox."""

Peer = tuple[Any, ...]
"""A client's address as the socket module has it: (address, port), in IPv6 with flow label and scope id."""

IsInternalClient = Callable[[IPAddress, int], bool]
"""(client's address, index of the link that it is on, 0 if unknown) → whether the client is on an internal network.

Relayed traffic is delivered to the host, not forwarded, so the firewall does not keep such clients from it. A sandbox
can't forge its address, which is bound to its bridge port.
"""


class Clients(Enum):
    """A group of clients."""

    IPV4 = 4
    IPV6 = 6
    LOOPBACK = 1
    """The host itself, from ::1."""

    def include(self, address: IPAddress) -> bool:
        """Return whether the client at *address* is one of them."""
        if self is Clients.LOOPBACK:
            return address.version == 6 and address.is_loopback
        return address.version == (4 if self is Clients.IPV4 else 6)


@dataclass(frozen=True, slots=True)
class RelayRule:
    """Where one socket relays to. *groups*: which clients, and their targets, of which the next is for what the one before refuses.

    Other clients are refused. NAT serves them: they come here only before its rules exist, or after they are gone.
    """

    groups: tuple[tuple[Clients, tuple[Target, ...]], ...]

    def targets(self, peer: Peer, is_internal_client: IsInternalClient) -> tuple[Target, ...]:
        """Return where what comes from *peer* is relayed to; nowhere: it is refused. An IPv4-mapped address counts as the IPv4 address."""
        address, scope = ip_address(peer[0].partition("%")[0]), 0
        if isinstance(address, IPv6Address):
            address, scope = address.ipv4_mapped or address, peer[3]
        for group, targets in self.groups:
            if group.include(address):
                return () if is_internal_client(address, scope) else targets
        return ()
