"""Which network a request means, given what exists on the host. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netcore import drivers, limits
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import (
    DEFAULT_BRIDGE,
    GATEWAY_BRIDGE,
    BridgeOptions,
    DriverOptions,
    GatewayMode,
    IPNetwork,
    Makes,
    Network,
    NetworkId,
    NetworkRequest,
    ParentOptions,
    PluginIpam,
    PluginOptions,
    Pool,
    VxlanOptions,
)
from netcore.parse import names, options
from netcore.plan import host_routes, pools, routes
from netcore.plan.host_routes import HostRoutes

PREDEFINED = (DEFAULT_BRIDGE, "host", "none", GATEWAY_BRIDGE)
_LINKS = {DEFAULT_BRIDGE: "berth0", GATEWAY_BRIDGE: "berth_gw"}
DRIVERS = ("bridge", "macvlan", "ipvlan", "overlay")
_ESP_OVERHEAD = 40
"""Octets of ESP header, IV, padding and integrity value, at most (RFC 4303, RFC 4106)."""
PLUGIN_PREFIX = "plugin:"
_SINGLE = ("host", "none", "null")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """A link of the host. *master*: kind of the link that it is a port of, "" if of none."""

    kind: str
    mtu: int
    mac: str = ""
    master: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a new network must fit in: pools to take from, what is taken, MTU, links of the host that are not ours.

    *routes*: what the host's own links and routes forbid.
    *tunnel_overhead*: octets of the outer IP, UDP and VXLAN headers and of the inner Ethernet header (RFC 7348 section 5).
    """

    pools4: Sequence[tuple[IPNetwork, int]]
    pools6: Sequence[tuple[IPNetwork, int]]
    reserved: Sequence[IPNetwork]
    egress_mtu: int
    links: Mapping[str, HostLink]
    ipv6: bool
    now: float
    tunnel_overhead: int = 50
    routes: HostRoutes = field(default_factory=HostRoutes)


def plugin_of(driver: str) -> str:
    """Return the name of the plugin that the driver called *driver* is, "" for one of ours."""
    return "" if driver in DRIVERS or driver in _SINGLE else driver.removeprefix(PLUGIN_PREFIX)


def prepare(
    request: NetworkRequest, existing: Collection[Network], around: Surroundings, network_id: NetworkId, plugin: PluginOptions | None = None
) -> Plan:
    """Return what *request* means but for its pools; InvalidRequest with what is wrong, Conflict, Exhausted.

    *plugin*: what its driver said of itself, if that is one.
    """
    name = names.check_object_name("network", request.name)
    if name in PREDEFINED and not request.predefined:
        raise Conflict("network", name, "operation is not permitted on predefined network names; choose another")
    if any(item.name == name for item in existing):
        raise Conflict("network", name, f"network with name {name} already exists")
    if request.driver in _SINGLE:
        reason = f"only one instance of {request.driver!r} network is allowed: `berth run --network {request.driver}`"
        raise InvalidRequest("driver", reason)
    if request.driver not in DRIVERS and plugin is None:
        raise InvalidRequest("driver", f"{request.driver!r} is not one of {', '.join(DRIVERS)}")
    if len(existing) >= limits.NETWORKS:
        raise Exhausted("host", "networks", f"at most {limits.NETWORKS} networks")
    labels = options.of_network(request.driver if plugin is None else "", dict(request.options))
    ipv4, ipv6 = options.family_flags(labels, ipv4=request.ipv4, ipv6=request.ipv6)
    if ipv6 and not around.ipv6:
        raise InvalidRequest("ipv6", "this host's kernel has IPv6 switched off; leave out --ipv6 or boot without ipv6.disable=1")
    driver, mtu = _driver_options(request, labels, existing, around, network_id, plugin)
    if isinstance(driver, BridgeOptions) and not ipv4 and not ipv6:
        raise InvalidRequest("network", "IPv4 or IPv6 must be enabled; leave out --ipv4=false or add --ipv6")
    # What leads nowhere is internal (MV-3).
    internal = request.internal or (isinstance(driver, ParentOptions) and driver.makes is Makes.DUMMY)
    network = Network(
        id=network_id,
        name=name,
        driver=plugin.plugin if plugin is not None else request.driver,
        common=options.parse_common(labels, mtu=mtu),
        driver_options=driver,
        internal=internal,
        ipv4=ipv4,
        ipv6=ipv6,
        options=request.options,
        labels=request.labels,
        owner=request.owner,
        created=around.now,
    )
    wanted = pools.Wanted(driver, internal, {4: ipv4, 6: ipv6})
    return Plan(network, wanted, pools.drafts(request, wanted), request.routes)


@dataclass(frozen=True, slots=True)
class Plan:
    """A network that lacks its pools, and what was said of those."""

    network: Network
    wanted: pools.Wanted
    drafts: tuple[pools.Draft, ...]
    routes: tuple[str, ...]

    def with_pools(self, made: Sequence[Pool], ipam: PluginIpam | None = None) -> Network:
        """Return the network with *made*; *ipam*: the plugin they are from."""
        return replace(self.network, pools=tuple(made), ipam=ipam, routes=routes.parse(self.routes, made))


def check_subnets(network: Network, routes: HostRoutes) -> tuple[str, ...]:
    """Return warnings about the subnets of *network* beside what the host has; Conflict if the host would lose its own."""
    if not isinstance(network.driver_options, BridgeOptions):
        # What is on a parent belongs to the parent's subnet.
        return ()
    warnings = []
    for interface in drivers.host_addresses(network):
        subnet = interface.network
        if subnet.is_link_local:
            continue
        reason = host_routes.refusal(subnet, routes, (network.bridge.bridge_name,))
        if reason is not None:
            raise Conflict("subnet", str(subnet), reason)
        warning = host_routes.warning(subnet, routes)
        if warning is not None:
            warnings.append(warning)
    return tuple(warnings)


