"""The bridge driver: what must exist for a network and for an endpoint. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_interface

from netcore.desired import firewall
from netcore.desired.objects import HOST, Address, Bridge, Element, Forwarding, Hairpin, KernelObject, Neighbor, Sysctl, Veth, VxlanLink
from netcore.drivers import link, uplinks
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, GatewayMode, IPAddress, IPInterface, Network, Pool, RemoteEndpoint, VxlanOptions


def network_objects(network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
    """Return what must exist for *network* without any endpoint of ours. *remotes*: those of an overlay on other hosts."""
    options, name = network.bridge, network.bridge.bridge_name
    result: list[KernelObject] = [
        Bridge(name=name, mac=options.bridge_mac, mtu=network.common.mtu, tag=f"berth:{network.id}", reused=options.reuse_bridge)
    ]
    result += [Address(sandbox_id=HOST, ifname=name, interface=item) for item in bridge_addresses(network)]
    result += _bridge_sysctls(network, facts)
    if not network.internal:
        result += _forwarding(network, facts)
    if facts.firewall:
        result += firewall.network_elements(network)
    if options.vxlan is not None and facts.vtep is not None:
        result += _tunnel(network, options.vxlan, facts.vtep, remotes)
    return tuple(result)


def _tunnel(network: Network, vxlan: VxlanOptions, vtep: IPAddress, remotes: Iterable[RemoteEndpoint]) -> Iterable[KernelObject]:
    """Yield the tunnel to other hosts, and for each endpoint there where it is and who it is: nothing is flooded or learned."""
    bridge, name = network.bridge.bridge_name, vxlan.ifname
    mtu, tag = network.common.mtu, f"berth:{network.id}"
    yield VxlanLink(name=name, vni=vxlan.vni, port=vxlan.port, local=vtep, bridge=bridge, mtu=mtu, tag=tag)
    yield from remote_objects(network, vxlan, remotes)


def remote_objects(network: Network, vxlan: VxlanOptions, remotes: Iterable[RemoteEndpoint]) -> Iterable[KernelObject]:
    """Yield what tells the kernel where endpoints on other hosts are."""
    bridge, name = network.bridge.bridge_name, vxlan.ifname
    for item in remotes:
        yield Forwarding(ifname=name, mac=item.mac, vtep=item.vtep)
        for address in item.addresses:
            yield Neighbor(sandbox_id=HOST, ifname=bridge, address=address, mac=item.mac)


def bridge_addresses(network: Network) -> tuple[IPInterface, ...]:
    """Return the addresses that the bridge itself carries (docker-behaviour BR-6, BR-8)."""
    options = network.bridge
    result = []
    for pool, mode, inhibit in (
        (network.pool(4), options.gateway_mode_ipv4, options.inhibit_ipv4),
        (network.pool(6), options.gateway_mode_ipv6, False),
    ):
        if pool is None or mode is GatewayMode.ISOLATED or inhibit:
            continue
        own = bridge_gateway(pool)
        if own is not None:
            result.append(ip_interface(f"{own}/{pool.subnet.prefixlen}"))
    return tuple(result)


def bridge_gateway(pool: Pool) -> IPAddress | None:
    """Return the bridge's own address; an auxiliary DefaultGatewayIPv4/6 is somebody else's (BR-8)."""
    auxiliary = dict(pool.auxiliary)
    elsewhere = auxiliary.get(f"DefaultGatewayIPv{pool.subnet.version}")
    return None if pool.gateway == elsewhere else pool.gateway


def _bridge_sysctls(network: Network, facts: Facts) -> Iterable[Sysctl]:
    name, isolated = network.bridge.bridge_name, network.bridge.gateway_mode_ipv6 is GatewayMode.ISOLATED
    if facts.ipv6:
        off = not network.ipv6 or isolated
        yield Sysctl(sandbox_id=HOST, path=f"net/ipv6/conf/{name}/disable_ipv6", value="1" if off else "0", optional=True)
        if not off:
            yield Sysctl(sandbox_id=HOST, path=f"net/ipv6/conf/{name}/accept_ra", value="0", optional=True)
            # Our addresses are unique by allocation; detection would leave them unusable for a second.
            yield Sysctl(sandbox_id=HOST, path=f"net/ipv6/conf/{name}/accept_dad", value="0", optional=True)


def _forwarding(network: Network, facts: Facts) -> Iterable[Sysctl]:
    """Yield the sysctls that let the bridge's packets be forwarded; for links that they leave by see `uplinks`."""
    name = network.bridge.bridge_name
    if network.ipv4:
        yield Sysctl(sandbox_id=HOST, path=uplinks.forwarding4(name), value="1")
        # 127.0.0.1 of the host reaches published ports; `firewall` closes it to everybody else.
        yield Sysctl(sandbox_id=HOST, path=f"net/ipv4/conf/{name}/route_localnet", value="1")
    if network.ipv6 and facts.ipv6 and facts.force_forwarding:
        yield Sysctl(sandbox_id=HOST, path=uplinks.forwarding6(name), value="1")


def endpoint_objects(network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
    """Return what must exist for *endpoint*, without the sandbox's routes and hosts lines. *forwards*: it is a router's."""
    result: list[KernelObject] = [
        Veth(
            host_ifname=endpoint.host_ifname,
            sandbox_id=endpoint.sandbox_id,
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            mtu=network.common.mtu,
            bridge=network.bridge.bridge_name,
        )
    ]
    result += link.inside(network, endpoint, port=endpoint.host_ifname)
    result += _neighbors(network, endpoint)
    if endpoint.ports:
        result.append(Hairpin(host_ifname=endpoint.host_ifname))
    if facts.firewall:
        result += firewall.endpoint_elements(network, endpoint, forwards=forwards)
        result += _published(network, endpoint)
    return tuple(result)


def _published(network: Network, endpoint: Endpoint) -> Iterable[Element]:
    return () if network.internal else firewall.port_elements(network, endpoint)


def _neighbors(network: Network, endpoint: Endpoint) -> Iterable[Neighbor]:
    carried = {item.ip for item in bridge_addresses(network)}
    bridge, options = network.bridge.bridge_name, network.bridge
    for interface, gateway_pool in ((endpoint.ipv4, network.pool(4)), (endpoint.ipv6, network.pool(6))):
        if interface is None or gateway_pool is None:
            continue
        own = bridge_gateway(gateway_pool)
        if own is None or own not in carried:
            continue
        yield Neighbor(sandbox_id=HOST, ifname=bridge, address=interface.ip, mac=endpoint.mac)
        if not options.reuse_bridge:
            yield Neighbor(sandbox_id=endpoint.sandbox_id, ifname=endpoint.ifname, address=own, mac=options.bridge_mac)
