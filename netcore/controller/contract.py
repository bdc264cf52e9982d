"""What the controller is given and what it gives back: its settings, who must know of changes, the outcome of an operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from netcore.desired.diff import Step
from netcore.model import Endpoint, IPAddress, IPNetwork, Network, NetworkId, RemoteEndpoint, Sandbox
from netcore.plan import ipam


class NamePublisher(Protocol):
    """Who must know of sandboxes and endpoints: the resolver half. Declared here, where it is called."""

    async def open(self, sandbox: Sandbox) -> None:
        """Make the sandbox's resolver answer; called once its namespace exists."""

    async def close(self, sandbox: Sandbox) -> None:
        """The opposite of `open`; never fails."""

    async def update(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        """From now on the names of *sandbox* are those of *endpoints*, in gateway order, and its resolv.conf is right for them."""

    def remote(self, network: Network, before: RemoteEndpoint | None, after: RemoteEndpoint | None) -> None:
        """From now on an endpoint of an overlay network on another host is *after*, None if it is gone."""

    async def network_up(self, network: Network) -> None:
        """The bridge of *network* and its addresses exist."""

    async def network_down(self, network: Network) -> None:
        """The bridge of *network* is about to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are and what is allowed; from the daemon's configuration."""

    run_directory: str
    netns_directory: str = "/run/netns"
    pools4: tuple[tuple[IPNetwork, int], ...] = ipam.DEFAULT_POOLS4
    pools6: tuple[tuple[IPNetwork, int], ...] = ()
    firewall: bool = True
    uplinks: tuple[str, ...] = ()
    vtep: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation did: the steps, and what the user should know."""

    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()
