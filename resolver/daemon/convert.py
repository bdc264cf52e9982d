"""Between the model and the shapes of the admin API. Pure.

Requests: `*_request` turns a body into what the controller is asked for. Responses: `*_view` turns what exists, gathered in
a `*Details`, into what the API answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from netcore import drivers
from netcore.cluster.state import EndpointRecord, Node
from netcore.dns_settings import DnsSettings
from netcore.egress import read
from netcore.errors import InvalidRequest
from netcore.model import (
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
from netcore.parse.problems import Problem
from netcore.plan import gateway
from netcore.plan.endpoint import parse_endpoint_address
from netcore.plan.endpoint_names import names_of
from netcore.tap import Tap
from resolver import resolvconf
from resolver.daemon import health_shapes, isolation_shapes
from resolver.daemon.following import source_text
from resolver.daemon.proxies import environment
from resolver.daemon.record_shapes import RecordView
from resolver.daemon.run_shapes import run_view
from resolver.daemon.runs import Run
from resolver.daemon.schema import (
    EndpointBody,
    EndpointSettings,
    EndpointView,
    MemberView,
    NetworkBody,
    NetworkView,
    NodeView,
    PoolView,
    PortView,
    ProcessView,
    PruneBody,
    RunView,
    SandboxBody,
    SandboxView,
)
from resolver.daemon.tap_shapes import TapShape
from resolver.errors import BadName
from resolver.wire import name as names
from resolver.wire.name import is_address_form


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDetails:
    """A network with what belongs to it. *addresses_in_use*: how many, by subnet.

    *remote_members*: (node, endpoint) of each endpoint on another host.
    """

    network: Network
    members: tuple[tuple[Sandbox, Endpoint], ...] = ()
    addresses_in_use: Mapping[IPNetwork, int]
    remote_members: tuple[tuple[str, EndpointRecord], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxDetails:
    """A sandbox with what belongs to it. *networks*: at least those of its endpoints. *directory*: with its files.

    *stack_owner*: the sandbox whose network stack it shares, None if it has its own. *run*: of one that stays when its command has
    ended, with its *run_directory*. *pid*: of its command, 0 if none runs. *hides*, *withheld*: see `SandboxView`.
    """

    sandbox: Sandbox
    endpoints: tuple[Endpoint, ...]
    networks: Mapping[NetworkId, Network]
    directory: Path
    stack_owner: Sandbox | None = None
    run: Run | None = None
    run_directory: Path = Path()
    hides: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    pid: int = 0


@dataclass(frozen=True, slots=True)
class NodeDetails:
    """A host of the cluster, with how many endpoints it has on overlay networks."""

    node: Node
    endpoints: int
    is_own: bool


# --- requests -----------------------------------------------------------------------------------------------------


def network_request(
    body: NetworkBody, owner: Owner | None, *, predefined: bool = False, problems: Iterable[Problem] = ()
) -> NetworkRequest:
    """Return what *body* asks for, with what is wrong with the option `forward`, and more *problems*. *predefined*: see the request."""
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
        egress=egress_texts(body.egress),
        problems=(*_wrong_forward(body.options), *problems),
    )


def _wrong_forward(given: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what is wrong with the domains and name servers of the option `forward`. Its form is checked with the other options."""
    try:
        rules = parse_forward(given)
    except InvalidRequest:
        return
    for domain, servers in rules:
        for check, text in ((names.from_text, domain), *((resolvconf.check_server, server) for server in servers)):
            try:
                check(text)
            except (ValueError, BadName) as error:
                yield "option forward", str(error)


def matches_prune_filters(network: Network, filters: PruneBody) -> bool:
    """Return whether a prune with *filters* removes *network* if that has no endpoints. It spares predefined networks."""
    return network.has_names and passes(filters, dict(network.labels), network.created)


def passes(filters: PruneBody, labels: Mapping[str, str], created: float) -> bool:
    """Return whether *filters* mean what has *labels* and was *created* then."""

    def has(text: str) -> bool:
        key, equals, value = text.partition("=")
        return key in labels and (not equals or labels[key] == value)

    is_old_enough = filters.until is None or created < filters.until
    return is_old_enough and all(map(has, filters.labels)) and not any(map(has, filters.other_labels))


