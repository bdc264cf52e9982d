"""The bridge driver: what must exist for a network, for an endpoint, and for the routes of a sandbox. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface

from netcore import endpoint_options, firewall, gateway, hostsfile, routes
from netcore.model import Endpoint, GatewayMode, IPAddress, IPInterface, Network, Pool, Sandbox
from netcore.objects import (
    DEFAULT4,
    DEFAULT6,
    HOST,
    Address,
    Announcement,
    Bridge,
    Element,
    Hairpin,
    HostsLines,
    KernelObject,
    LinkUp,
    Neighbor,
    Route,
    Sysctl,
    Veth,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a driver must know of the host. *uplinks*: links with a default route. *firewall*: we program ours."""

    uplinks: tuple[str, ...]
    ipv6: bool = True
    force_forwarding: bool = True
    accept_ra: tuple[str, ...] = ()
    firewall: bool = True


def network_objects(network: Network, facts: Facts) -> tuple[KernelObject, ...]:
    """Return what must exist for *network* without any endpoint."""
    options, name = network.bridge, network.bridge.bridge_name
    result: list[KernelObject] = [
        Bridge(name=name, mac=options.bridge_mac, mtu=options.mtu, tag=f"berth:{network.id}", reused=options.reuse_bridge)
    ]
    result += [Address(netns=HOST, ifname=name, interface=item) for item in bridge_addresses(network)]
    result += _bridge_sysctls(network, facts)
    if not network.internal:
        result += _forwarding(network, facts)
    if facts.firewall:
        result += firewall.network_elements(network)
    return tuple(result)


