"""Which address pools a new network has. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from netcore.errors import Conflict, InvalidRequest
from netcore.model import (
    BridgeOptions,
    DriverOptions,
    GatewayMode,
    IPAddress,
    IPNetwork,
    Network,
    NetworkRequest,
    ParentOptions,
    PluginOptions,
    Pool,
)
from netcore.parse import options
from netcore.plan import ipam
from netcore.plan.host_routes import HostRoutes


class Around(Protocol):
    """Pools to take from, and what they must not overlap."""

    @property
    def pools4(self) -> Sequence[tuple[IPNetwork, int]]: ...
    @property
    def pools6(self) -> Sequence[tuple[IPNetwork, int]]: ...
    @property
    def reserved(self) -> Sequence[IPNetwork]: ...
    @property
    def routes(self) -> HostRoutes: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What decides about the pools of a network. *families*: 4 and 6 → on or off."""

    driver: DriverOptions
    internal: bool
    families: Mapping[int, bool]


@dataclass(slots=True)
class Draft:
    """One pool in the making. *size*: any subnet with this prefix length (IP-5)."""

    family: int
    subnet: IPNetwork | None = None
    size: int | None = None
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: tuple[tuple[str, IPAddress], ...] = ()

    def wish(self) -> Pool | None:
        """Return the pool that was asked for; None for any."""
        if self.subnet is None:
            return None
        return Pool(subnet=self.subnet, ip_range=self.ip_range, gateway=self.gateway, auxiliary=self.auxiliary)


def drafts(request: NetworkRequest, wanted: Wanted) -> tuple[Draft, ...]:
    """Return what *request* says of each pool of its network, IPv4 first; InvalidRequest for what belongs to none."""
    made = _subnets(request, wanted)
    for text in request.ip_ranges:
        ip_range = ipam.parse_subnet("ip-range", text)
        draft = _home(made, "ip-range", ip_range, ip_range[0])
        if draft.ip_range is not None:
            raise InvalidRequest("ip-range", f"{text}: subnet {draft.subnet} has {draft.ip_range} already")
        draft.ip_range = ip_range
    for address in options.parse_addresses("gateway", request.gateways):
        draft = _home(made, "gateway", address, address)
        if draft.gateway is not None:
            raise InvalidRequest("gateway", f"{address}: subnet {draft.subnet} has {draft.gateway} already")
        draft.gateway = address
    for name, text in request.auxiliary:
        address = options.parse_addresses("aux-address", (text,))[0]
        draft = _home(made, "aux-address", f"{name}={address}", address)
        draft.auxiliary = (*draft.auxiliary, (name, address))
    for draft in made:
        problems = ipam.validate_pool(draft.subnet, draft.ip_range, draft.gateway, draft.auxiliary) if draft.subnet is not None else []
        if problems:
            raise InvalidRequest("network config", "; ".join(problems))
    return tuple(sorted(made, key=lambda item: item.family))


def plan_pools(wishes: Sequence[Draft], wanted: Wanted, existing: Collection[Network], around: Around) -> tuple[Pool, ...]:
    """Return the pools that *wishes* mean, where berth hands out the addresses; Conflict, Exhausted."""
    made: list[Pool] = []
    for draft in wishes:
        made.append(_plan_pool(draft, wanted, existing, made, around))
    return tuple(made)


def _subnets(request: NetworkRequest, wanted: Wanted) -> list[Draft]:
    made: list[Draft] = []
    for text in request.subnets:
        subnet = ipam.parse_subnet("subnet", text)
        family: int = subnet.version
        if not wanted.families[family]:
            switch = "leave out --ipv4=false" if family == 4 else "add --ipv6"
            raise InvalidRequest("subnet", f"{text} needs IPv{family}, which is off for this network; {switch}")
        if isinstance(wanted.driver, BridgeOptions) and any(item.family == family for item in made):
            raise InvalidRequest("subnet", f"{text}: bridge driver doesn't support multiple subnets of one family")
        # IP-5: 0.0.0.0/N is "any pool of that size".
        if subnet.network_address.is_unspecified:
            made.append(Draft(family, size=subnet.prefixlen))
        else:
            made.append(Draft(family, subnet))
    made += [Draft(family) for family, on in wanted.families.items() if on and not any(item.family == family for item in made)]
    return made