def endpoint_request(body: EndpointSettings, network: str) -> EndpointRequest:
    """Return what *body* asks for on the network called *network*; InvalidRequest names an address that is none."""
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
        tap=Tap(owner=body.tap.owner, group=body.tap.group) if isinstance(body, EndpointBody) and body.tap is not None else None,
    )


def sandbox_request(body: SandboxBody, netns: str | None, owner: Owner | None, leader: Owner | None = None) -> SandboxRequest:
    """Return what *body* asks for; InvalidRequest names a wrong nameserver, domain or address. *netns*: path to adopt."""
    for field, values, check in (
        ("dns", body.dns, resolvconf.check_server),
        ("dns-search", body.dns_search, resolvconf.check_search),
    ):
        for value in values:
            try:
                check(value)
            except ValueError as error:
                raise InvalidRequest(field, str(error)) from error
    source = source_text.parse(body.follow) if body.follow else None
    return SandboxRequest(
        name=body.name,
        netns=netns,
        owner=owner,
        leader=leader,
        hostname=body.hostname,
        domainname=body.domainname,
        networks=tuple(endpoint_request(endpoint, endpoint.network) for endpoint in body.networks),
        dns=DnsSettings(
            servers=tuple(body.dns),
            search=tuple(domain.strip() for domain in body.dns_search),
            options=tuple(body.dns_options),
        ),
        extra_hosts=tuple(body.extra_hosts),
        publish=tuple(body.publish),
        expose=tuple(body.expose),
        publish_all=body.publish_all,
        forwards=body.forward,
        replaces_routes=body.gateway,
        sysctls=tuple(body.sysctls),
        egress=egress_texts(body.egress),
        labels=tuple(body.labels.items()),
        health_check=None if body.health_check is None else health_shapes.health_check(body.health_check),
        follows="" if source is None else str(source),
        origin="api" if source is None else source.kind.value,
        persists=body.persist,
        isolation=isolation_shapes.isolation(body.isolation),
    )


def egress_texts(rules: Sequence[str | Mapping[str, Any]] | None) -> tuple[str, ...] | None:
    """Return *rules* as texts: each is one, or an object with its parts (`egress.read.from_json`)."""
    return None if rules is None else tuple(rule if isinstance(rule, str) else str(read.from_json(rule)) for rule in rules)


def _address(field: str, text: str) -> IPAddress:
    return parse_addresses(field, (text,))[0]


# --- responses ----------------------------------------------------------------------------------------------------


def node_view(details: NodeDetails) -> NodeView:
    """Return what is told of a host of the cluster."""
    node = details.node
    return NodeView(node.id, node.name, str(node.vtep), details.endpoints, details.is_own)


def network_view(details: NetworkDetails, records: Iterable[RecordView] = (), warnings: Iterable[str] = ()) -> NetworkView:
    """Return what is told of a network. *records*: its static names."""
    network = details.network
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
                in_use=details.addresses_in_use.get(pool.subnet, 0),
            )
            for pool in network.pools
        ],
        options=dict(network.options),
        labels=dict(network.labels),
        routes=_route_texts(network.routes),
        egress=list(network.egress) if network.egress is not None else None,
        members=[
            *(_member(sandbox, endpoint) for sandbox, endpoint in details.members),
            *(_remote_member(node, record) for node, record in details.remote_members),
        ],
        created=network.created,
        records=list(records),
        warnings=list(warnings),
    )


def _member(sandbox: Sandbox, endpoint: Endpoint) -> MemberView:
    addresses = [str(address) for address in endpoint.addresses()]
    return MemberView(sandbox=sandbox.name, sandbox_id=sandbox.id, addresses=addresses, mac=endpoint.mac)


def _remote_member(node: str, record: EndpointRecord) -> MemberView:
    return MemberView(sandbox=record.sandbox, sandbox_id="", addresses=list(record.addresses), mac=record.mac, node=node)


