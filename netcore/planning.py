"""From requests to values: which network, endpoint and ports a request means, given what exists. Pure.

Everything is validated here, before the first effect.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from netcore import endpoint_options, gateway, hostsfile, ipam, limits, names, options, ports, routes
from netcore.drivers import bridge, stack
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import (
    BridgeOptions,
    Endpoint,
    EndpointRequest,
    GatewayMode,
    IPAddress,
    IPNetwork,
    Network,
    NetworkRequest,
    Pool,
    PortMapping,
    PortRequest,
    Sandbox,
    SandboxRequest,
    Stack,
)
from netcore.objects import KernelObject

PREDEFINED = ("bridge", "host", "none")
RandomHex = Callable[[int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a new network must fit in: pools to take from, what is taken, MTU, links of the host (name → is a bridge)."""

    pools4: Sequence[tuple[IPNetwork, int]]
    pools6: Sequence[tuple[IPNetwork, int]]
    reserved: Sequence[IPNetwork]
    egress_mtu: int
    links: Mapping[str, str]
    ipv6: bool
    now: float


def plan_network(request: NetworkRequest, existing: Collection[Network], around: Surroundings, network_id: str) -> Network:
    """Return the network that *request* means; InvalidRequest with everything that is wrong, Conflict, Exhausted."""
    name = names.check_object_name("network", request.name)
    if name in PREDEFINED:
        raise Conflict("network", name, "operation is not permitted on predefined network names; choose another")
    if any(item.name == name for item in existing):
        raise Conflict("network", name, f"network with name {name} already exists")
    if request.driver != "bridge":
        raise InvalidRequest("driver", f"{request.driver!r} is not one of bridge")
    if len(existing) >= limits.NETWORKS:
        raise Exhausted("host", "networks", f"at most {limits.NETWORKS} networks")
    given = dict(request.options)
    ipv4, ipv6 = options.family_flags(given, ipv4=request.ipv4, ipv6=request.ipv6)
    if ipv6 and not around.ipv6:
        raise InvalidRequest("ipv6", "this host's kernel has IPv6 switched off; leave out --ipv6 or boot without ipv6.disable=1")
    parsed = options.parse_bridge_options(network_id, given, egress_mtu=around.egress_mtu)
    parsed = _check_bridge(parsed, existing, around, internal=request.internal, network_id=network_id)
    taken = [pool.subnet for network in existing for pool in network.pools()]
    wanted = _Addressing.of(request, ipv4=ipv4, ipv6=ipv6)
    pool4 = _plan_pool(4, wanted, parsed, request.internal, around, taken) if ipv4 else None
    pool6 = _plan_pool(6, wanted, parsed, request.internal, around, taken) if ipv6 else None
    return Network(
        id=network_id,
        name=name,
        driver=request.driver,
        bridge=parsed,
        internal=request.internal,
        ipv4=ipv4,
        ipv6=ipv6,
        pool4=pool4,
        pool6=pool6,
        options=request.options,
        labels=request.labels,
        routes=routes.parse(request.routes, [pool for pool in (pool4, pool6) if pool is not None]),
        owner=request.owner,
        created=around.now,
    )


def _check_bridge(
    parsed: BridgeOptions, existing: Collection[Network], around: Surroundings, *, internal: bool, network_id: str
) -> BridgeOptions:
    for mode, family in ((parsed.gateway_mode_ipv4, 4), (parsed.gateway_mode_ipv6, 6)):
        if mode is GatewayMode.ISOLATED and not internal:
            raise InvalidRequest(
                f"option gateway_mode_ipv{family}",
                "gateway mode 'isolated' can only be used for an internal network; add --internal",
            )
    name = parsed.bridge_name
    holder = next((item for item in existing if item.bridge.bridge_name == name), None)
    if holder is not None:
        raise Conflict("bridge", name, f"is in use by network {holder.name}; choose another name with --opt name=")
    kind = around.links.get(name)
    if kind is None:
        return parsed
    if kind != "bridge":
        raise Conflict("link", name, f"existing interface {name} is not a bridge")
    return replace(parsed, reuse_bridge=True)