def plan_network(request: NetworkRequest, existing: Collection[Network], around: Surroundings, network_id: NetworkId) -> Network:
    """Return the network that *request* means, with a driver and addresses of ours; see `prepare`."""
    plan = prepare(request, existing, around, network_id)
    return plan.with_pools(pools.plan_pools(plan.drafts, plan.wanted, existing, around))


def _driver_options(
    request: NetworkRequest,
    labels: Mapping[str, str],
    existing: Collection[Network],
    around: Surroundings,
    network_id: NetworkId,
    plugin: PluginOptions | None,
) -> tuple[DriverOptions, int]:
    """Return the driver's options and the MTU that links have unless `--opt mtu` says another."""
    if plugin is not None:
        return plugin, around.egress_mtu
    if request.driver in ("bridge", "overlay"):
        bridge = options.parse_bridge(network_id, labels, name=_LINKS.get(request.name, ""))
        bridge = _check_bridge(bridge, existing, around, internal=request.internal)
        if request.driver == "bridge":
            return bridge, around.egress_mtu
        vnis = {item.bridge.vxlan.vni for item in existing if item.is_overlay and item.bridge.vxlan is not None}
        vxlan = options.parse_vxlan(labels, vnis)
        _check_port(vxlan, existing)
        overhead = around.tunnel_overhead + (_ESP_OVERHEAD if vxlan.encrypted else 0)
        return replace(bridge, vxlan=vxlan), around.egress_mtu - overhead
    parent = _find_parent(options.parse_parent(request.driver, network_id, labels), existing, around)
    _check_sharing(request.driver, parent, existing)
    below = around.links.get(parent.base or parent.parent)
    return parent, below.mtu if below is not None else around.egress_mtu


def _check_bridge(parsed: BridgeOptions, existing: Collection[Network], around: Surroundings, *, internal: bool) -> BridgeOptions:
    for mode, family in ((parsed.gateway_mode_ipv4, 4), (parsed.gateway_mode_ipv6, 6)):
        if mode is GatewayMode.ISOLATED and not internal:
            raise InvalidRequest(
                f"option gateway_mode_ipv{family}",
                "gateway mode 'isolated' can only be used for an internal network; add --internal",
            )
    name = parsed.bridge_name
    for item in existing:
        if isinstance(item.driver_options, BridgeOptions) and item.driver_options.bridge_name == name:
            raise Conflict("bridge", name, f"is in use by network {item.name}; choose another name with --opt name=")
    link = around.links.get(name)
    if link is None:
        return parsed
    if link.kind != "bridge":
        raise Conflict("link", name, f"existing interface {name} is not a bridge")
    return replace(parsed, reuse_bridge=True)


def _check_port(vxlan: VxlanOptions, existing: Collection[Network]) -> None:
    """Raise Conflict if the port is that of networks which are encrypted where this one is not, or the other way round."""
    for item in existing:
        other = item.bridge.vxlan if item.is_overlay else None
        if other is not None and other.port == vxlan.port and other.encrypted != vxlan.encrypted:
            words = "encrypted" if other.encrypted else "not encrypted"
            raise Conflict("vxlan_port", str(vxlan.port), f"is the port of network {item.name}, which is {words}; choose another")


def _find_parent(parsed: ParentOptions, existing: Collection[Network], around: Surroundings) -> ParentOptions:
    """Return *parsed* with what must be made so that its parent exists (MV-2)."""
    if parsed.makes is Makes.DUMMY:
        return parsed
    sharing = [item.driver_options for item in existing if isinstance(item.driver_options, ParentOptions)]
    made = next((item for item in sharing if item.parent == parsed.parent), None)
    if made is not None and made.makes is Makes.VLAN:
        return replace(parsed, makes=Makes.VLAN, base=made.base, vid=made.vid)
    link = around.links.get(parsed.parent)
    if link is None:
        base, vid = options.vlan_of(parsed.parent)
        if base not in around.links:
            raise InvalidRequest("option parent", f"the host has neither a link {parsed.parent} nor {base}")
        return replace(parsed, makes=Makes.VLAN, base=base, vid=vid)
    if link.master:
        raise Conflict("link", parsed.parent, f"is a port of a {link.master}, which takes all its packets; name that one as parent")
    return parsed


def _check_sharing(driver: str, parsed: ParentOptions, existing: Collection[Network]) -> None:
    """Raise Conflict if *parsed* can't have its parent together with the networks that have it (MV-4, IV-1)."""
    for item in existing:
        other = item.driver_options
        if not isinstance(other, ParentOptions) or other.parent != parsed.parent:
            continue
        if item.driver != driver:
            reason = f"is the parent of {item.driver} network {item.name}; macvlan and ipvlan can't share one"
        elif "passthru" in (parsed.mode, other.mode):
            reason = f"is the parent of network {item.name} too; passthru needs it for itself"
        elif driver == "ipvlan" and (other.mode, other.flag) != (parsed.mode, parsed.flag):
            # The kernel keeps both for the parent: the new network would change the old one.
            reason = f"is the parent of network {item.name} with mode {other.mode} and flag {other.flag}; all on one parent have the same"
        else:
            continue
        raise Conflict("link", parsed.parent, reason)
