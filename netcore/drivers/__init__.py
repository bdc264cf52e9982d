"""The drivers: from networks, endpoints and facts about the host to the kernel objects that must exist. Pure.

This module chooses the driver; each of the others is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from netcore.desired.objects import KernelObject
from netcore.drivers import bridge, parent, plugin, uplinks
from netcore.drivers.facts import Facts
from netcore.drivers.uplinks import SwitchedSysctl
from netcore.model import BridgeOptions, Endpoint, IPInterface, Makes, Network, ParentOptions, PluginOptions, RemoteEndpoint

__all__ = [
    "Facts",
    "SwitchedSysctl",
    "endpoint_objects",
    "host_addresses",
    "host_link",
    "link_kinds",
    "network_objects",
    "only_of",
    "own_link",
    "remote_objects",
    "uplinks",
]


def network_objects(network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
    """Return what must exist for *network* without any endpoint of ours. *remotes*: those of an overlay on other hosts."""
    match network.driver_options:
        case BridgeOptions():
            return bridge.network_objects(network, facts, remotes)
        case ParentOptions() as options:
            return parent.network_objects(options, network.common.mtu)
        case PluginOptions():
            return ()
        case other:
            assert_never(other)


def host_link(network: Network) -> str:
    """Return the name of the host's link that the sandboxes of *network* hang on."""
    match network.driver_options:
        case BridgeOptions() as options:
            return options.bridge_name
        case ParentOptions() as options:
            return options.parent
        case PluginOptions():
            return ""
        case other:
            assert_never(other)


def own_link(network: Network) -> str:
    """Return the name of the host's link that exists for the sake of *network*, "" if there is none."""
    options = network.driver_options
    return "" if isinstance(options, ParentOptions) and options.makes is Makes.NOTHING else host_link(network)


def host_addresses(network: Network) -> tuple[IPInterface, ...]:
    """Return the addresses that the host itself has on *network*, where a resolver may listen."""
    return bridge.bridge_addresses(network) if isinstance(network.driver_options, BridgeOptions) else ()


def remote_objects(network: Network, remotes: Iterable[RemoteEndpoint]) -> tuple[KernelObject, ...]:
    """Return what must exist for endpoints of an overlay on other hosts, while the network is up here."""
    vxlan = network.bridge.vxlan
    return tuple(bridge.remote_objects(network, vxlan, remotes)) if vxlan is not None else ()


def only_of(network: Network, others: Iterable[Network], facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
    """Return what of *network* goes with it: networks on one VLAN share its link, overlays a port that is closed to sandboxes."""
    own = network_objects(network, facts, remotes)
    if not isinstance(network.driver_options, ParentOptions) and not network.is_overlay:
        return own
    alike = [item for item in others if item.id != network.id and item.driver == network.driver]
    shared = {item.key for other in alike for item in network_objects(other, facts)}
    return tuple(item for item in own if item.key not in shared)


def link_kinds(network: Network) -> tuple[str, ...]:
    """Return the kinds of links that the kernel must know for *network* and may lack."""
    match network.driver_options:
        case BridgeOptions() as options:
            return ("vxlan",) if options.vxlan is not None else ()
        case PluginOptions():
            return ()
        case ParentOptions() as options:
            return parent.link_kinds(network, options)
        case other:
            assert_never(other)


def endpoint_objects(network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
    """Return what must exist for *endpoint*, without the sandbox's routes and hosts lines. *forwards*: it is a router's."""
    match network.driver_options:
        case BridgeOptions():
            return bridge.endpoint_objects(network, endpoint, facts, forwards=forwards)
        case ParentOptions() as options:
            return parent.endpoint_objects(network, options, endpoint)
        case PluginOptions():
            return plugin.endpoint_objects(network, endpoint)
        case other:
            assert_never(other)
