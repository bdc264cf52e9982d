"""Everything that must exist for a sandbox: what its drivers say, and what depends on all its endpoints together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface

from netcore import drivers
from netcore.desired import egress_rules, hostsfile
from netcore.desired.objects import (
    DEFAULT4,
    DEFAULT6,
    HOST,
    Address,
    GuardedPort,
    HostsLines,
    KernelObject,
    LinkUp,
    OwnDefaultRoute,
    Route,
    Sysctl,
    Veth,
    VethPeer,
)
from netcore.drivers import uplinks
from netcore.drivers.facts import Facts
from netcore.model import BridgeOptions, Endpoint, Network, NetworkId, Sandbox, SandboxId, Stack
from netcore.parse import endpoint_options
from netcore.plan import egress, gateway, routes

_OWN_LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
"""Where a sandbox with the host's own stack reaches the host."""
_FORWARDING6 = "net/ipv6/conf/all/forwarding"
_FORWARDING = ("net/ipv4/ip_forward", _FORWARDING6)


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
    # Those for all links come first, because they would undo what is set for one.
    for_all, for_links = _sysctls(owner, {endpoint.ifname for endpoint in endpoints})
    given = {sysctl.key for sysctl in (*for_all, *for_links)}
    result: list[KernelObject] = [*for_all]
    for endpoint in endpoints:
        network = networks[endpoint.network_id]
        objects = drivers.of(network).endpoint_objects(network, endpoint, facts, forwards=owner.forwards)
        result += [wanted for wanted in objects if wanted.key not in given]
    result += for_links
    result += _egress(owner, endpoints, networks, facts)
    loopback_ipv6 = loopback_ipv6 and not endpoint_options.turns_ipv6_off("lo", sandbox=owner.sysctls)
    result += _own_stack(owner, tuple(endpoints), networks, hosts_path=hosts_path, loopback_ipv6=loopback_ipv6)
    return tuple(result)


def _egress(sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network], facts: Facts) -> Iterable[KernelObject]:
    """Yield what the firewall holds of the egress rules of *sandbox*, where they can be kept."""
    if not facts.firewall:
        return
    attached = {endpoint.network_id: networks[endpoint.network_id] for endpoint in endpoints}
    policy = egress.policy_of(sandbox, endpoints, attached, facts.egress)
    if policy is None:
        return
    rules = egress.firewall_part(policy, sandbox)
    for endpoint in endpoints:
        network = attached[endpoint.network_id]
        if not isinstance(network.driver_options, BridgeOptions):
            continue
        if network.internal:
            # What it sends its peers is routed by the host; from others the firewall keeps the network apart as before.
            bridge = network.driver_options.bridge_name
            yield Sysctl(sandbox_id=HOST, path=uplinks.forwarding4(bridge), value="1")
            if network.ipv6 and facts.ipv6 and facts.force_forwarding:
                yield Sysctl(sandbox_id=HOST, path=uplinks.forwarding6(bridge), value="1")
        yield GuardedPort(ifname=endpoint.host_ifname)
        yield from egress_rules.endpoint_elements(network, endpoint, rules)


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
    # What a guest behind a tap has as routes is its own affair; it is told of them.
    routed = tuple(endpoint for endpoint in endpoints if endpoint.tap is None)
    ipv4, ipv6 = gateway.gateway_endpoints(routed, networks)
    for endpoint, family, destination in ((ipv4, 4, DEFAULT4), (ipv6, 6, DEFAULT6)):
        network = networks[endpoint.network_id] if endpoint is not None else None
        hop = drivers.of(network).default_hop(network, endpoint, family) if network is not None and endpoint is not None else None
        if hop is None or endpoint is None:
            result += own_default_routes(sandbox, family)
            continue
        if sandbox.keeps_default_route(family):
            continue
        result.append(Route(sandbox_id=sandbox.id, destination=destination, gateway=hop.address, ifname=endpoint.ifname))
    result += routes.of_sandbox(sandbox, routed, networks)
    host_gateways = gateway.host_addresses(endpoints, networks) if sandbox.extra_hosts else ()
    lines = hostsfile.base_lines(sandbox.extra_hosts, ipv6=loopback_ipv6, host_gateways=host_gateways)
    for endpoint in endpoints:
        if networks[endpoint.network_id].is_gateway_bridge:
            continue
        lines += hostsfile.endpoint_lines(endpoint, sandbox.hostname, sandbox.domainname)
    result.append(HostsLines(path=hosts_path, lines=lines))
    return tuple(result)


