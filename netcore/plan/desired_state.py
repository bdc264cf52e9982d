"""Everything that must exist for a sandbox: what its drivers say, and what depends on all its endpoints together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from netcore import drivers
from netcore.desired import hostsfile
from netcore.desired.objects import DEFAULT4, DEFAULT6, HostsLines, KernelObject, OwnDefaultRoute, Route, Sysctl
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, Network, NetworkId, Sandbox, Stack
from netcore.plan import gateway, routes

_OWN_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
"""Where a sandbox with the host's own stack reaches the host."""


def desired(
    owner: Sandbox,
    endpoints: Sequence[Endpoint],
    networks: Mapping[NetworkId, Network],
    facts: Facts,
    *,
    hosts_path: str,
    loopback_ipv6: bool,
) -> tuple[KernelObject, ...]:
    """Return everything that must exist for the sandbox *owner* with *endpoints*."""
    if owner.stack is not Stack.OWN:
        return _without_networks(owner, hosts_path=hosts_path, loopback_ipv6=loopback_ipv6)
    result: list[KernelObject] = []
    for endpoint in endpoints:
        network = networks[endpoint.network_id]
        result += drivers.of(network).endpoint_objects(network, endpoint, facts, forwards=owner.forwards)
    result += _own_stack(owner, tuple(endpoints), networks, hosts_path=hosts_path, loopback_ipv6=loopback_ipv6)
    return tuple(result)


def _own_stack(
    sandbox: Sandbox,
    endpoints: tuple[Endpoint, ...],
    networks: Mapping[NetworkId, Network],
    *,
    hosts_path: str,
    loopback_ipv6: bool,
) -> tuple[KernelObject, ...]:
    """Return what must exist for *sandbox* beside the links of its *endpoints*."""
    result: list[KernelObject] = []
    ipv4, ipv6 = gateway.gateway_endpoints(endpoints, networks)
    for endpoint, family, destination in ((ipv4, 4, DEFAULT4), (ipv6, 6, DEFAULT6)):
        network = networks[endpoint.network_id] if endpoint is not None else None
        hop = drivers.of(network).default_hop(network, endpoint, family) if network is not None and endpoint is not None else None
        if hop is None or endpoint is None:
            result += own_default_routes(sandbox, family)
            continue
        if sandbox.keeps_default_route(family):
            continue
        result.append(Route(sandbox_id=sandbox.id, destination=destination, gateway=hop.address, ifname=endpoint.ifname))
    result += routes.of_sandbox(sandbox, endpoints, networks)
    if sandbox.forwards:
        result.append(Sysctl(sandbox_id=sandbox.id, path="net/ipv4/ip_forward", value="1"))
        result.append(Sysctl(sandbox_id=sandbox.id, path="net/ipv6/conf/all/forwarding", value="1", optional=True))
    given = {path for path, _ in sandbox.sysctls}
    result = [ours for ours in result if not (isinstance(ours, Sysctl) and ours.path in given)]
    result += [Sysctl(sandbox_id=sandbox.id, path=path, value=value) for path, value in sandbox.sysctls]
    host_gateways = gateway.host_addresses(endpoints, networks)
    lines = hostsfile.base_lines(sandbox.extra_hosts, ipv6=loopback_ipv6, host_gateways=host_gateways)
    for endpoint in endpoints:
        if networks[endpoint.network_id].is_gateway_bridge:
            continue
        lines += hostsfile.endpoint_lines(endpoint, sandbox.hostname, sandbox.domainname)
    result.append(HostsLines(path=hosts_path, lines=lines))
    return tuple(result)


def own_default_routes(sandbox: Sandbox, family: int | None = None) -> list[KernelObject]:
    """Return the default routes that *sandbox* must have by itself where ours are not: those that ours may replace."""
    replaceable = sandbox.own_routes if sandbox.replaces_routes else ()
    return [OwnDefaultRoute(sandbox_id=sandbox.id, route=route) for route in replaceable if family in (None, route.family)]


def _without_networks(sandbox: Sandbox, *, hosts_path: str, loopback_ipv6: bool) -> tuple[KernelObject, ...]:
    """Return what must exist for a sandbox without networks: lines of its hosts file.

    The host's own file is used as it is unless there are lines to add (HO-9); a shared stack has the other's (RC-23).
    """
    if sandbox.stack is Stack.SHARED or (sandbox.stack is Stack.HOST and not sandbox.extra_hosts):
        return ()
    host_gateways = _OWN_LOOPBACK if sandbox.stack is Stack.HOST else ()
    return (HostsLines(path=hosts_path, lines=hostsfile.base_lines(sandbox.extra_hosts, ipv6=loopback_ipv6, host_gateways=host_gateways)),)