@dataclass(frozen=True, slots=True)
class _Addressing:
    subnets: Mapping[int, IPNetwork]
    ranges: Mapping[int, IPNetwork]
    gateways: Mapping[int, IPAddress]
    auxiliary: tuple[tuple[str, IPAddress], ...]
    sizes: Mapping[int, int]

    @staticmethod
    def of(request: NetworkRequest, *, ipv4: bool, ipv6: bool) -> _Addressing:
        subnets: dict[int, IPNetwork] = {}
        sizes: dict[int, int] = {}
        for text in request.subnets:
            subnet = ipam.parse_subnet("subnet", text)
            family: int = subnet.version
            if not (ipv4 if family == 4 else ipv6):
                switch = "leave out --ipv4=false" if family == 4 else "add --ipv6"
                raise InvalidRequest("subnet", f"{text} needs IPv{family}, which is off for this network; {switch}")
            if family in subnets or family in sizes:
                raise InvalidRequest("subnet", f"{text}: bridge driver doesn't support multiple subnets of one family")
            # IP-5: 0.0.0.0/N is "any pool of that size".
            if subnet.network_address.is_unspecified:
                sizes[family] = subnet.prefixlen
            else:
                subnets[family] = subnet
        ranges: dict[int, IPNetwork] = {item.version: item for item in (ipam.parse_subnet("ip-range", text) for text in request.ip_ranges)}
        gateways: dict[int, IPAddress] = {item.version: item for item in options.parse_addresses("gateway", request.gateways)}
        auxiliary = tuple((name, options.parse_addresses("aux-address", (text,))[0]) for name, text in request.auxiliary)
        for field, given in (("ip-range", ranges), ("gateway", gateways)):
            for family, value in given.items():
                if family not in subnets:
                    raise InvalidRequest(field, f"{value} needs a --subnet of its family that contains it")
        for name, address in auxiliary:
            if address.version not in subnets:
                raise InvalidRequest("aux-address", f"{name}={address} needs a --subnet of its family that contains it")
        return _Addressing(subnets, ranges, gateways, auxiliary, sizes)


def _plan_pool(
    family: int,
    wanted: _Addressing,
    parsed: BridgeOptions,
    internal: bool,
    around: Surroundings,
    taken: Sequence[IPNetwork],
) -> Pool:
    auxiliary = tuple((name, address) for name, address in wanted.auxiliary if address.version == family)
    ip_range, gateway_address = wanted.ranges.get(family), wanted.gateways.get(family)
    subnet = wanted.subnets.get(family)
    if subnet is None:
        pools = around.pools4 if family == 4 else around.pools6
        subnet = ipam.choose_subnet(pools, [*taken, *around.reserved], prefix_length=wanted.sizes.get(family))
    else:
        clash = next((item for item in taken if item.version == family and item.overlaps(subnet)), None)
        if clash is not None:
            raise Conflict(
                "subnet",
                str(subnet),
                f"invalid pool request: Pool overlaps with other one on this address space ({clash})",
            )
        problems = ipam.validate_pool(subnet, ip_range, gateway_address, auxiliary)
        if problems:
            raise InvalidRequest("network config", "; ".join(problems))
    mode = parsed.gateway_mode_ipv4 if family == 4 else parsed.gateway_mode_ipv6
    if gateway_address is None:
        none_needed = mode is GatewayMode.ISOLATED or (internal and family == 4 and parsed.inhibit_ipv4)
        if not none_needed and not (subnet.prefixlen >= subnet.max_prefixlen - 1 and internal):
            gateway_address = ipam.default_gateway(subnet, ip_range, auxiliary)
    return Pool(subnet=subnet, ip_range=ip_range, gateway=gateway_address, auxiliary=auxiliary)


def plan_sandbox(
    request: SandboxRequest,
    kind: Stack,
    target: Sandbox | None,
    *,
    netns_directory: str,
    taken: Collection[str],
    host_name: str,
    boot_id: str,
    now: float,
    random_hex: RandomHex = secrets.token_hex,
) -> Sandbox:
    """Return the sandbox that *request* means; *target*: whose stack it shares. *taken*: paths of namespaces in use."""
    name = names.check_object_name("sandbox", request.name)
    for text in request.extra_hosts:
        hostsfile.parse_extra_host(text)
    for text in request.expose:
        ports.parse_exposed(text)
    if request.domainname:
        names.check_dns_name("domainname", request.domainname)
    identity = random_hex(32)
    path = f"{netns_directory}/berth-{name}"
    if path in taken:
        # A sandbox that was renamed keeps its path.
        path = f"{path}-{identity[:12]}"
    hostname, domainname = request.hostname and names.check_hostname(request.hostname), request.domainname
    if target is not None:
        hostname, domainname = target.hostname, target.domainname
    elif kind is Stack.HOST and not hostname:
        # The host's own name, and what stands behind its first dot (HO-15).
        hostname, _, rest = host_name.partition(".")
        domainname = domainname or rest
    return Sandbox(
        id=identity,
        name=name,
        hostname=hostname or identity[:12],
        domainname=domainname,
        netns_path=path,
        boot_id=boot_id,
        adopted=request.netns is not None,
        origin=request.origin,
        owner=request.owner,
        dns=request.dns,
        extra_hosts=request.extra_hosts,
        # Without a stack of its own it has no ports to publish; `stack.check` has said so.
        port_requests=tuple(ports.parse_port(text) for text in request.publish) if kind is Stack.OWN else (),
        exposed=request.expose,
        publish_all=request.publish_all and kind is Stack.OWN,
        labels=request.labels,
        created=now,
        forwards=request.forwards,
        sysctls=endpoint_options.sandbox_sysctls(request.sysctls),
        stack=kind,
        shared_with=target.id if target is not None else "",
    )


