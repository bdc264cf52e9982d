"""Which endpoint a connect means. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

from netcore import limits
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import BridgeOptions, Endpoint, EndpointRequest, IPAddress, Network, ParentOptions, PluginOptions, Sandbox
from netcore.parse import endpoint_options, names, options
from netcore.plan import routes

RandomHex = Callable[[int], str]


def check_endpoint_request(request: EndpointRequest, network: Network) -> EndpointRequest:
    """Return *request* validated for *network*; every problem is named at once (docker-behaviour IP-25..IP-29)."""
    problems = []
    if request.ipv4 is not None:
        if request.ipv4.is_unspecified:
            problems.append(f"invalid IPv4 address: {request.ipv4}")
        elif not network.ipv4:
            problems.append(f"ip {request.ipv4}: network {network.name} has no IPv4")
    if request.ipv6 is not None:
        if request.ipv6.is_unspecified or request.ipv6.scope_id or request.ipv6.ipv4_mapped:
            problems.append(f"invalid IPv6 address: {request.ipv6}")
        elif not network.ipv6:
            problems.append(f"ip6 {request.ipv6}: network {network.name} has no IPv6; create it with --ipv6")
    for address in request.link_local:
        if not address.is_link_local or getattr(address, "scope_id", None):
            problems.append(f"invalid link-local IP address: {address}")
    if network.is_default_bridge:
        problems += _refused_on_default_bridge(request)
    if problems:
        raise InvalidRequest("endpoint settings", "; ".join(problems))
    routes.parse(request.routes, network.pools)
    for alias in request.aliases:
        names.check_dns_name("network-alias", alias)
    for service in request.services:
        names.check_dns_name("service", service)
    for _, alias in request.links:
        names.check_dns_name("link alias", alias)
    own = endpoint_options.canonical(dict(request.driver_options), has_others=isinstance(network.driver_options, PluginOptions))
    named = own.get(endpoint_options.SHORT_NAMES["ifname"])
    if named and request.ifname and named != request.ifname:
        raise InvalidRequest("ifname", f"{request.ifname} and driver-opt {named} contradict each other")
    if request.ipv6 is not None and 6 not in families_for(request, network):
        raise InvalidRequest("ip6", f"{request.ipv6} can't be had while a sysctl switches IPv6 off on the link")
    wanted = request.ifname or named
    return replace(
        request,
        mac=names.check_mac(request.mac) if request.mac else None,
        ifname=options.check_ifname("ifname", wanted) if wanted else None,
        driver_options=tuple(own.items()),
    )


def _refused_on_default_bridge(request: EndpointRequest) -> Iterator[str]:
    """Yield what the default network bridge does not give (IP-26, CL-14)."""
    if request.ipv4 is not None or request.ipv6 is not None:
        yield "user-specified IP address is supported on user-defined networks only"
    if request.aliases or request.services:
        yield "network-scoped aliases are only supported for user-defined networks"
    if request.links:
        yield "links on the default network bridge are deprecated in Docker and not there; use a network of your own"


def families_for(request: EndpointRequest, network: Network) -> tuple[int, ...]:
    """Return the families that an endpoint gets an address of: not IPv6 if a sysctl of its switches that off (BR-14)."""
    own = endpoint_options.canonical(dict(request.driver_options), has_others=True)
    without = endpoint_options.switches_ipv6_off(endpoint_options.link_sysctls(own))
    return tuple(family for family, on in ((4, network.ipv4), (6, network.ipv6 and not without)) if on)


def plan_endpoint(
    request: EndpointRequest,
    network: Network,
    sandbox: Sandbox,
    *,
    addresses: Mapping[int, IPAddress],
    mac: str,
    used_ifnames: Collection[str],
    random_hex: RandomHex = secrets.token_hex,
) -> Endpoint:
    """Return the endpoint for *addresses* already taken, by family; Conflict if the wanted link name is in use."""
    ifname = link_name(sandbox, request.ifname or "", network.common.ifname_prefix, used_ifnames)
    return Endpoint(
        origin=sandbox.origin,
        network_id=network.id,
        sandbox_id=sandbox.id,
        ifname=ifname,
        host_ifname=f"veth{random_hex(4)[:7]}" if isinstance(network.driver_options, BridgeOptions) else "",
        mac=mac,
        ipv4=IPv4Interface(_with_prefix(network, addresses[4])) if 4 in addresses else None,
        ipv6=IPv6Interface(_with_prefix(network, addresses[6])) if 6 in addresses else None,
        link_local=tuple(ip_interface(f"{item}/{16 if item.version == 4 else 64}") for item in dict.fromkeys(request.link_local)),
        aliases=tuple(dict.fromkeys(request.aliases)),
        services=tuple(dict.fromkeys(request.services)),
        links=request.links,
        gateway_priority=request.gateway_priority,
        routes=routes.parse(request.routes, network.pools),
        sysctls=endpoint_options.link_sysctls(dict(request.driver_options)),
    )


def link_name(sandbox: Sandbox, exact: str, prefix: str, used: Collection[str]) -> str:
    """Return *exact*, or *prefix* with the lowest number that is free; Conflict if *exact* is in use."""
    if exact in used:
        raise Conflict("link", exact, f"exists in sandbox {sandbox.name} already; choose another ifname")
    return exact or next(name for i in range(len(used) + 1) if (name := f"{prefix}{i}") not in used)


def choose_mac(request: EndpointRequest, network: Network, parent_mac: str, random_hex: RandomHex = secrets.token_hex) -> str:
    """Return the MAC of an endpoint; "" where a plugin chooses it. *parent_mac*: see `parent_of`."""
    if parent_mac or request.mac:
        return parent_mac or request.mac or ""
    by_plugin = isinstance(network.driver_options, PluginOptions) and not (network.ipam is not None and network.ipam.needs_mac)
    return "" if by_plugin else random_mac(random_hex)


def plugin_options(request: EndpointRequest) -> dict[str, str]:
    """Return the driver options of an endpoint that are for the network's plugin."""
    return {key: value for key, value in request.driver_options if key not in endpoint_options.SHORT_NAMES.values()}


