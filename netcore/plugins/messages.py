"""Bodies of calls to plugins, and what their answers mean. Pure.

Spec: https://github.com/moby/moby/blob/master/daemon/libnetwork/docs/remote.md and ipam.md; rules RM-2..RM-4. An answer
that the protocol does not allow is PluginFailed: nothing that a plugin says reaches the kernel unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from netcore.errors import InvalidRequest, PluginFailed
from netcore.model import (
    Endpoint,
    IPAddress,
    IPInterface,
    Network,
    PluginAnswer,
    PluginIpam,
    Pool,
    PortRequest,
    Sandbox,
    StaticRoute,
)
from netcore.parse.names import check_mac
from netcore.parse.options import check_ifname
from netcore.parse.ports import parse_exposed

_GENERIC = "com.docker.network.generic"
_PORT_MAP, _EXPOSED = "com.docker.network.portmap", "com.docker.network.endpoint.exposedports"
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_NEXT_HOP, _CONNECTED = 0, 1


# --- network driver ------------------------------------------------------------------------------------------------------


def network_options(given: Mapping[str, str], *, internal: bool, ipv4: bool, ipv6: bool) -> dict[str, Any]:
    """Return the Options of a network: the user's under the generic key, the rest under labels."""
    options: dict[str, Any] = {_GENERIC: dict(given), "com.docker.network.enable_ipv4": ipv4, "com.docker.network.enable_ipv6": ipv6}
    if internal:
        options["com.docker.network.internal"] = True
    return options


def create_network(network: Network) -> dict[str, Any]:
    def data(family: int) -> list[dict[str, Any]]:
        return [_ipam_data(network, pool) for pool in network.pools if pool.subnet.version == family]

    options = network_options(dict(network.options), internal=network.internal, ipv4=network.ipv4, ipv6=network.ipv6)
    return {"NetworkID": network.id, "Options": options, "IPv4Data": data(4), "IPv6Data": data(6)}


def _ipam_data(network: Network, pool: Pool) -> dict[str, Any]:
    length = pool.subnet.prefixlen
    return {
        "AddressSpace": network.ipam.space if network.ipam is not None else "LocalDefault",
        "Pool": str(pool.subnet),
        "Gateway": f"{pool.gateway}/{length}" if pool.gateway is not None else "",
        "AuxAddresses": {name: f"{address}/{length}" for name, address in pool.auxiliary},
    }


def endpoint(target: Endpoint) -> dict[str, Any]:
    return {"NetworkID": target.network_id, "EndpointID": target.id}


def create_endpoint(target: Endpoint, sandbox: Sandbox, options: Mapping[str, str]) -> dict[str, Any]:
    interface = {
        "Address": str(target.ipv4 or ""),
        "AddressIPv6": str(target.ipv6 or ""),
        "MacAddress": target.mac,
    }
    return {**endpoint(target), "Options": {**endpoint_options(sandbox), **options}, "Interface": interface}


def endpoint_options(sandbox: Sandbox) -> dict[str, Any]:
    """Return the labels that say which ports of *sandbox* are exposed, and how they should be published.

    On a plugin's network it is the plugin that publishes, so it is told what the user asked for.
    """
    requests = map(parse_exposed, sandbox.exposed)
    exposed = [(asked.protocol, port) for asked in requests for port in range(asked.sandbox_first, asked.sandbox_last + 1)]
    published = [
        (request, offset) for request in sandbox.port_requests for offset in range(request.sandbox_last - request.sandbox_first + 1)
    ]
    exposed += [(request.protocol, request.sandbox_first + offset) for request, offset in published]
    return {
        _EXPOSED: [{"Proto": _PROTOCOLS[protocol], "Port": port} for protocol, port in dict.fromkeys(exposed)],
        _PORT_MAP: [_port_binding(request, offset) for request, offset in published],
    }


def _port_binding(request: PortRequest, offset: int) -> dict[str, Any]:
    pairwise = request.host_last - request.host_first == request.sandbox_last - request.sandbox_first
    first, last = (request.host_first + offset,) * 2 if pairwise and request.host_first else (request.host_first, request.host_last)
    return {
        "Proto": _PROTOCOLS[request.protocol],
        "IP": "",
        "Port": request.sandbox_first + offset,
        "HostIP": str(request.host_address or ""),
        "HostPort": first,
        "HostPortEnd": last,
    }


def join(target: Endpoint, sandbox: Sandbox) -> dict[str, Any]:
    return {**endpoint(target), "SandboxKey": sandbox.netns_path, "Options": endpoint_options(sandbox)}


def with_interface(plugin: str, target: Endpoint, answer: Mapping[str, Any]) -> Endpoint:
    """Return *target* with what CreateEndpoint filled in; it must leave empty what was given to it (RM-3)."""
    interface = answer.get("Interface") or {}
    if not isinstance(interface, dict):
        raise PluginFailed(plugin, "NetworkDriver.CreateEndpoint", f"Interface is {interface!r}, not an object")
    for field, given in (("Address", target.ipv4), ("AddressIPv6", target.ipv6), ("MacAddress", target.mac)):
        if interface.get(field) and given:
            reason = f"it answers {field} {interface[field]}, where {given} was given; it may fill in only what is empty"
            raise PluginFailed(plugin, "NetworkDriver.CreateEndpoint", reason)
    ipv4 = _interface(plugin, "NetworkDriver.CreateEndpoint", "Address", interface.get("Address"), 4)
    ipv6 = _interface(plugin, "NetworkDriver.CreateEndpoint", "AddressIPv6", interface.get("AddressIPv6"), 6)
    return replace(
        target,
        ipv4=ipv4 if isinstance(ipv4, IPv4Interface) else target.ipv4,
        ipv6=ipv6 if isinstance(ipv6, IPv6Interface) else target.ipv6,
        mac=_mac(plugin, interface.get("MacAddress")) or target.mac,
    )


