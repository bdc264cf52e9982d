"""Who must know of sandboxes and endpoints: the resolver half, which makes names of them. Declared here, where it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from netcore.desired.egress_rules import TimedElement
from netcore.model import Endpoint, IPAddress, Network, NetworkId, RemoteEndpoint, Sandbox


class NamePublisher(Protocol):
    """Publishes and withdraws names, and keeps the sandboxes' resolvers."""

    async def open(self, sandbox: Sandbox) -> None:
        """Make the sandbox's resolver answer; called once its namespace exists, and again in its next one."""

    async def close(self, sandbox: Sandbox, *, goes_on: bool = False) -> None:
        """The opposite of `open`; never fails. *goes_on*: in another namespace, so its names stay."""

    def expect(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        """The links of *endpoints* come, or may be there still: of one with egress rules nothing is answered there before `update`."""

    async def update(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        """From now on the names of *sandbox* are those of *endpoints*, in gateway order, and its resolv.conf is right for them."""

    def remote(self, network: Network, before: RemoteEndpoint | None, after: RemoteEndpoint | None) -> None:
        """From now on an endpoint of an overlay network on another host is *after*, None if it is gone."""

    def host_addresses(self, addresses: Sequence[IPAddress]) -> None:
        """From now on the addresses of the host's links that are no network's are *addresses*."""

    def rewriting(self) -> AbstractContextManager[Sequence[TimedElement]]:
        """While the firewall tables are written anew, hold back what answers open; give what they have opened, to be written again."""

    def answer_waiting(self) -> None:
        """Answer the queries that have come meanwhile; for the middle of work that takes long on the loop. Nothing else happens there."""

    async def network_up(self, network: Network) -> None:
        """The bridge of *network* and its addresses exist."""

    async def network_down(self, network: Network) -> None:
        """The bridge of *network* is about to go."""
