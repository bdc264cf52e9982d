"""What depends on all endpoints of a sandbox together: routes, forwarding, the hosts file. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from netcore import gateway, hostsfile, routes
from netcore.model import Endpoint, IPAddress, Network, Sandbox
from netcore.objects import DEFAULT4, DEFAULT6, HostsLines, KernelObject, Route, Sysctl


def sandbox_objects(
    sandbox: Sandbox,
    endpoints: tuple[Endpoint, ...],
    networks: Mapping[str, Network],
    *,
    hosts_path: str,
    loopback_ipv6: bool,
) -> tuple[KernelObject, ...]:
    """Return what must exist for *sandbox* beside the links of its *endpoints*."""
    result: list[KernelObject] = []
    chosen = gateway.gateway_endpoints(endpoints, networks)
    gateways: list[IPAddress] = []
    for endpoint, family, destination in ((chosen[0], 4, DEFAULT4), (chosen[1], 6, DEFAULT6)):
        hop = gateway.default_hop(networks[endpoint.network_id], endpoint, family) if endpoint is not None else None
        if endpoint is None or hop is None:
            continue
        if hop.address is not None:
            gateways.append(hop.address)
        result.append(Route(netns=sandbox.id, destination=destination, gateway=hop.address, ifname=endpoint.ifname))
    result += routes.of_sandbox(sandbox, endpoints, networks)
    if sandbox.forwards:
        result.append(Sysctl(netns=sandbox.id, path="net/ipv4/ip_forward", value="1"))
        result.append(Sysctl(netns=sandbox.id, path="net/ipv6/conf/all/forwarding", value="1", optional=True))
    given = {path for path, _ in sandbox.sysctls}
    result = [item for item in result if not (isinstance(item, Sysctl) and item.path in given)]
    result += [Sysctl(netns=sandbox.id, path=path, value=value) for path, value in sandbox.sysctls]
    lines = hostsfile.base_lines(sandbox.extra_hosts, ipv6=loopback_ipv6, host_gateways=gateways)
    for endpoint in [item for item in endpoints if not networks[item.network_id].is_gateway_bridge]:
        lines += hostsfile.endpoint_lines(endpoint, sandbox.hostname, sandbox.domainname)
    result.append(HostsLines(path=hosts_path, lines=lines))
    return tuple(result)