def check_endpoint_request(request: EndpointRequest, network: Network) -> EndpointRequest:
    """Return *request* validated for *network*; every problem is named at once (docker-behaviour IP-25..IP-29)."""
    problems = []
    if request.ipv4 is not None:
        if request.ipv4.is_unspecified:
            problems.append(f"invalid IPv4 address: {request.ipv4}")
        elif network.pool4 is None:
            problems.append(f"ip {request.ipv4}: network {network.name} has no IPv4")
    if request.ipv6 is not None:
        if request.ipv6.is_unspecified or request.ipv6.scope_id or request.ipv6.ipv4_mapped:
            problems.append(f"invalid IPv6 address: {request.ipv6}")
        elif network.pool6 is None:
            problems.append(f"ip6 {request.ipv6}: network {network.name} has no IPv6; create it with --ipv6")
    if problems:
        raise InvalidRequest("endpoint settings", "; ".join(problems))
    routes.parse(request.routes, network.pools())
    for alias in request.aliases:
        names.check_dns_name("network-alias", alias)
    for _, alias in request.links:
        names.check_dns_name("link alias", alias)
    own = endpoint_options.canonical(dict(request.driver_options))
    named = own.get(endpoint_options.SHORT_NAMES["ifname"])
    if named and request.ifname and named != request.ifname:
        raise InvalidRequest("ifname", f"{request.ifname} and driver-opt {named} contradict each other")
    if request.ipv6 is not None and network.pool6 not in pools_for(request, network):
        raise InvalidRequest("ip6", f"{request.ipv6} can't be had while a sysctl switches IPv6 off on the link")
    wanted = request.ifname or named
    return replace(
        request,
        mac=names.check_mac(request.mac) if request.mac else None,
        ifname=options.check_ifname("ifname", wanted) if wanted else None,
        driver_options=tuple(own.items()),
    )


def pools_for(request: EndpointRequest, network: Network) -> tuple[Pool, ...]:
    """Return the pools that an endpoint gets addresses from: not IPv6 if a sysctl of its switches that off (BR-14)."""
    own = endpoint_options.canonical(dict(request.driver_options))
    without = endpoint_options.switches_ipv6_off(endpoint_options.link_sysctls(own))
    return tuple(pool for pool in network.pools() if not (without and pool.subnet.version == 6))


def plan_endpoint(
    request: EndpointRequest,
    network: Network,
    sandbox: Sandbox,
    *,
    ipv4: IPAddress | None,
    ipv6: IPAddress | None,
    used_ifnames: Collection[str],
    random_hex: RandomHex = secrets.token_hex,
) -> Endpoint:
    """Return the endpoint for addresses already taken; Conflict if the wanted link name is in use."""
    ifname = request.ifname or next(
        name for i in range(len(used_ifnames) + 1) if (name := f"{network.bridge.ifname_prefix}{i}") not in used_ifnames
    )
    if ifname in used_ifnames:
        raise Conflict("link", ifname, f"exists in sandbox {sandbox.name} already; choose another ifname")
    return Endpoint(
        origin=sandbox.origin,
        network_id=network.id,
        sandbox_id=sandbox.id,
        ifname=ifname,
        host_ifname=f"veth{random_hex(4)[:7]}",
        mac=request.mac or random_mac(random_hex),
        ipv4=IPv4Interface(f"{ipv4}/{network.pool4.subnet.prefixlen}") if ipv4 and network.pool4 else None,
        ipv6=IPv6Interface(f"{ipv6}/{network.pool6.subnet.prefixlen}") if ipv6 and network.pool6 else None,
        aliases=tuple(dict.fromkeys(request.aliases)),
        links=request.links,
        gateway_priority=request.gateway_priority,
        routes=routes.parse(request.routes, network.pools()),
        sysctls=endpoint_options.link_sysctls(dict(request.driver_options)),
    )


