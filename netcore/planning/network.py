"""Which network a request means, given what exists on the host. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from netcore import ipam, limits, names, options, routes
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import (
    BridgeOptions,
    DriverOptions,
    GatewayMode,
    IPAddress,
    IPNetwork,
    Makes,
    Network,
    NetworkRequest,
    ParentOptions,
    Pool,
)

PREDEFINED = ("bridge", "host", "none")
DEFAULT_BRIDGE_LINK = "berth0"
DRIVERS = ("bridge", "macvlan", "ipvlan")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """A link of the host. *master*: kind of the link that it is a port of, "" if of none."""

    kind: str
    mtu: int
    mac: str = ""
    master: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a new network must fit in: pools to take from, what is taken, MTU, links of the host that are not ours."""

    pools4: Sequence[tuple[IPNetwork, int]]
    pools6: Sequence[tuple[IPNetwork, int]]
    reserved: Sequence[IPNetwork]
    egress_mtu: int
    links: Mapping[str, HostLink]
    ipv6: bool
    now: float


def plan_network(request: NetworkRequest, existing: Collection[Network], around: Surroundings, network_id: str) -> Network:
    """Return the network that *request* means; InvalidRequest with everything that is wrong, Conflict, Exhausted."""
    name = names.check_object_name("network", request.name)
    if name in PREDEFINED and not request.predefined:
        raise Conflict("network", name, "operation is not permitted on predefined network names; choose another")
    if any(item.name == name for item in existing):
        raise Conflict("network", name, f"network with name {name} already exists")
    if request.driver in ("host", "none", "null"):
        raise InvalidRequest(
            "driver", f"only one instance of {request.driver!r} network is allowed: `berth run --network {request.driver}`"
        )
    if request.driver not in DRIVERS:
        raise InvalidRequest("driver", f"{request.driver!r} is not one of {', '.join(DRIVERS)}")
    if len(existing) >= limits.NETWORKS:
        raise Exhausted("host", "networks", f"at most {limits.NETWORKS} networks")
    labels = options.of_network(request.driver, dict(request.options))
    ipv4, ipv6 = options.family_flags(labels, ipv4=request.ipv4, ipv6=request.ipv6)
    if ipv6 and not around.ipv6:
        raise InvalidRequest("ipv6", "this host's kernel has IPv6 switched off; leave out --ipv6 or boot without ipv6.disable=1")
    driver, mtu = _driver_options(request, labels, existing, around, network_id)
    if isinstance(driver, BridgeOptions) and not ipv4 and not ipv6:
        raise InvalidRequest("network", "IPv4 or IPv6 must be enabled; leave out --ipv4=false or add --ipv6")
    # What leads nowhere is internal (MV-3).
    internal = request.internal or (isinstance(driver, ParentOptions) and driver.makes is Makes.DUMMY)
    pools = _plan_pools(request, _Wanted(driver, internal, {4: ipv4, 6: ipv6}), existing, around)
    return Network(
        id=network_id,
        name=name,
        driver=request.driver,
        common=options.parse_common(labels, mtu=mtu),
        driver_options=driver,
        internal=internal,
        ipv4=ipv4,
        ipv6=ipv6,
        pools=pools,
        options=request.options,
        labels=request.labels,
        routes=routes.parse(request.routes, pools),
        owner=request.owner,
        created=around.now,
    )