def sandbox_view(
    details: SandboxDetails,
    proxies: Mapping[str, Mapping[str, str]],
    warnings: Iterable[str] = (),
    told_by_plugins: Mapping[str, dict[str, Any]] | None = None,
) -> SandboxView:
    """Return what is told of a sandbox. *proxies*: see `proxies.environment`.

    *told_by_plugins*: network id → what the network's plugin tells of the endpoint; None: they were not asked.
    """
    sandbox, directory, stack_owner = details.sandbox, details.directory, details.stack_owner
    run = _run_view(details)
    in_gateway_order = gateway.ordered(details.endpoints, details.networks)
    endpoints = _endpoint_views(details, told_by_plugins or {})
    return SandboxView(
        id=sandbox.id,
        name=sandbox.name,
        hostname=sandbox.hostname,
        domainname=sandbox.domainname,
        netns=sandbox.netns_path,
        directory=str(directory if run is None else details.run_directory),
        files=str(directory if stack_owner is None else directory.with_name(stack_owner.id)),
        adopted=sandbox.adopted,
        leader=ProcessView(sandbox.leader.pid, sandbox.leader.start_time) if sandbox.leader is not None else None,
        forward=sandbox.forwards,
        stack=sandbox.stack.value,
        shared_with=stack_owner.name if stack_owner is not None else "",
        ended=sandbox.ended,
        egress=list(sandbox.egress) if sandbox.egress is not None else None,
        environment=environment(proxies, [details.networks[endpoint.network_id].name for endpoint in in_gateway_order]),
        pid=details.pid,
        owner_pid=sandbox.owner.pid if sandbox.owner else None,
        origin=sandbox.origin,
        labels=dict(sandbox.labels),
        networks=[endpoint.network for endpoint in endpoints],
        addresses=[str(address) for endpoint in details.endpoints for address in endpoint.addresses()],
        names=list(dict.fromkeys(name for endpoint in endpoints for name in endpoint.names)),
        endpoints=endpoints,
        created=sandbox.created,
        warnings=list(warnings),
        run=run,
        health=None if sandbox.health is None else sandbox.health.value,
        health_check=health_shapes.view(sandbox.health_check),
        by_name=str(directory.parent.with_name("by-name") / sandbox.name),
        follows=sandbox.follows,
        waits=sandbox.waits,
        persists=sandbox.persists,
        hides=list(details.hides),
        withheld=list(details.withheld),
        isolation=isolation_shapes.view(sandbox.isolation),
    )


def _run_view(details: SandboxDetails) -> RunView | None:
    run = details.run
    if run is None:
        return None
    return run_view(run, details.run_directory, waits=details.sandbox.leader is None and run.exit_code is not None)


def _endpoint_views(details: SandboxDetails, told_by_plugins: Mapping[str, dict[str, Any]]) -> list[EndpointView]:
    ways_out = zip((4, 6), gateway.gateway_endpoints(details.endpoints, details.networks), strict=True)
    gateways = [endpoint for family, endpoint in ways_out if not details.sandbox.keeps_default_route(family)]
    views = []
    for endpoint in details.endpoints:
        network = details.networks[endpoint.network_id]
        views.append(
            EndpointView(
                id=endpoint.id,
                network=network.name,
                network_id=endpoint.network_id,
                ifname=endpoint.ifname,
                host_ifname=endpoint.host_ifname,
                mac=endpoint.mac,
                addresses=[str(interface) for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None],
                link_local=[str(interface) for interface in endpoint.link_local],
                names=[name for name in names_of(details.sandbox, endpoint, network) if not is_address_form(name)],
                gateway_priority=endpoint.gateway_priority,
                gateway=endpoint in gateways,
                gateway_addresses=_gateway_addresses(endpoint, network),
                routes=_route_texts(endpoint.routes),
                ports=[_port_view(mapping) for mapping in endpoint.ports],
                told_by_plugin=told_by_plugins.get(endpoint.network_id, {}),
                tap=TapShape(owner=endpoint.tap.owner, group=endpoint.tap.group) if endpoint.tap is not None else None,
            )
        )
    return views


def _gateway_addresses(endpoint: Endpoint, network: Network) -> list[str]:
    if network.internal:
        return []
    pools = [network.pool_of(address) for address in endpoint.addresses()]
    return [str(pool.gateway) for pool in pools if pool is not None and pool.gateway is not None]


def _route_texts(routes: Iterable[StaticRoute]) -> list[str]:
    return [f"{route.destination}={route.via or ''}" for route in routes]


def _port_view(mapping: PortMapping) -> PortView:
    unspecific = "0.0.0.0" if mapping.family == 4 else "::"
    return PortView(
        protocol=mapping.protocol,
        host_address=str(mapping.host_address) if mapping.host_address else unspecific,
        host_port=mapping.host_port,
        sandbox_port=mapping.sandbox_port,
    )
