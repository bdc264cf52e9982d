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
from netcore.parse.problems import Problems
from netcore.plan import egress, pools, routes
from netcore.plan.known_networks import KnownNetworks

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
    problems = Problems()
    for interface in drivers.of(network).host_addresses(network):
        subnet = interface.network
        if subnet.is_link_local:
            continue
        reason = host_routes.refusal(subnet, routes, (link.name,))
        with problems.noted():
            if reason is not None:
                raise Conflict("subnet", str(subnet), reason)
        warning = host_routes.warning(subnet, routes)
        if warning is not None:
            warnings.append(warning)
    problems.refuse()
    return tuple(warnings)


def plugin_of(driver: str) -> str | None:
    """Return the name of the plugin that the driver called *driver* is, None for one of ours."""
    return None if drivers.named(driver) is not None or driver in _MODES else driver.removeprefix(PLUGIN_PREFIX)


def prepare(
    request: NetworkRequest,
    existing: KnownNetworks,
    host: HostConstraints,
    network_id: NetworkId,
    plugin: PluginOptions | InvalidRequest | None = None,
) -> NetworkDraft:
    """Return what *request* means but for its pools; one InvalidRequest or Conflict for everything that is wrong, or Exhausted.

    *plugin*: what its driver said of itself, if that is one, or why there is none.
    """
    if len(existing) >= limits.NETWORKS:
        raise Exhausted("host", "networks", because=f"at most {limits.NETWORKS}; remove one")
    problems = Problems()
    for field, reason in request.problems:
        with problems.noted():
            raise InvalidRequest(field, reason)
    with problems.noted():
        _check_name(request, existing)
    driver: Driver | None = None
    with problems.noted():
        driver = _driver(request, plugin)
    labels = _labels(request, driver, problems)
    ipv4, ipv6 = options.family_flags(labels, ipv4=request.ipv4, ipv6=request.ipv6)
    with problems.noted():
        if ipv6 and not host.ipv6:
            raise InvalidRequest("ipv6", "this host's kernel has IPv6 switched off; leave out --ipv6 or boot without ipv6.disable=1")
    network: Network | None = None
    with problems.noted():
        new = NewNetwork(id=network_id, name=request.name, labels=labels, internal=request.internal, ipv4=ipv4, ipv6=ipv6)
        network = _configured(request, new, driver, existing, host) if driver is not None else None
    with problems.noted():
        if request.egress is not None and network is not None:
            network = replace(network, egress=egress.checked(request.egress, host.egress))
            unfit = egress.why_not_on(network)
            if network.is_overlay:
                # A host with an earlier berth would not keep them.
                unfit = "is an overlay, whose rules other hosts may not know; give them to sandboxes, or as the default of each host"
            if unfit is not None:
                raise InvalidRequest("egress", f"rules can't be kept on network {network.name}: it {unfit}")
    asked = pools.ask(request, driver, ipv4=ipv4, ipv6=ipv6, problems=problems)
    _check_against_host(request, driver, network, asked, existing, host, problems)
    problems.refuse()
    assert network is not None
    return NetworkDraft(network, asked, request.routes)


def _check_name(request: NetworkRequest, existing: KnownNetworks) -> None:
    name = names.check_object_name("network", request.name)
    if name in PREDEFINED and not request.predefined:
        raise Conflict("network", name, because="operation is not permitted on predefined network names; choose another")
    if existing.named(name) is not None:
        raise Conflict("network", name, "already exists; choose another name")


def _labels(request: NetworkRequest, driver: Driver | None, problems: Problems) -> dict[str, str]:
    """Return the options of *request* that are right, by label; without a *driver* those of every driver."""
    known = (*options.COMMON, *(driver.options if driver is not None else ()))
    spellings = {spelling for option in options.COMMON for spelling in (option.name, option.label, *option.synonyms)}
    labels: dict[str, str] = {}
    for key, value in request.options:
        with problems.noted():
            if driver is not None:
                read = driver.read_options({key: value})
            elif key in spellings:
                read = options.canonical_options({key: value}, options.COMMON, field="option", owner="no driver")
            else:
                continue
            twice = labels.keys() & read.keys()
            if twice:
                raise InvalidRequest(f"option {key}", f"given twice, also as {min(twice)}")
            labels |= read
    for option in known:
        if option.label not in labels:
            continue
        wrong = len(problems)
        with problems.noted():
            option.of(labels)
        if len(problems) > wrong:
            del labels[option.label]
    return labels


def _configured(request: NetworkRequest, new: NewNetwork, driver: Driver, existing: KnownNetworks, host: HostConstraints) -> Network:
    configured = driver.configure(new, existing, host)
    return Network(
        id=new.id,
        name=new.name,
        driver=driver.name,
        common=options.parse_common(new.labels, mtu=configured.mtu),
        driver_options=configured.options,
        internal=configured.internal,
        ipv4=new.ipv4,
        ipv6=new.ipv6,
        options=request.options,
        labels=request.labels,
        owner=request.owner,
        created=host.now,
    )


def _check_against_host(
    request: NetworkRequest,
    driver: Driver | None,
    network: Network | None,
    asked: Sequence[pools.PoolRequest],
    existing: KnownNetworks,
    host: HostConstraints,
    problems: Problems,
) -> None:
    """Note what is wrong with the subnets that were asked for and the routes beside them.

    Subnets that berth or a plugin is still to choose are right by themselves.
    """
    exact = [pool for pool in (wish.exact_pool() for wish in asked) if pool is not None]
    is_own = request.ipam_driver == "default"
    with problems.noted():
        if is_own and request.ipam_options:
            raise InvalidRequest("ipam-opt", "the default IPAM driver has no options")
    for number, pool in enumerate(exact if is_own and driver is not None else ()):
        assert driver is not None
        with problems.noted():
            pools.check_overlap(pool.subnet, pool.ip_range, driver, existing, exact[:number])
    if network is not None and is_own:
        made = pools.with_gateways(exact, network)
        with problems.noted():
            check_subnets(replace(network, pools=made), host.routes)
    is_known = len(exact) == len(asked) and len(exact) >= len(request.subnets)
    routes.read(request.routes, [pool.subnet for pool in exact] if is_known else None, problems)


def _driver(request: NetworkRequest, plugin: PluginOptions | InvalidRequest | None) -> Driver:
    if isinstance(plugin, InvalidRequest):
        raise plugin
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
    known = KnownNetworks(existing)
    draft = prepare(request, known, host, network_id)
    return draft.with_pools(pools.plan_pools(draft.pool_requests, draft.network, known, host))