def _driver_options(
    request: NetworkRequest, labels: Mapping[str, str], existing: Collection[Network], around: Surroundings, network_id: str
) -> tuple[DriverOptions, int]:
    """Return the driver's options and the MTU that links have unless `--opt mtu` says another."""
    if request.driver == "bridge":
        bridge = options.parse_bridge(network_id, labels, name=DEFAULT_BRIDGE_LINK if request.predefined else "")
        return _check_bridge(bridge, existing, around, internal=request.internal), around.egress_mtu
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


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What decides about the pools of a network. *families*: 4 and 6 → on or off."""

    driver: DriverOptions
    internal: bool
    families: Mapping[int, bool]


@dataclass(slots=True)
class _Draft:
    """One pool in the making. *size*: any subnet with this prefix length (IP-5)."""

    family: int
    subnet: IPNetwork | None = None
    size: int | None = None
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: tuple[tuple[str, IPAddress], ...] = ()


def _plan_pools(request: NetworkRequest, wanted: _Wanted, existing: Collection[Network], around: Surroundings) -> tuple[Pool, ...]:
    drafts = _drafts(request, wanted)
    for text in request.ip_ranges:
        ip_range = ipam.parse_subnet("ip-range", text)
        draft = _home(drafts, "ip-range", ip_range, ip_range[0])
        if draft.ip_range is not None:
            raise InvalidRequest("ip-range", f"{text}: subnet {draft.subnet} has {draft.ip_range} already")
        draft.ip_range = ip_range
    for address in options.parse_addresses("gateway", request.gateways):
        draft = _home(drafts, "gateway", address, address)
        if draft.gateway is not None:
            raise InvalidRequest("gateway", f"{address}: subnet {draft.subnet} has {draft.gateway} already")
        draft.gateway = address
    for name, text in request.auxiliary:
        address = options.parse_addresses("aux-address", (text,))[0]
        draft = _home(drafts, "aux-address", f"{name}={address}", address)
        draft.auxiliary = (*draft.auxiliary, (name, address))
    made: list[Pool] = []
    for draft in sorted(drafts, key=lambda item: item.family):
        made.append(_plan_pool(draft, wanted, existing, made, around))
    return tuple(made)


def _drafts(request: NetworkRequest, wanted: _Wanted) -> list[_Draft]:
    drafts: list[_Draft] = []
    for text in request.subnets:
        subnet = ipam.parse_subnet("subnet", text)
        family: int = subnet.version
        if not wanted.families[family]:
            switch = "leave out --ipv4=false" if family == 4 else "add --ipv6"
            raise InvalidRequest("subnet", f"{text} needs IPv{family}, which is off for this network; {switch}")
        if isinstance(wanted.driver, BridgeOptions) and any(item.family == family for item in drafts):
            raise InvalidRequest("subnet", f"{text}: bridge driver doesn't support multiple subnets of one family")
        # IP-5: 0.0.0.0/N is "any pool of that size".
        if subnet.network_address.is_unspecified:
            drafts.append(_Draft(family, size=subnet.prefixlen))
        else:
            drafts.append(_Draft(family, subnet))
    drafts += [_Draft(family) for family, on in wanted.families.items() if on and not any(item.family == family for item in drafts)]
    return drafts


def _home(drafts: Sequence[_Draft], field: str, shown: object, address: IPAddress) -> _Draft:
    """Return the draft that something with *address* belongs to: the only subnet of its family, or the one that contains it."""
    family = [item for item in drafts if item.subnet is not None and item.family == address.version]
    if not family:
        raise InvalidRequest(field, f"{shown} needs a --subnet of its family that contains it")
    found = family if len(family) == 1 else [item for item in family if item.subnet is not None and address in item.subnet]
    if not found:
        raise InvalidRequest(field, f"no matching subnet for {field} {shown}; there are {', '.join(str(item.subnet) for item in family)}")
    return found[0]


def _plan_pool(draft: _Draft, wanted: _Wanted, existing: Collection[Network], made: Sequence[Pool], around: Surroundings) -> Pool:
    subnet, family = draft.subnet, draft.family
    if subnet is None:
        taken = [pool.subnet for network in existing for pool in network.pools] + [pool.subnet for pool in made]
        pools = around.pools4 if family == 4 else around.pools6
        subnet = ipam.choose_subnet(pools, [*taken, *around.reserved], prefix_length=draft.size)
    else:
        _check_overlap(subnet, draft, wanted, existing, made)
        problems = ipam.validate_pool(subnet, draft.ip_range, draft.gateway, draft.auxiliary)
        if problems:
            raise InvalidRequest("network config", "; ".join(problems))
    return Pool(
        subnet=subnet, ip_range=draft.ip_range, gateway=draft.gateway or _own_gateway(subnet, draft, wanted), auxiliary=draft.auxiliary
    )


def _check_overlap(subnet: IPNetwork, draft: _Draft, wanted: _Wanted, existing: Collection[Network], made: Sequence[Pool]) -> None:
    """Raise Conflict if *subnet* overlaps one that is taken; on parents one may be shared out by ranges (MV-5, IP-7)."""
    others = [(network, pool) for network in existing for pool in network.pools]
    for pool in [*made, *(pool for _, pool in others)]:
        if pool.subnet.version != subnet.version or not pool.subnet.overlaps(subnet):
            continue
        owner = next((network for network, item in others if item is pool), None)
        on_parents = isinstance(wanted.driver, ParentOptions) and owner is not None and isinstance(owner.driver_options, ParentOptions)
        if on_parents and pool.subnet == subnet and pool.ip_range != draft.ip_range:
            continue
        reason = f"invalid pool request: Pool overlaps with other one on this address space ({pool.subnet})"
        raise Conflict("subnet", str(subnet), reason)


def _own_gateway(subnet: IPNetwork, draft: _Draft, wanted: _Wanted) -> IPAddress | None:
    """Return the gateway of a pool that none was given for; None where none is needed (IP-16)."""
    match wanted.driver:
        case ParentOptions():
            return None
        case BridgeOptions() as bridge:
            mode = bridge.gateway_mode_ipv4 if draft.family == 4 else bridge.gateway_mode_ipv6
            none_needed = mode is GatewayMode.ISOLATED or (wanted.internal and draft.family == 4 and bridge.inhibit_ipv4)
            if none_needed or (subnet.prefixlen >= subnet.max_prefixlen - 1 and wanted.internal):
                return None
            return ipam.default_gateway(subnet, draft.ip_range, draft.auxiliary)
        case other:
            assert_never(other)
