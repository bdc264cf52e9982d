"""The overlay driver: a bridge on each host, and VXLAN between them. Pure.

Rule OV-1 of docs/rules.md. On one host it is a network of the bridge driver, which this one holds and asks; its own part
is the tunnel, and what tells the kernel where endpoints on other hosts are: nothing is flooded or learned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from netcore.desired import firewall
from netcore.desired.objects import HOST, Forwarding, KernelObject, Neighbor, VxlanLink
from netcore.drivers import bridge
from netcore.drivers.bridge import BridgeDriver
from netcore.drivers.defaults import DriverDefaults
from netcore.drivers.facts import Facts, HostConstraints
from netcore.drivers.protocol import AttachedLink, Configured, ExistingNetworks, Hop, NewNetwork, Publishing
from netcore.errors import Conflict
from netcore.model import BridgeOptions, Endpoint, EndpointRequest, IPInterface, Network, RemoteEndpoint, VxlanOptions
from netcore.parse.options import DRIVER, Option, between, boolean

LEAST_VNI, MOST_VNI = 4096, (1 << 24) - 1
"""The VNIs that are chosen from where the user gives none (OV-1)."""

_ESP_OVERHEAD = 40
"""Octets of ESP header, IV, padding and integrity value, at most (RFC 4303, RFC 4106)."""

OPTIONS: tuple[Option[Any], ...] = (
    VNI := Option[int | None](
        name="vni",
        label=DRIVER + "overlay.vxlanid_list",
        meaning="VXLAN network identifier",
        parse=between(1, MOST_VNI),
        default=None,
        default_text=f"the lowest free one from {LEAST_VNI} on",
    ),
    VXLAN_PORT := Option[int | None](
        name="vxlan_port",
        label="berth.vxlan_port",
        meaning="UDP port of VXLAN",
        parse=between(1024, 49_151),
        default=None,
        default_text="4789, encrypted 4790",
    ),
    ENCRYPTED := Option[bool](
        name="encrypted",
        label="encrypted",
        meaning="encrypt VXLAN between hosts with IPsec ESP; the name alone means true",
        parse=lambda text: text == "" or boolean(text),
        default=False,
    ),
)


def parse_options(labels: Mapping[str, str], taken: Collection[int]) -> VxlanOptions:
    """Return what *labels* mean for the tunnel; *taken*: VNIs in use, of which the lowest free one is chosen (OV-1)."""
    vni = VNI.of(labels) or next(vni for vni in range(LEAST_VNI, MOST_VNI) if vni not in taken)
    if vni in taken:
        raise Conflict("vni", str(vni), "is in use by another overlay network")
    encrypted = ENCRYPTED.of(labels)
    # All that goes to a port is encrypted or not, so the two kinds have one each.
    usual = 4790 if encrypted else 4789
    return VxlanOptions(vni=vni, port=VXLAN_PORT.of(labels) or usual, encrypted=encrypted)


class OverlayDriver(DriverDefaults):
    """See the module."""

    name = "overlay"
    options = (*bridge.OPTIONS, *OPTIONS)
    has_host_veth = True
    shares_objects = True
    """A VXLAN port is closed to sandboxes while some network uses it."""
    _bridge = BridgeDriver()

    def configure(self, new: NewNetwork, existing: ExistingNetworks, host: HostConstraints) -> Configured:
        configured = self._bridge.configure(new, existing, host)
        assert isinstance(configured.options, BridgeOptions)
        others = [(network, network.bridge.vxlan) for network in existing.of_driver(self.name)]
        vxlan = parse_options(new.labels, {other.vni for _, other in others if other is not None})
        for network, other in others:
            if other is not None and other.port == vxlan.port and other.encrypted != vxlan.encrypted:
                words = "encrypted" if other.encrypted else "not encrypted"
                reason = f"is the port of network {network.name}, which is {words}; choose another"
                raise Conflict("vxlan_port", str(vxlan.port), reason)
        overhead = host.tunnel_overhead + (_ESP_OVERHEAD if vxlan.encrypted else 0)
        return replace(configured, options=replace(configured.options, vxlan=vxlan), mtu=configured.mtu - overhead)

    def wants_gateway(self, network: Network, family: int) -> bool:
        return self._bridge.wants_gateway(network, family)

    def link_kinds(self, network: Network) -> tuple[str, ...]:
        return ("vxlan",)

    def network_objects(self, network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
        on_this_host = self._bridge.network_objects(network, facts)
        if facts.vtep is None:
            return on_this_host
        vxlan = _vxlan(network)
        tunnel = VxlanLink(
            name=vxlan.ifname,
            vni=vxlan.vni,
            port=vxlan.port,
            local=facts.vtep,
            bridge=network.bridge.bridge_name,
            mtu=network.common.mtu,
            tag=f"berth:{network.id}",
        )
        port = firewall.tunnel_elements(vxlan.ifname) if facts.firewall else ()
        return (*on_this_host, tunnel, *port, *self.remote_objects(network, remotes))

    def remote_objects(self, network: Network, remotes: Iterable[RemoteEndpoint]) -> tuple[KernelObject, ...]:
        ifname, bridge_name = _vxlan(network).ifname, network.bridge.bridge_name
        result: list[KernelObject] = []
        for remote in remotes:
            result.append(Forwarding(ifname=ifname, mac=remote.mac, vtep=remote.vtep))
            result += [Neighbor(sandbox_id=HOST, ifname=bridge_name, address=ip, mac=remote.mac) for ip in remote.addresses]
        return tuple(result)

    def endpoint_objects(self, network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
        return self._bridge.endpoint_objects(network, endpoint, facts, forwards=forwards)

    def host_link(self, network: Network) -> AttachedLink | None:
        return self._bridge.host_link(network)

    def host_addresses(self, network: Network) -> tuple[IPInterface, ...]:
        return self._bridge.host_addresses(network)

    def default_hop(self, network: Network, endpoint: Endpoint, family: int) -> Hop | None:
        return self._bridge.default_hop(network, endpoint, family)

    def publishing(self, network: Network, family: int) -> Publishing | None:
        return self._bridge.publishing(network, family)

    def check_endpoint(self, network: Network, request: EndpointRequest, present: int) -> None:
        self._bridge.check_endpoint(network, request, present)

    def scope(self, network: Network) -> Literal["local", "global"]:
        return "global"


def _vxlan(network: Network) -> VxlanOptions:
    vxlan = network.bridge.vxlan
    assert vxlan is not None
    return vxlan