def _home(made: Sequence[Draft], field: str, shown: object, address: IPAddress) -> Draft:
    """Return the draft that something with *address* belongs to: the only subnet of its family, or the one that contains it."""
    family = [item for item in made if item.subnet is not None and item.family == address.version]
    if not family:
        raise InvalidRequest(field, f"{shown} needs a --subnet of its family that contains it")
    found = family if len(family) == 1 else [item for item in family if item.subnet is not None and address in item.subnet]
    if not found:
        raise InvalidRequest(field, f"no matching subnet for {field} {shown}; there are {', '.join(str(item.subnet) for item in family)}")
    return found[0]


def _plan_pool(draft: Draft, wanted: Wanted, existing: Collection[Network], made: Sequence[Pool], around: Around) -> Pool:
    subnet, family = draft.subnet, draft.family
    if subnet is None:
        taken = [pool.subnet for network in existing for pool in network.pools] + [pool.subnet for pool in made]
        pools = around.pools4 if family == 4 else around.pools6
        taken += [*around.reserved, *around.routes.forbidden()]
        subnet = ipam.choose_subnet(pools, taken, prefix_length=draft.size, avoided=around.routes.unwelcome())
    else:
        check_overlap(subnet, draft.ip_range, wanted.driver, existing, made)
    return Pool(
        subnet=subnet, ip_range=draft.ip_range, gateway=draft.gateway or _own_gateway(subnet, draft, wanted), auxiliary=draft.auxiliary
    )


def check_overlap(
    subnet: IPNetwork, ip_range: IPNetwork | None, driver: DriverOptions, existing: Collection[Network], made: Sequence[Pool]
) -> None:
    """Raise Conflict if *subnet* overlaps one that is taken; on parents one may be shared out by ranges (MV-5, IP-7)."""
    others = [(network, pool) for network in existing for pool in network.pools]
    for pool in [*made, *(pool for _, pool in others)]:
        if pool.subnet.version != subnet.version or not pool.subnet.overlaps(subnet):
            continue
        owner = next((network for network, item in others if item is pool), None)
        on_parents = isinstance(driver, ParentOptions) and owner is not None and isinstance(owner.driver_options, ParentOptions)
        if on_parents and pool.subnet == subnet and pool.ip_range != ip_range:
            continue
        reason = f"invalid pool request: Pool overlaps with other one on this address space ({pool.subnet})"
        raise Conflict("subnet", str(subnet), reason)


def _own_gateway(subnet: IPNetwork, draft: Draft, wanted: Wanted) -> IPAddress | None:
    """Return the gateway of a pool that none was given for; None where none is needed (IP-16)."""
    if not wants_gateway(draft.family, wanted) or (subnet.prefixlen >= subnet.max_prefixlen - 1 and wanted.internal):
        return None
    return ipam.default_gateway(subnet, draft.ip_range, draft.auxiliary)


def wants_gateway(family: int, wanted: Wanted) -> bool:
    """Return whether a pool of *family* has a gateway although none was given."""
    match wanted.driver:
        case ParentOptions():
            return False
        case PluginOptions() as plugin:
            return not (plugin.no_gateway4 if family == 4 else plugin.no_gateway6)
        case BridgeOptions() as bridge:
            mode = bridge.gateway_mode_ipv4 if family == 4 else bridge.gateway_mode_ipv6
            return mode is not GatewayMode.ISOLATED and not (wanted.internal and family == 4 and bridge.inhibit_ipv4)
        case other:
            assert_never(other)
