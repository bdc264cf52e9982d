"""Bodies of calls to plugins, and what their answers mean. Pure.

Spec: https://github.com/moby/moby/blob/master/daemon/libnetwork/docs/remote.md and ipam.md; docker-behaviour RM-2..RM-4. What an
answer must not say is PluginFailed: nothing a plugin tells is passed on to the kernel unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from netcore.errors import InvalidRequest, PluginFailed
from netcore.model import (
    Endpoint,
    IPAddress,
    IPInterface,
    Network,
    PluginAnswer,
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
    """Return the Options of a network: the user's under the generic key, the switches under their labels."""
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
    """Return the labels that tell which ports of *sandbox* are exposed, and how they should be published.

    Who publishes on a plugin's network is the plugin, so ports are told as they were asked for.
    """
    exposed = [(protocol, port) for first, last, protocol in map(parse_exposed, sandbox.exposed) for port in range(first, last + 1)]
    published = [(item, offset) for item in sandbox.port_requests for offset in range(item.sandbox_last - item.sandbox_first + 1)]
    exposed += [(item.protocol, item.sandbox_first + offset) for item, offset in published]
    return {
        _EXPOSED: [{"Proto": _PROTOCOLS[protocol], "Port": port} for protocol, port in dict.fromkeys(exposed)],
        _PORT_MAP: [_port_binding(item, offset) for item, offset in published],
    }


def _port_binding(item: PortRequest, offset: int) -> dict[str, Any]:
    pairwise = item.host_last - item.host_first == item.sandbox_last - item.sandbox_first
    first, last = (item.host_first + offset,) * 2 if pairwise and item.host_first else (item.host_first, item.host_last)
    return {
        "Proto": _PROTOCOLS[item.protocol],
        "IP": "",
        "Port": item.sandbox_first + offset,
        "HostIP": str(item.host_address or ""),
        "HostPort": first,
        "HostPortEnd": last,
    }


def join(target: Endpoint, sandbox: Sandbox) -> dict[str, Any]:
    return {**endpoint(target), "SandboxKey": sandbox.netns_path, "Options": endpoint_options(sandbox)}


def with_interface(plugin: str, target: Endpoint, answer: Mapping[str, Any]) -> Endpoint:
    """Return *target* with what CreateEndpoint filled in; what had been given already must come back empty (RM-3)."""
    interface = answer.get("Interface") or {}
    if not isinstance(interface, dict):
        raise PluginFailed(plugin, "NetworkDriver.CreateEndpoint", f"Interface is {interface!r}, not an object")
    for key, have in (("Address", target.ipv4), ("AddressIPv6", target.ipv6), ("MacAddress", target.mac)):
        if interface.get(key) and have:
            reason = f"it answers {key} {interface[key]}, where {have} was given; it may fill in only what is empty"
            raise PluginFailed(plugin, "NetworkDriver.CreateEndpoint", reason)
    ipv4 = _interface(plugin, "NetworkDriver.CreateEndpoint", "Address", interface.get("Address"), 4)
    ipv6 = _interface(plugin, "NetworkDriver.CreateEndpoint", "AddressIPv6", interface.get("AddressIPv6"), 6)
    return replace(
        target,
        ipv4=ipv4 if isinstance(ipv4, IPv4Interface) else target.ipv4,
        ipv6=ipv6 if isinstance(ipv6, IPv6Interface) else target.ipv6,
        mac=_mac(plugin, interface.get("MacAddress")) or target.mac,
    )


def _mac(plugin: str, text: Any) -> str:
    if not text:
        return ""
    try:
        return check_mac(str(text))
    except InvalidRequest as error:
        raise PluginFailed(plugin, "NetworkDriver.CreateEndpoint", str(error)) from error


def joined(plugin: str, answer: Mapping[str, Any]) -> tuple[PluginAnswer, str, str, tuple[StaticRoute, ...]]:
    """Return what Join said: the answer, the link's name or the prefix of it in the sandbox ("" the other), and routes."""
    method = "NetworkDriver.Join"
    named = answer.get("InterfaceName") or {}
    if not isinstance(named, dict):
        raise PluginFailed(plugin, method, f"InterfaceName is {named!r}, not an object")
    source, prefix, exact = (str(named.get(key) or "") for key in ("SrcName", "DstPrefix", "DstName"))
    try:
        for field, text in (("SrcName", source), ("DstPrefix", prefix), ("DstName", exact)):
            if text:
                check_ifname(field, text)
    except InvalidRequest as error:
        raise PluginFailed(plugin, method, str(error)) from error
    if source and not (prefix or exact):
        raise PluginFailed(plugin, method, f"InterfaceName has SrcName {source} and neither DstPrefix nor DstName")
    made = PluginAnswer(
        link=source,
        gateway4=_address(plugin, method, "Gateway", answer.get("Gateway"), 4),
        gateway6=_address(plugin, method, "GatewayIPv6", answer.get("GatewayIPv6"), 6),
        wants_gateway=not answer.get("DisableGatewayService"),
    )
    return made, exact, prefix, tuple(_route(plugin, item) for item in answer.get("StaticRoutes") or ())


def _route(plugin: str, item: Any) -> StaticRoute:
    method = "NetworkDriver.Join"
    try:
        destination, kind = ip_network(item["Destination"]), item.get("RouteType", _NEXT_HOP)
        via = ip_address(item["NextHop"]) if kind == _NEXT_HOP else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PluginFailed(plugin, method, f"StaticRoutes has {item!r}: {error}") from error
    if kind not in (_NEXT_HOP, _CONNECTED) or (via is not None and via.version != destination.version):
        raise PluginFailed(plugin, method, f"StaticRoutes has {item!r}: RouteType is 0 with a NextHop of the same family, or 1")
    return StaticRoute(destination=destination, via=via)


def _interface(plugin: str, method: str, field: str, text: Any, family: int) -> IPInterface | None:
    if not text:
        return None
    try:
        found = ip_interface(str(text))
    except ValueError as error:
        raise PluginFailed(plugin, method, f"{field}: {error}") from error
    if found.version != family or "/" not in str(text):
        raise PluginFailed(plugin, method, f"{field}: {text!r} is no IPv{family} address with a prefix length")
    return found


def _address(plugin: str, method: str, field: str, text: Any, family: int) -> IPAddress | None:
    if not text:
        return None
    try:
        found = ip_address(str(text).partition("/")[0])
    except ValueError as error:
        raise PluginFailed(plugin, method, f"{field}: {error}") from error
    if found.version != family:
        raise PluginFailed(plugin, method, f"{field}: {text} is no IPv{family} address")
    return found


# --- IPAM driver ---------------------------------------------------------------------------------------------------------


def pool_of(plugin: str, answer: Mapping[str, Any], family: int) -> tuple[Pool, IPAddress | None]:
    """Return the pool that RequestPool gave, without a gateway, and the gateway that came with it."""
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
    gateway = _address(plugin, method, "gateway", data.get("com.docker.network.gateway"), family)
    return Pool(subnet=subnet, identity=identity), gateway


def address_of(plugin: str, answer: Mapping[str, Any], pool: Pool) -> IPAddress:
    """Return the address that RequestAddress gave; it must be in *pool*."""
    method, family = "IpamDriver.RequestAddress", pool.subnet.version
    found = _interface(plugin, method, "Address", answer.get("Address"), family)
    if found is None or found.ip not in pool.subnet:
        raise PluginFailed(plugin, method, f"Address: {answer.get('Address')!r} is not in {pool.subnet}")
    return found.ip
