"""Between the model and the shapes of the admin API. Pure, but for the pid that a body names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from netcore import drivers
from netcore.cluster.state import EndpointRecord
from netcore.errors import InvalidRequest
from netcore.model import (
    DnsSettings,
    Endpoint,
    EndpointRequest,
    IPAddress,
    IPNetwork,
    Network,
    NetworkId,
    NetworkRequest,
    Owner,
    PortMapping,
    Sandbox,
    SandboxRequest,
    StaticRoute,
)
from netcore.parse.options import parse_addresses, parse_forward
from netcore.plan import gateway
from netcore.plan.endpoint import parse_endpoint_address
from netcore.plan.endpoint_names import names_of
from resolver import resolvconf
from resolver.daemon.proxies import environment
from resolver.daemon.schema import (
    EndpointSettings,
    EndpointView,
    MemberView,
    NetworkBody,
    NetworkView,
    PoolView,
    PortView,
    PruneBody,
    SandboxBody,
    SandboxView,
)
from resolver.errors import BadName
from resolver.wire import name as names


def network_request(body: NetworkBody, owner: Owner | None, *, predefined: bool = False) -> NetworkRequest:
    for domain, servers in parse_forward(body.options):
        try:
            names.from_text(domain)
            for server in servers:
                resolvconf.check_server(server)
        except (ValueError, BadName) as error:
            raise InvalidRequest("option forward", str(error)) from error
    return NetworkRequest(
        name=body.name,
        driver=body.driver,
        internal=body.internal,
        ipv4=body.ipv4,
        ipv6=body.ipv6,
        subnets=tuple(body.subnets),
        ip_ranges=tuple(body.ip_ranges),
        gateways=tuple(body.gateways),
        auxiliary=tuple(body.auxiliary.items()),
        options=tuple(body.options.items()),
        labels=tuple(body.labels.items()),
        routes=tuple(body.routes),
        ipam_driver=body.ipam_driver or "default",
        ipam_options=tuple(body.ipam_options.items()),
        owner=owner,
        predefined=predefined,
    )


def is_meant(network: Network, body: PruneBody) -> bool:
    """Return whether a prune may remove *network*."""
    if not network.has_names:
        return False
    labels = dict(network.labels)

    def has(text: str) -> bool:
        key, equals, value = text.partition("=")
        return key in labels and (not equals or labels[key] == value)

    in_time = body.until is None or network.created < body.until
    return in_time and all(map(has, body.labels)) and not any(map(has, body.other_labels))


def endpoint_request(body: EndpointSettings, network: str) -> EndpointRequest:
    ipv4 = parse_endpoint_address(body.ip, 4) if body.ip else None
    ipv6 = parse_endpoint_address(body.ip6, 6) if body.ip6 else None
    return EndpointRequest(
        network=network,
        aliases=tuple(body.aliases),
        services=tuple(body.services),
        links=tuple((target, alias) for alias, target in body.links.items()),
        ipv4=ipv4 if isinstance(ipv4, IPv4Address) else None,
        ipv6=ipv6 if isinstance(ipv6, IPv6Address) else None,
        link_local=tuple(_address("link-local-ip", text) for text in body.link_local_ips),
        mac=body.mac_address,
        gateway_priority=body.gw_priority,
        ifname=body.ifname,
        routes=tuple(body.routes),
        driver_options=tuple(body.driver_opts.items()),
    )


def sandbox_request(body: SandboxBody, netns: str | None, owner: Owner | None) -> SandboxRequest:
    for field, values, check in (
        ("dns", body.dns, resolvconf.check_server),
        ("dns-search", body.dns_search, resolvconf.check_search),
    ):
        for value in values:
            try:
                check(value)
            except ValueError as error:
                raise InvalidRequest(field, str(error)) from error
    return SandboxRequest(
        name=body.name,
        netns=netns,
        owner=owner,
        hostname=body.hostname,
        domainname=body.domainname,
        networks=tuple(endpoint_request(item, item.network) for item in body.networks),
        dns=DnsSettings(
            servers=tuple(body.dns),
            search=tuple(item.strip() for item in body.dns_search),
            options=tuple(body.dns_options),
        ),
        extra_hosts=tuple(body.extra_hosts),
        publish=tuple(body.publish),
        expose=tuple(body.expose),
        publish_all=body.publish_all,
        forwards=body.forward,
        sysctls=tuple(body.sysctls),
        labels=tuple(body.labels.items()),
    )


def _address(field: str, text: str) -> IPAddress:
    return parse_addresses(field, (text,))[0]


def network_view(
    network: Network,
    members: list[tuple[Sandbox, Endpoint]],
    usage: Mapping[IPNetwork, int],
    warnings: tuple[str, ...] = (),
    remote: Iterable[tuple[str, EndpointRecord]] = (),
) -> NetworkView:
    """Return what is told of *network*; *remote*: (node, endpoint) of other hosts."""
    attached = drivers.of(network).host_link(network)
    return NetworkView(
        id=network.id,
        name=network.name,
        driver=network.driver,
        scope=drivers.of(network).scope(network),
        internal=network.internal,
        ipv4=network.ipv4,
        ipv6=network.ipv6,
        link=attached.name if attached is not None else "",
        mtu=network.common.mtu,
        ipam_driver=network.ipam.plugin if network.ipam is not None else "default",
        pools=[
            PoolView(
                subnet=str(pool.subnet),
                ip_range=str(pool.ip_range) if pool.ip_range else None,
                gateway=str(pool.gateway) if pool.gateway else None,
                auxiliary={name: str(address) for name, address in pool.auxiliary},
                in_use=usage.get(pool.subnet, 0),
            )
            for pool in network.pools
        ],
        options=dict(network.options),
        labels=dict(network.labels),
        routes=_route_texts(network.routes),
        members=[_member(sandbox, endpoint) for sandbox, endpoint in members] + [_remote_member(*item) for item in remote],
        created=network.created,
        warnings=list(warnings),
    )


def _member(sandbox: Sandbox, endpoint: Endpoint) -> MemberView:
    addresses = [str(item) for item in endpoint.addresses()]
    return MemberView(sandbox=sandbox.name, sandbox_id=sandbox.id, addresses=addresses, mac=endpoint.mac)


def _remote_member(node: str, item: EndpointRecord) -> MemberView:
    return MemberView(sandbox=item.sandbox, sandbox_id="", addresses=list(item.addresses), mac=item.mac, node=node)


def sandbox_view(
    sandbox: Sandbox,
    endpoints: tuple[Endpoint, ...],
    networks: Mapping[NetworkId, Network],
    directory: Path,
    target: Sandbox | None,
    proxies: Mapping[str, Mapping[str, str]],
    warnings: tuple[str, ...] = (),
    told: Mapping[str, dict[str, Any]] | None = None,
) -> SandboxView:
    """Return what is told of *sandbox*; *target*: the one whose stack it shares; *proxies*: see `proxies.environment`.

    *told*: network id → what a plugin tells of the endpoint.
    """
    chosen = gateway.gateway_endpoints(endpoints, networks)
    views = [
        EndpointView(
            network=networks[item.network_id].name,
            network_id=item.network_id,
            ifname=item.ifname,
            host_ifname=item.host_ifname,
            mac=item.mac,
            addresses=[str(interface) for interface in (item.ipv4, item.ipv6) if interface is not None],
            link_local=[str(interface) for interface in item.link_local],
            names=list(names_of(sandbox, item, networks[item.network_id])),
            gateway_priority=item.gateway_priority,
            gateway=item in chosen,
            routes=_route_texts(item.routes),
            ports=[_port_view(mapping) for mapping in item.ports],
            told_by_plugin=(told or {}).get(item.network_id, {}),
        )
        for item in endpoints
    ]
    return SandboxView(
        id=sandbox.id,
        name=sandbox.name,
        hostname=sandbox.hostname,
        domainname=sandbox.domainname,
        netns=sandbox.netns_path,
        directory=str(directory),
        files=str(directory if target is None else directory.with_name(target.id)),
        forward=sandbox.forwards,
        stack=sandbox.stack.value,
        shared_with=target.name if target is not None else "",
        ended=sandbox.ended,
        environment=environment(proxies, [networks[item.network_id].name for item in gateway.ordered(endpoints, networks)]),
        pid=sandbox.owner.pid if sandbox.owner else None,
        origin=sandbox.origin,
        labels=dict(sandbox.labels),
        networks=[item.network for item in views],
        addresses=[str(address) for item in endpoints for address in item.addresses()],
        names=list(dict.fromkeys(name for item in views for name in item.names)),
        endpoints=views,
        created=sandbox.created,
        warnings=list(warnings),
    )


def _route_texts(routes: Iterable[StaticRoute]) -> list[str]:
    return [f"{item.destination}={item.via or ''}" for item in routes]


def _port_view(mapping: PortMapping) -> PortView:
    unspecific = "0.0.0.0" if mapping.family == 4 else "::"
    return PortView(
        protocol=mapping.protocol,
        host_address=str(mapping.host_address) if mapping.host_address else unspecific,
        host_port=mapping.host_port,
        sandbox_port=mapping.sandbox_port,
    )
