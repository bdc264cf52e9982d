"""Which network a request means, given what exists on the host. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from netcore import drivers, limits
from netcore.drivers import host_routes
from netcore.drivers.facts import HostConstraints
from netcore.drivers.host_routes import HostRoutes
from netcore.drivers.plugin import PluginDriver
from netcore.drivers.protocol import Driver, NewNetwork
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import DEFAULT_BRIDGE, GATEWAY_BRIDGE, Network, NetworkId, NetworkRequest, PluginIpam, PluginOptions, Pool
from netcore.parse import names, options
from netcore.plan import pools, routes

PREDEFINED = (DEFAULT_BRIDGE, "host", "none", GATEWAY_BRIDGE)
PLUGIN_PREFIX = "plugin:"
_MODES = ("host", "none", "null")
"""Docker's drivers of networks that exist once, and that are modes of a sandbox here."""


@dataclass(frozen=True, slots=True)
class NetworkDraft:
    """A network that lacks its pools and routes, and what was asked of those."""

    network: Network
    pool_requests: tuple[pools.PoolRequest, ...]
    routes: tuple[str, ...]

    def with_pools(self, made: Sequence[Pool], ipam: PluginIpam | None = None) -> Network:
        """Return the network with *made*; *ipam*: the plugin they are from."""
        return replace(self.network, pools=tuple(made), ipam=ipam, routes=routes.parse(self.routes, made))


def check_subnets(network: Network, routes: HostRoutes) -> tuple[str, ...]:
    """Return warnings about the subnets of *network* beside what the host has; Conflict if the host would lose its own."""
    link = drivers.of(network).host_link(network)
    if link is None or not link.routed:
        # What is attached to a parent belongs to the parent's subnet.
        return ()
    warnings = []
    for interface in drivers.of(network).host_addresses(network):
        subnet = interface.network
        if subnet.is_link_local:
            continue
        reason = host_routes.refusal(subnet, routes, (link.name,))
        if reason is not None:
            raise Conflict("subnet", str(subnet), reason)
        warning = host_routes.warning(subnet, routes)
        if warning is not None:
            warnings.append(warning)
    return tuple(warnings)


def plugin_of(driver: str) -> str | None:
    """Return the name of the plugin that the driver called *driver* is, None for one of ours."""
    return None if drivers.named(driver) is not None or driver in _MODES else driver.removeprefix(PLUGIN_PREFIX)


def prepare(
    request: NetworkRequest,
    existing: Collection[Network],
    host: HostConstraints,
    network_id: NetworkId,
    plugin: PluginOptions | None = None,
) -> NetworkDraft:
    """Return what *request* means but for its pools; InvalidRequest with what is wrong, Conflict, Exhausted.

    *plugin*: what its driver said of itself, if that is one.
    """
    name = names.check_object_name("network", request.name)
    if name in PREDEFINED and not request.predefined:
        raise Conflict("network", name, because="operation is not permitted on predefined network names; choose another")
    if any(network.name == name for network in existing):
        raise Conflict("network", name, "already exists; choose another name")
    driver = _driver(request, plugin)
    if len(existing) >= limits.NETWORKS:
        raise Exhausted("host", "networks", because=f"at most {limits.NETWORKS}; remove one")
    labels = driver.read_options(dict(request.options))
    ipv4, ipv6 = options.family_flags(labels, ipv4=request.ipv4, ipv6=request.ipv6)
    if ipv6 and not host.ipv6:
        raise InvalidRequest("ipv6", "this host's kernel has IPv6 switched off; leave out --ipv6 or boot without ipv6.disable=1")
    new = NewNetwork(id=network_id, name=name, labels=labels, internal=request.internal, ipv4=ipv4, ipv6=ipv6)
    configured = driver.configure(new, existing, host)
    network = Network(
        id=network_id,
        name=name,
        driver=driver.name,
        common=options.parse_common(labels, mtu=configured.mtu),
        driver_options=configured.options,
        internal=configured.internal,
        ipv4=ipv4,
        ipv6=ipv6,
        options=request.options,
        labels=request.labels,
        owner=request.owner,
        created=host.now,
    )
    return NetworkDraft(network, pools.pool_requests(request, network), request.routes)


def _driver(request: NetworkRequest, plugin: PluginOptions | None) -> Driver:
    if plugin is not None:
        return PluginDriver(plugin)
    if request.driver in _MODES:
        reason = f"only one instance of {request.driver!r} network is allowed: `berth run --network {request.driver}`"
        raise InvalidRequest("driver", reason)
    driver = drivers.named(request.driver)
    if driver is None:
        raise InvalidRequest("driver", f"{request.driver!r} is not one of {', '.join(drivers.names())}")
    return driver


def plan_network(request: NetworkRequest, existing: Collection[Network], host: HostConstraints, network_id: NetworkId) -> Network:
    """Return the network that *request* means, with a driver and addresses of ours; see `prepare`."""
    draft = prepare(request, existing, host, network_id)
    return draft.with_pools(pools.plan_pools(draft.pool_requests, draft.network, existing, host))
