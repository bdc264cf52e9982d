"""Which endpoint a connect means. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from netcore import drivers
from netcore.drivers.protocol import MacSource
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, EndpointRequest, IPAddress, IPInterface, Network, Sandbox
from netcore.parse import addresses as address_texts
from netcore.parse import endpoint_options, names, options
from netcore.parse.problems import Problem, refuse
from netcore.plan import link_names, routes, tap

RandomHex = Callable[[int], str]


def check_endpoint_request(
    request: EndpointRequest, network: Network, *, free_ifname: str = "", sysctls: Iterable[tuple[str, str]] = ()
) -> EndpointRequest:
    """Return *request* validated for *network*; every wrong address is named at once (rules IP-25..IP-29).

    *free_ifname*: the name that its link gets if it asks for none. *sysctls*: of the whole sandbox.
    """
    refuse(_wrong_addresses(request, network))
    routes.parse(request.routes, network.pools)
    for alias in request.aliases:
        names.check_network_alias(alias)
    for service in request.services:
        names.check_single_name("service", service)
    for _, alias in request.links:
        names.check_single_name("link alias", alias)
    if request.tap is not None:
        tap.check_request(request, network)
    labels = endpoint_options.canonical(dict(request.driver_options), for_plugin=drivers.of(network).plugin(network) is not None)
    named = labels.get(endpoint_options.IFNAME.label)
    if named and request.ifname and named != request.ifname:
        raise InvalidRequest("ifname", f"{request.ifname} and driver-opt {named} contradict each other")
    ifname = request.ifname or named
    if endpoint_options.turns_ipv6_off(ifname or free_ifname, endpoint_options.link_sysctls(labels), sysctls):
        for field, address in (("ip6", request.ipv6), *(("link-local-ip", address) for address in request.link_local)):
            if address is not None and address.version == 6:
                raise InvalidRequest(field, f"{address} can't be had while a sysctl switches IPv6 off on the link")
    return replace(
        request,
        mac=names.check_mac(request.mac) if request.mac else None,
        ifname=options.check_ifname("ifname", ifname) if ifname else None,
        driver_options=tuple(labels.items()),
    )


def _wrong_addresses(request: EndpointRequest, network: Network) -> Iterator[Problem]:
    if request.ipv4 is not None:
        if request.ipv4.is_unspecified:
            yield "IPv4 address", str(request.ipv4)
        elif not network.ipv4:
            yield f"ip {request.ipv4}", f"network {network.name} has no IPv4"
    if request.ipv6 is not None:
        if request.ipv6.is_unspecified or request.ipv6.scope_id or request.ipv6.ipv4_mapped:
            yield "IPv6 address", str(request.ipv6)
        elif not network.ipv6:
            yield f"ip6 {request.ipv6}", f"network {network.name} has no IPv6; create it with --ipv6"
    for address in request.link_local:
        if not address.is_link_local or getattr(address, "scope_id", None):
            yield "link-local IP address", str(address)
    if network.is_default_bridge:
        yield from _refused_on_default_bridge(request)


def _refused_on_default_bridge(request: EndpointRequest) -> Iterator[Problem]:
    """Yield what the default network bridge does not give (IP-26, CL-14)."""
    if request.ipv4 is not None or request.ipv6 is not None:
        yield "endpoint settings", "user-specified IP address is supported on user-defined networks only"
    if request.aliases or request.services:
        yield "endpoint settings", "network-scoped aliases are only supported for user-defined networks"
    if request.links:
        yield (
            "endpoint settings",
            "links on the default network bridge are deprecated in Docker, and berth has none; use a network of your own",
        )


def families_for(request: EndpointRequest, network: Network, *, ifname: str, sysctls: Iterable[tuple[str, str]] = ()) -> tuple[int, ...]:
    """Return the families that an endpoint gets an address of: not IPv6 if a sysctl turns that off (BR-14).

    *request* has been checked. *ifname*: of its link; *sysctls*: of the whole sandbox.
    """
    without_ipv6 = endpoint_options.turns_ipv6_off(ifname, endpoint_options.link_sysctls(dict(request.driver_options)), sysctls)
    return tuple(family for family, on in ((4, network.ipv4), (6, network.ipv6 and not without_ipv6)) if on)


def plan_endpoint(
    request: EndpointRequest,
    network: Network,
    sandbox: Sandbox,
    *,
    addresses: Mapping[int, IPAddress],
    mac: str | None,
    used_ifnames: Collection[str],
    random_hex: RandomHex = secrets.token_hex,
) -> Endpoint:
    """Return the endpoint for *addresses* already taken, by family; Conflict if the link name asked for is in use."""
    ifname = link_names.in_sandbox(sandbox.name, request.ifname, network.common.ifname_prefix, used_ifnames)
    return Endpoint(
        origin=sandbox.origin,
        network_id=network.id,
        sandbox_id=sandbox.id,
        ifname=ifname,
        host_ifname=ifname if request.tap is not None else link_names.on_host(random_hex) if drivers.of(network).has_host_veth else "",
        mac=mac or "",
        ipv4=IPv4Interface((int(addresses[4]), _prefix_length(network, addresses[4]))) if 4 in addresses else None,
        ipv6=IPv6Interface((int(addresses[6]), _prefix_length(network, addresses[6]))) if 6 in addresses else None,
        link_local=tuple(_of_link(address) for address in dict.fromkeys(request.link_local)),
        aliases=tuple(dict.fromkeys(request.aliases)),
        services=tuple(dict.fromkeys(request.services)),
        links=request.links,
        gateway_priority=request.gateway_priority,
        routes=routes.parse(request.routes, network.pools),
        sysctls=endpoint_options.link_sysctls(dict(request.driver_options)),
        tap=request.tap,
    )


def choose_mac(request: EndpointRequest, network: Network, parent_mac: str | None, random_hex: RandomHex = secrets.token_hex) -> str | None:
    """Return the MAC of an endpoint; None where a plugin chooses it. *parent_mac*: that of the link of `parent_of`, if there is one."""
    if parent_mac is not None or request.mac is not None:
        return parent_mac or request.mac
    return None if drivers.of(network).mac_source(network) is MacSource.PLUGIN else random_mac(random_hex)


def plugin_options(request: EndpointRequest) -> dict[str, str]:
    """Return the driver options of an endpoint that are for the network's plugin."""
    return endpoint_options.plugin_options(dict(request.driver_options))