def sysctl_paths(sandbox: Sandbox) -> tuple[str, ...]:
    """Return the sysctls that berth sets in *sandbox* for its own sake, not for a link of ours."""
    return (*(_FORWARDING if sandbox.forwards else ()), *(path for path, _ in sandbox.sysctls))


def _sysctls(sandbox: Sandbox, ifnames: Collection[str]) -> tuple[list[Sysctl], list[Sysctl]]:
    """Return the sysctls of a whole sandbox: those about no single link of ours, and those about one of *ifnames*.

    What is about a link that is not there has to wait for it.
    """
    for_all: dict[str, Sysctl] = {}
    for_links: list[Sysctl] = []
    own = dict(sandbox.own_sysctls)
    if sandbox.forwards:
        for path in _FORWARDING:
            optional = path == _FORWARDING6
            for_all[path] = Sysctl(sandbox_id=sandbox.id, path=path, value="1", optional=optional, original=own.get(path))
    for path, value in sandbox.sysctls:
        wanted = Sysctl(sandbox_id=sandbox.id, path=path, value=value, original=own.get(path))
        link = endpoint_options.link_of(path)
        if link in ifnames:
            for_links.append(wanted)
        elif link is None or link in ("lo", *endpoint_options.EVERY_LINK) or path in own:
            for_all[path] = wanted
    return [*for_all.values()], for_links


def own_default_routes(sandbox: Sandbox, family: int | None = None) -> list[KernelObject]:
    """Return the default routes that *sandbox* must have by itself where ours are not: those that ours may replace."""
    replaceable = sandbox.own_routes if sandbox.replaces_routes else ()
    return [OwnDefaultRoute(sandbox_id=sandbox.id, route=route) for route in replaceable if family in (None, route.family)]


def _without_networks(sandbox: Sandbox, *, hosts_path: str, loopback_ipv6: bool) -> tuple[KernelObject, ...]:
    """Return what must exist for a sandbox without networks: lines of its hosts file, and sysctls where its stack is its own.

    The host's own file is used as it is unless there are lines to add (HO-9); a shared stack has the other's (RC-23).
    """
    if sandbox.stack is Stack.SHARED or (sandbox.stack is Stack.HOST and not sandbox.extra_hosts):
        return ()
    host_gateways = _OWN_LOOPBACK if sandbox.stack is Stack.HOST else ()
    sysctls: list[Sysctl] = []
    if sandbox.stack is Stack.NONE:
        sysctls, _ = _sysctls(sandbox, ())
        loopback_ipv6 = loopback_ipv6 and not endpoint_options.turns_ipv6_off("lo", sandbox=sandbox.sysctls)
    lines = hostsfile.base_lines(sandbox.extra_hosts, ipv6=loopback_ipv6, host_gateways=host_gateways)
    return (*sysctls, HostsLines(path=hosts_path, lines=lines))


def standing_objects(sandbox_id: SandboxId | None, objects: Collection[KernelObject]) -> list[KernelObject]:
    """Return what the kernel makes by itself with a namespace and with the addresses in *objects*, and what others may take away.

    No operation makes it, so it is in no plan: the loopback link with its addresses, the sandbox's ends of pairs, and the
    routes to the subnets.
    """
    addresses = [wanted for wanted in objects if isinstance(wanted, Address)]
    result: list[KernelObject] = []
    if sandbox_id is not None:
        result += [
            LinkUp(sandbox_id=sandbox_id, ifname="lo"),
            Address(sandbox_id=sandbox_id, ifname="lo", interface=ip_interface("127.0.0.1/8")),
        ]
        if any(address.interface.version == 6 and address.sandbox_id == sandbox_id for address in addresses):
            result.append(Address(sandbox_id=sandbox_id, ifname="lo", interface=ip_interface("::1/128")))
    result += [
        VethPeer(host_ifname=pair.host_ifname, sandbox_id=pair.sandbox_id, ifname=pair.ifname, mac=pair.mac, mtu=pair.mtu)
        for pair in objects
        if isinstance(pair, Veth)
    ]
    for address in addresses:
        subnet = address.interface.network
        if subnet.num_addresses > 1 and not subnet.is_link_local:
            result.append(Route(sandbox_id=address.sandbox_id, destination=subnet, gateway=None, ifname=address.ifname))
    return result