def bridge_addresses(network: Network) -> tuple[IPInterface, ...]:
    """Return the addresses that the bridge itself carries (docker-behaviour BR-6, BR-8)."""
    options = network.bridge
    result = []
    for pool, mode, inhibit in (
        (network.pool4, options.gateway_mode_ipv4, options.inhibit_ipv4),
        (network.pool6, options.gateway_mode_ipv6, False),
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


def default_gateway(network: Network, family: int) -> IPAddress | None:
    """Return the next hop of the default route through *network*; None where it gives none (GW-6, BR-8)."""
    pool = network.pool4 if family == 4 else network.pool6
    if network.internal or pool is None:
        return None
    return dict(pool.auxiliary).get(f"DefaultGatewayIPv{family}", pool.gateway)


def _bridge_sysctls(network: Network, facts: Facts) -> Iterable[Sysctl]:
    name, isolated = network.bridge.bridge_name, network.bridge.gateway_mode_ipv6 is GatewayMode.ISOLATED
    if facts.ipv6:
        off = not network.ipv6 or isolated
        yield Sysctl(netns=HOST, path=f"net/ipv6/conf/{name}/disable_ipv6", value="1" if off else "0", optional=True)
        if not off:
            yield Sysctl(netns=HOST, path=f"net/ipv6/conf/{name}/accept_ra", value="0", optional=True)
            # Our addresses are unique by allocation; detection would leave them unusable for a second.
            yield Sysctl(netns=HOST, path=f"net/ipv6/conf/{name}/accept_dad", value="0", optional=True)


def _forwarding(network: Network, facts: Facts) -> Iterable[Sysctl]:
    """Yield the switches for forwarding, per interface: the whole host need not become a router."""
    name = network.bridge.bridge_name
    if network.ipv4:
        for link in (name, *facts.uplinks):
            yield Sysctl(netns=HOST, path=f"net/ipv4/conf/{link}/forwarding", value="1")
        # 127.0.0.1 of the host reaches published ports; `firewall` closes it to everybody else.
        yield Sysctl(netns=HOST, path=f"net/ipv4/conf/{name}/route_localnet", value="1")
    if network.ipv6 and facts.ipv6:
        if facts.force_forwarding:
            for link in (name, *facts.uplinks):
                yield Sysctl(netns=HOST, path=f"net/ipv6/conf/{link}/force_forwarding", value="1")
        else:
            # Before Linux 6.17 IPv6 forwards for all links or none; uplinks then need 2 to keep their learned route.
            for link in facts.accept_ra:
                yield Sysctl(netns=HOST, path=f"net/ipv6/conf/{link}/accept_ra", value="2")
            yield Sysctl(netns=HOST, path="net/ipv6/conf/all/forwarding", value="1")


def endpoint_objects(network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
    """Return what must exist for *endpoint*, without the sandbox's routes and hosts lines. *forwards*: it is a router's."""
    options, netns, ifname = network.bridge, endpoint.sandbox_id, endpoint.ifname
    result: list[KernelObject] = [
        Veth(
            host_ifname=endpoint.host_ifname,
            netns=netns,
            ifname=ifname,
            mac=endpoint.mac,
            mtu=options.mtu,
            bridge=options.bridge_name,
        ),
        LinkUp(netns=netns, ifname=ifname),
        # With several networks a strict check would drop what arrives over the one that is not the default route.
        Sysctl(netns=netns, path=f"net/ipv4/conf/{ifname}/rp_filter", value="2"),
    ]
    if endpoint.ipv6 is None:
        result.append(Sysctl(netns=netns, path=f"net/ipv6/conf/{ifname}/disable_ipv6", value="1", optional=True))
    else:
        result.append(Sysctl(netns=netns, path=f"net/ipv6/conf/{ifname}/disable_ipv6", value="0"))
        result.append(Sysctl(netns=netns, path=f"net/ipv6/conf/{ifname}/accept_ra", value="0", optional=True))
        # The link-local address would be tentative for a second, and neighbour discovery with it.
        result.append(Sysctl(netns=netns, path=f"net/ipv6/conf/{ifname}/accept_dad", value="0", optional=True))
    # What the user sets for the link comes in place of ours.
    own = {item.key: item for item in endpoint_options.link_objects(netns, ifname, endpoint.sysctls)}
    result = [item for item in result if item.key not in own]
    result += own.values()
    interfaces = [item for item in (endpoint.ipv4, endpoint.ipv6) if item is not None]
    result += [Address(netns=netns, ifname=ifname, interface=item) for item in interfaces]
    result += _neighbors(network, endpoint)
    if endpoint.ports:
        result.append(Hairpin(host_ifname=endpoint.host_ifname))
    if options.announcements:
        result.append(
            Announcement(
                netns=netns,
                ifname=ifname,
                host_ifname=endpoint.host_ifname,
                mac=endpoint.mac,
                addresses=endpoint.addresses(),
                count=options.announcements,
                interval=options.announcement_interval_ms / 1000,
            )
        )
    if facts.firewall:
        result += firewall.endpoint_elements(network, endpoint, forwards=forwards)
        result += _published(network, endpoint)
    return tuple(result)


def _published(network: Network, endpoint: Endpoint) -> Iterable[Element]:
    return () if network.internal else firewall.port_elements(network, endpoint)


def _neighbors(network: Network, endpoint: Endpoint) -> Iterable[Neighbor]:
    carried = {item.ip for item in bridge_addresses(network)}
    bridge, options = network.bridge.bridge_name, network.bridge
    for interface, gateway_pool in ((endpoint.ipv4, network.pool4), (endpoint.ipv6, network.pool6)):
        if interface is None or gateway_pool is None:
            continue
        own = bridge_gateway(gateway_pool)
        if own is None or own not in carried:
            continue
        yield Neighbor(netns=HOST, ifname=bridge, address=interface.ip, mac=endpoint.mac)
        if not options.reuse_bridge:
            yield Neighbor(netns=endpoint.sandbox_id, ifname=endpoint.ifname, address=own, mac=options.bridge_mac)


def sandbox_objects(
    sandbox: Sandbox,
    endpoints: tuple[Endpoint, ...],
    networks: Mapping[str, Network],
    *,
    hosts_path: str,
    loopback_ipv6: bool,
) -> tuple[KernelObject, ...]:
    """Return what depends on all endpoints of a sandbox together: default routes and the hosts file."""
    result: list[KernelObject] = []
    chosen = gateway.gateway_endpoints(endpoints, networks)
    gateways: list[IPAddress] = []
    for endpoint, family, destination in ((chosen[0], 4, DEFAULT4), (chosen[1], 6, DEFAULT6)):
        if endpoint is None:
            continue
        hop = default_gateway(networks[endpoint.network_id], family)
        if hop is not None:
            gateways.append(hop)
            result.append(Route(netns=sandbox.id, destination=destination, gateway=hop, ifname=endpoint.ifname))
    result += routes.of_sandbox(sandbox, endpoints, networks)
    if sandbox.forwards:
        result.append(Sysctl(netns=sandbox.id, path="net/ipv4/ip_forward", value="1"))
        result.append(Sysctl(netns=sandbox.id, path="net/ipv6/conf/all/forwarding", value="1", optional=True))
    given = {path for path, _ in sandbox.sysctls}
    result = [item for item in result if not (isinstance(item, Sysctl) and item.path in given)]
    result += [Sysctl(netns=sandbox.id, path=path, value=value) for path, value in sandbox.sysctls]
    lines = hostsfile.base_lines(sandbox.extra_hosts, ipv6=loopback_ipv6, host_gateways=gateways)
    for endpoint in endpoints:
        lines += hostsfile.endpoint_lines(endpoint, sandbox.hostname, sandbox.domainname)
    result.append(HostsLines(path=hosts_path, lines=lines))
    return tuple(result)