def _mac(plugin: str, text: Any) -> str | None:
    if not text:
        return None
    try:
        return check_mac(str(text))
    except InvalidRequest as error:
        raise PluginFailed(plugin, "NetworkDriver.CreateEndpoint", str(error)) from error


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """What Join answered. The link is called *ifname* in the sandbox, or *ifname_prefix* and a number; None: it says nothing of it."""

    answer: PluginAnswer
    ifname: str | None
    ifname_prefix: str | None
    routes: tuple[StaticRoute, ...]


def parse_join(plugin: str, answer: Mapping[str, Any]) -> JoinAnswer:
    """Return what Join answered."""
    method = "NetworkDriver.Join"
    names = answer.get("InterfaceName") or {}
    if not isinstance(names, dict):
        raise PluginFailed(plugin, method, f"InterfaceName is {names!r}, not an object")
    source, prefix, exact = (_ifname(plugin, field, names.get(field)) for field in ("SrcName", "DstPrefix", "DstName"))
    if source is not None and prefix is None and exact is None:
        raise PluginFailed(plugin, method, f"InterfaceName has SrcName {source} and neither DstPrefix nor DstName")
    routes = answer.get("StaticRoutes") or ()
    if not isinstance(routes, list | tuple):
        raise PluginFailed(plugin, method, f"StaticRoutes is {routes!r}, not a list")
    return JoinAnswer(
        PluginAnswer(
            link=source,
            gateway4=_address(plugin, method, "Gateway", answer.get("Gateway"), 4),
            gateway6=_address(plugin, method, "GatewayIPv6", answer.get("GatewayIPv6"), 6),
            wants_gateway=not answer.get("DisableGatewayService"),
        ),
        exact,
        prefix,
        tuple(_route(plugin, route) for route in routes),
    )


def _ifname(plugin: str, field: str, text: Any) -> str | None:
    if not text:
        return None
    try:
        check_ifname(field, str(text))
    except InvalidRequest as error:
        raise PluginFailed(plugin, "NetworkDriver.Join", str(error)) from error
    return str(text)


def _route(plugin: str, route: Any) -> StaticRoute:
    method = "NetworkDriver.Join"
    try:
        destination, kind = ip_network(route["Destination"]), route.get("RouteType", _NEXT_HOP)
        via = ip_address(route["NextHop"]) if kind == _NEXT_HOP else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PluginFailed(plugin, method, f"StaticRoutes has {route!r}: {error}") from error
    if kind not in (_NEXT_HOP, _CONNECTED) or (via is not None and via.version != destination.version):
        raise PluginFailed(plugin, method, f"StaticRoutes has {route!r}: RouteType is 0 with a NextHop of the same family, or 1")
    return StaticRoute(destination=destination, via=via)


def _interface(plugin: str, method: str, field: str, text: Any, family: int) -> IPInterface | None:
    if not text:
        return None
    try:
        interface = ip_interface(str(text))
    except ValueError as error:
        raise PluginFailed(plugin, method, f"{field}: {error}") from error
    if interface.version != family or "/" not in str(text):
        raise PluginFailed(plugin, method, f"{field}: {text!r} is no IPv{family} address with a prefix length")
    return interface


def _address(plugin: str, method: str, field: str, text: Any, family: int) -> IPAddress | None:
    if not text:
        return None
    try:
        address = ip_address(str(text).partition("/")[0])
    except ValueError as error:
        raise PluginFailed(plugin, method, f"{field}: {error}") from error
    if address.version != family:
        raise PluginFailed(plugin, method, f"{field}: {text} is no IPv{family} address")
    return address


# --- IPAM driver ---------------------------------------------------------------------------------------------------------


def request_pool(ipam: PluginIpam, family: int, wish: Pool | None) -> dict[str, Any]:
    return {
        "AddressSpace": ipam.space,
        "Pool": str(wish.subnet) if wish is not None else "",
        "SubPool": str(wish.ip_range or "") if wish is not None else "",
        "Options": dict(ipam.options),
        "V6": family == 6,
    }


def parse_pool(plugin: str, answer: Mapping[str, Any], family: int) -> Pool:
    """Return the pool that RequestPool gave, with the gateway that came with it, if one did."""
    method, identity = "IpamDriver.RequestPool", answer.get("PoolID")
    if not isinstance(identity, str) or not identity:
        raise PluginFailed(plugin, method, "the answer has no PoolID")
    try:
        subnet = ip_network(str(answer.get("Pool") or ""))
    except ValueError as error:
        raise PluginFailed(plugin, method, f"Pool: {error}") from error
    if subnet.version != family:
        raise PluginFailed(plugin, method, f"Pool: {subnet} is no IPv{family} subnet")
    data = answer.get("Data") or {}
    if not isinstance(data, dict):
        raise PluginFailed(plugin, method, f"Data is {data!r}, not an object")
    gateway = _address(plugin, method, "gateway", data.get("com.docker.network.gateway"), family)
    return Pool(subnet=subnet, identity=identity, gateway=gateway)


def parse_address(plugin: str, answer: Mapping[str, Any], pool: Pool) -> IPAddress:
    """Return the address that RequestAddress gave; it must be in *pool*."""
    method, family = "IpamDriver.RequestAddress", pool.subnet.version
    interface = _interface(plugin, method, "Address", answer.get("Address"), family)
    if interface is None or interface.ip not in pool.subnet:
        raise PluginFailed(plugin, method, f"Address: {answer.get('Address')!r} is not in {pool.subnet}")
    return interface.ip