def _with_prefix(network: Network, address: IPAddress) -> str:
    pool = network.pool_of(address)
    assert pool is not None
    return f"{address}/{pool.subnet.prefixlen}"


def parent_of(network: Network) -> str:
    """Return the name of the host's link whose MAC the endpoints of *network* have, "" where each has its own (IV-3)."""
    driver = network.driver_options
    if isinstance(driver, ParentOptions) and (network.driver == "ipvlan" or driver.mode == "passthru"):
        return driver.parent
    return ""


def check_room(request: EndpointRequest, network: Network, members: Sequence[Endpoint]) -> None:
    """Raise if *network* with its *members* can't take one more endpoint as *request* wants it."""
    if isinstance(network.driver_options, BridgeOptions) and len(members) >= limits.BRIDGE_PORTS:
        raise Exhausted("network", network.name, because=f"a bridge takes at most {limits.BRIDGE_PORTS} endpoints; add a network")
    if isinstance(network.driver_options, ParentOptions) and network.driver_options.mode == "passthru" and members:
        raise Exhausted("network", network.name, because="a macvlan network in passthru mode takes one endpoint")
    if request.mac and parent_of(network):
        what = "ipvlan interfaces do not support custom mac address assignment"
        raise InvalidRequest("mac-address", what if network.driver == "ipvlan" else "a link in passthru mode has its parent's")
    if request.mac and any(item.mac == request.mac for item in members):
        raise Conflict("mac-address", request.mac, f"is in use on network {network.name}")


def random_mac(random_hex: RandomHex) -> str:
    """Return a random locally administered unicast MAC (docker-behaviour IP-32)."""
    octets = bytes.fromhex(random_hex(6))
    return ":".join(f"{octet:02x}" for octet in bytes([octets[0] & 0xFC | 0x02]) + octets[1:])


def parse_endpoint_address(field: str, text: str, family: int) -> IPAddress:
    """Return *text* as an address of *family*; InvalidRequest otherwise (docker-behaviour IP-27)."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidRequest(field, f"invalid IPv{family} address: {text}") from error
    if address.version != family:
        raise InvalidRequest(field, f"invalid IPv{family} address: {text}")
    return address