def _of_link(address: IPAddress) -> IPInterface:
    return address_texts.with_prefix(address, 16 if address.version == 4 else 64)


def _prefix_length(network: Network, address: IPAddress) -> int:
    pool = network.pool_of(address)
    assert pool is not None
    return pool.subnet.prefixlen


def parent_of(network: Network) -> str | None:
    """Return the name of the host's link whose MAC the endpoints of *network* have, None where each has its own (IV-3)."""
    driver = drivers.of(network)
    attached = driver.host_link(network) if driver.mac_source(network) is MacSource.HOST_LINK else None
    return attached.name if attached is not None else None


def random_mac(random_hex: RandomHex) -> str:
    """Return a random locally administered unicast MAC (rule IP-32)."""
    octets = bytes.fromhex(random_hex(6))
    return ":".join(f"{octet:02x}" for octet in bytes([octets[0] & 0xFC | 0x02]) + octets[1:])


def parse_endpoint_address(text: str, family: int) -> IPAddress:
    """Return *text* as an address of *family*; InvalidRequest otherwise (rule IP-27)."""
    try:
        # IP-27: an IPv4-mapped address is no address for IPv6.
        address = address_texts.read(text) if family == 4 else ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f"IPv{family} address", text) from error
    if address.version != family:
        raise InvalidRequest(f"IPv{family} address", text)
    return address
