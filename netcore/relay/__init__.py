"""Ports of the host: held for the sandboxes that publish them, and relayed where the kernel's NAT can't carry them.

host_ports ─────────────────────────────────┐
clients ─▶ tcp_relay, udp_relay ─▶ port_proxy ─▶ controller

The protocols here are what the controller needs of them; `HostPorts`, its `Claim` and `PortProxies` fulfil them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from netcore.model import PortMapping
from netcore.plan.port_allocation import Binding
from netcore.plan.published_ports import Relayed


class PortClaim(Protocol):
    """Ports that one operation tries to hold, and then keeps or gives back. Blocking."""

    def try_hold(self, bindings: Sequence[Binding], protocol: str, port: int) -> Binding | None:
        """Hold the port at each of *bindings* and return None, or return the one where a program of the host has it."""

    def keep(self, mappings: Iterable[PortMapping]) -> None:
        """Go on holding what *mappings* need, and release everything else that was tried."""


class PortHolder(Protocol):
    """The published ports of the host, held so that no program of the host takes one unnoticed. Blocking."""

    def begin(self) -> PortClaim:
        """Return a claim for one operation."""

    def claim(self, mappings: Iterable[PortMapping]) -> None:
        """Hold every one of *mappings*, or none and raise Conflict."""

    def release(self, mappings: Iterable[PortMapping]) -> None:
        """Release *mappings*; those that are not held are ignored."""


class PortRelay(Protocol):
    """The published ports that NAT can't carry, relayed. On the loop."""

    def settle(self, sandbox_id: str, wanted: Mapping[PortMapping, Relayed]) -> None:
        """Relay *wanted*, and nothing else, for a sandbox from now on; connections through its other ports end."""

    def close(self) -> None:
        """End all relays."""
