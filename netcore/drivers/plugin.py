"""Networks of third-party plugins: what berth adds to what the plugin makes. Pure.

A plugin is asked by `plugins.network_driver`; what it says of itself (`PluginOptions`) and of each endpoint
(`Endpoint.answer`) is all that is known here. Rules RM-1..RM-4 and GW-9 of docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from netcore.desired.objects import KernelObject, MovedLink
from netcore.drivers import link
from netcore.drivers.defaults import DriverDefaults
from netcore.drivers.facts import Facts, HostConstraints
from netcore.drivers.protocol import Configured, ExistingNetworks, Hop, MacSource, NewNetwork
from netcore.model import Endpoint, Network, PluginOptions
from netcore.parse.options import COMMON


class PluginDriver(DriverDefaults):
    """The driver that a plugin is. *said*: what it says of itself, and of a network."""

    several_subnets = True

    def __init__(self, said: PluginOptions) -> None:
        self.name = said.plugin
        self._said = said

    def read_options(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the labels that are for every driver; what else there is goes to the plugin as it is."""
        common = {option.label for option in COMMON}
        return {key: value for key, value in given.items() if key in common}

    def configure(self, new: NewNetwork, existing: ExistingNetworks, host: HostConstraints) -> Configured:
        return Configured(options=self._said, mtu=host.egress_mtu, internal=new.internal)

    def wants_gateway(self, network: Network, family: int) -> bool:
        return not (self._said.no_gateway4 if family == 4 else self._said.no_gateway6)

    def endpoint_objects(self, network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
        """Return the link that the plugin made, moved into the sandbox, with addresses; nothing before it has answered."""
        answer = endpoint.answer
        if answer is None or answer.link is None:
            return ()
        moved = MovedLink(sandbox_id=endpoint.sandbox_id, ifname=endpoint.ifname, source=answer.link, mac=endpoint.mac)
        return (moved, *link.inside(network, endpoint, announces=bool(endpoint.mac)))

    def default_hop(self, network: Network, endpoint: Endpoint, family: int) -> Hop | None:
        if endpoint.answer is None or network.internal:
            return None
        gateway = endpoint.answer.gateway4 if family == 4 else endpoint.answer.gateway6
        return Hop(gateway) if gateway is not None else None

    def mac_source(self, network: Network) -> MacSource:
        """Return where MAC addresses come from: berth gives them where an IPAM plugin must know them (RM-4)."""
        return MacSource.ENDPOINT if network.ipam is not None and network.ipam.needs_mac else MacSource.PLUGIN

    def scope(self, network: Network) -> Literal["local", "global"]:
        return "global" if self._said.scope == "global" else "local"

    def plugin(self, network: Network) -> str | None:
        return self.name