def random_mac(random_hex: RandomHex) -> str:
    """Return a random locally administered unicast MAC (docker-behaviour IP-32)."""
    octets = bytes.fromhex(random_hex(6))
    return ":".join(f"{octet:02x}" for octet in bytes([octets[0] & 0xFC | 0x02]) + octets[1:])


def desired(
    sandbox: Sandbox,
    endpoints: Sequence[Endpoint],
    networks: Mapping[str, Network],
    facts: bridge.Facts,
    *,
    hosts_path: str,
    loopback_ipv6: bool,
) -> tuple[KernelObject, ...]:
    """Return everything that must exist for a sandbox with *endpoints*."""
    if sandbox.stack is not Stack.OWN:
        return stack.sandbox_objects(sandbox, hosts_path=hosts_path, loopback_ipv6=loopback_ipv6)
    result: list[KernelObject] = []
    for endpoint in endpoints:
        result += bridge.endpoint_objects(networks[endpoint.network_id], endpoint, facts, forwards=sandbox.forwards)
    result += bridge.sandbox_objects(sandbox, tuple(endpoints), networks, hosts_path=hosts_path, loopback_ipv6=loopback_ipv6)
    return tuple(result)


def assign_ports(endpoints: Sequence[Endpoint], networks: Mapping[str, Network], mappings: Sequence[PortMapping]) -> tuple[Endpoint, ...]:
    """Return *endpoints* with each family's mappings on that family's gateway endpoint (docker-behaviour GW-8)."""
    chosen = gateway.gateway_endpoints(endpoints, networks)
    result = []
    for endpoint in endpoints:
        own = tuple(item for item in mappings if chosen[0 if item.family == 4 else 1] == endpoint)
        result.append(replace(endpoint, ports=own))
    return tuple(result)


def plan_ports(
    sandbox: Sandbox,
    endpoints: Sequence[Endpoint],
    networks: Mapping[str, Network],
    *,
    taken: Iterable[tuple[str, PortMapping]],
    is_free: ports.PortIsFree,
    ephemeral: tuple[int, int],
    start: int,
) -> tuple[PortMapping, ...]:
    """Return the mappings of *sandbox*: those it has, and new ones for families that it had none in."""
    bare = [replace(endpoint, ports=()) for endpoint in endpoints]
    requests = [*sandbox.port_requests, *_exposed(sandbox)]
    have = {item.family for item in sandbox.ports}
    families: list[int] = []
    routed: list[int] = []
    binding: list[IPAddress] = []
    for family, endpoint in zip((4, 6), gateway.gateway_endpoints(bare, networks), strict=True):
        if endpoint is None or family in have:
            continue
        parsed = networks[endpoint.network_id].bridge
        mode = parsed.gateway_mode_ipv4 if family == 4 else parsed.gateway_mode_ipv6
        (routed if mode is GatewayMode.ROUTED else families).append(family)
        binding += parsed.host_binding
    made = list(sandbox.ports)
    for family in routed:
        made += [
            PortMapping(family=family, protocol=item.protocol, host_address=None, host_port=0, sandbox_port=port)
            for item in requests
            for port in range(item.sandbox_first, item.sandbox_last + 1)
        ]
    if families and requests:
        wanted = [item for item in requests if item.host_address is None or item.host_address.version in families or not have]
        made += ports.allocate_ports(
            wanted,
            families=tuple(families),
            default_binding=list(dict.fromkeys(binding)),
            taken=taken,
            is_free=is_free,
            ephemeral=ephemeral,
            start=start,
        )
    return tuple(made)


def _exposed(sandbox: Sandbox) -> list[PortRequest]:
    """Return a request for an ephemeral host port for each exposed port, with `--publish-all` (CL-27)."""
    if not sandbox.publish_all:
        return []
    published = {(item.protocol, item.sandbox_first) for item in sandbox.port_requests}
    parsed = [ports.parse_port(text) for text in sandbox.exposed]
    return [item for item in parsed if (item.protocol, item.sandbox_first) not in published]


def parse_endpoint_address(field: str, text: str, family: int) -> IPAddress:
    """Return *text* as an address of *family*; InvalidRequest otherwise (docker-behaviour IP-27)."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidRequest(field, f"invalid IPv{family} address: {text}") from error
    if address.version != family:
        raise InvalidRequest(field, f"invalid IPv{family} address: {text}")
    return address
