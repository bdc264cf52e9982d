"""The answers that most drivers share, for a driver to inherit and replace. Pure.

This is a base class and not a module of functions, because most drivers would otherwise repeat a dozen methods that only
call a function of the same name. It has no state and no constructor, so only behaviour is inherited. A driver that builds on
another one (overlay on bridge) holds that one and delegates to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from netcore.desired.objects import KernelObject
from netcore.drivers.facts import Facts
from netcore.drivers.protocol import AttachedLink, Hop, MacSource, Publishing
from netcore.model import Endpoint, EndpointRequest, IPInterface, Network, RemoteEndpoint
from netcore.parse.options import COMMON, Option, canonical_options


class DriverDefaults:
    """A driver whose networks have a gateway, lead nowhere through the host, and publish nothing.

    What is left to write: `name`, `configure`, `network_objects` and `endpoint_objects`.
    """

    name: str
    options: Sequence[Option[Any]] = ()
    several_subnets = False
    shares_subnets = False
    has_host_veth = False
    shares_objects = False
    """Whether networks of the driver have objects in common, which go with the last of them."""

    def read_options(self, given: Mapping[str, str]) -> dict[str, str]:
        return canonical_options(given, (*COMMON, *self.options), field="option", owner=f"the {self.name} driver")

    def wants_gateway(self, network: Network, family: int) -> bool:
        return True

    def link_kinds(self, network: Network) -> tuple[str, ...]:
        return ()

    def network_objects(self, network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
        return ()

    def exclusive_objects(
        self, network: Network, others: Iterable[Network], facts: Facts, remotes: Iterable[RemoteEndpoint] = ()
    ) -> tuple[KernelObject, ...]:
        own = self.network_objects(network, facts, remotes)
        if not self.shares_objects:
            return own
        alike = [other for other in others if other.id != network.id and other.driver == network.driver]
        shared = {needed.key for other in alike for needed in self.network_objects(other, facts)}
        return tuple(needed for needed in own if needed.key not in shared)

    def remote_objects(self, network: Network, remotes: Iterable[RemoteEndpoint]) -> tuple[KernelObject, ...]:
        return ()

    def host_link(self, network: Network) -> AttachedLink | None:
        return None

    def host_addresses(self, network: Network) -> tuple[IPInterface, ...]:
        return ()

    def default_hop(self, network: Network, endpoint: Endpoint, family: int) -> Hop | None:
        interface = endpoint.ipv4 if family == 4 else endpoint.ipv6
        pool = network.pool_of(interface.ip) if interface is not None else None
        return None if network.internal or pool is None or pool.gateway is None else Hop(pool.gateway)

    def may_lead_outside(self, network: Network, endpoint: Endpoint, family: int) -> bool:
        return self.default_hop(network, endpoint, family) is not None

    def publishing(self, network: Network, family: int) -> Publishing | None:
        return None

    def check_endpoint(self, network: Network, request: EndpointRequest, present: int) -> None:
        return

    def mac_source(self, network: Network) -> MacSource:
        return MacSource.ENDPOINT

    def scope(self, network: Network) -> Literal["local", "global"]:
        return "local"

    def plugin(self, network: Network) -> str | None:
        return None
