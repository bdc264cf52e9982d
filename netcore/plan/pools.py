"""Which address pools a new network has. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from netcore import drivers
from netcore.drivers.facts import HostConstraints
from netcore.drivers.protocol import Driver
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import IPAddress, IPNetwork, Network, NetworkRequest, Pool
from netcore.parse import options
from netcore.parse.problems import Problems, refuse
from netcore.plan import ipam
from netcore.plan.known_networks import KnownNetworks


@dataclass(slots=True)
class PoolRequest:
    """What is asked of one pool. *prefix_length*: any subnet of that size (IP-5)."""

    family: int
    subnet: IPNetwork | None = None
    prefix_length: int | None = None
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: tuple[tuple[str, IPAddress], ...] = ()

    def exact_pool(self) -> Pool | None:
        """Return the pool with exactly the subnet that was asked for; None if any will do."""
        if self.subnet is None:
            return None
        return Pool(subnet=self.subnet, ip_range=self.ip_range, gateway=self.gateway, auxiliary=self.auxiliary)


def pool_requests(request: NetworkRequest, network: Network) -> tuple[PoolRequest, ...]:
    """Return what *request* says of each pool of *network*, IPv4 first; InvalidRequest for what belongs to none."""
    problems = Problems()
    asked = ask(request, drivers.of(network), ipv4=network.ipv4, ipv6=network.ipv6, problems=problems)
    problems.refuse()
    return asked


def ask(request: NetworkRequest, driver: Driver | None, *, ipv4: bool, ipv6: bool, problems: Problems) -> tuple[PoolRequest, ...]:
    """Return what *request* says of each pool of a network of *driver*, IPv4 first. *driver* None: it is not known."""
    on = [family for family, is_on in ((4, ipv4), (6, ipv6)) if is_on]
    asked: list[PoolRequest] = []
    wrong = len(problems)
    for text in request.subnets:
        with problems.noted():
            asked.append(_subnet(text, driver, on, asked))
    # What belongs to a subnet that is wrong has no subnet to be compared with.
    has_wrong_subnet = len(problems) > wrong
    asked += [PoolRequest(family) for family in on if not any(pool.family == family for pool in asked)]
    for text in request.ip_ranges:
        with problems.noted():
            ip_range = ipam.parse_subnet("ip-range", text)
            pool = _pool_of(asked, "ip-range", ip_range, ip_range[0], may_lack=has_wrong_subnet)
            if pool is not None and pool.ip_range is not None:
                raise InvalidRequest("ip-range", f"{text}: subnet {pool.subnet} has {pool.ip_range} already")
            if pool is not None:
                pool.ip_range = ip_range
    for text in request.gateways:
        with problems.noted():
            address = options.parse_addresses("gateway", (text,))[0]
            pool = _pool_of(asked, "gateway", address, address, may_lack=has_wrong_subnet)
            if pool is not None and pool.gateway is not None:
                raise InvalidRequest("gateway", f"{address}: subnet {pool.subnet} has {pool.gateway} already")
            if pool is not None:
                pool.gateway = address
    for name, text in request.auxiliary:
        with problems.noted():
            address = options.parse_addresses("aux-address", (text,))[0]
            pool = _pool_of(asked, "aux-address", f"{name}={address}", address, may_lack=has_wrong_subnet)
            if pool is not None:
                pool.auxiliary = (*pool.auxiliary, (name, address))
    for pool in asked:
        if pool.subnet is not None:
            with problems.noted():
                refuse(ipam.validate_pool(pool.subnet, pool.ip_range, pool.gateway, pool.auxiliary))
    return tuple(sorted(asked, key=lambda pool: pool.family))


def plan_pools(
    requests: Sequence[PoolRequest],
    network: Network,
    existing: KnownNetworks,
    host: HostConstraints,
) -> tuple[Pool, ...]:
    """Return the pools of *network* that *requests* mean, where berth hands out the addresses; Conflict, Exhausted."""
    made: list[Pool] = []
    for request in requests:
        made.append(_plan_pool(request, network, existing, made, host))
    return tuple(made)


def _subnet(text: str, driver: Driver | None, on: Sequence[int], asked: Sequence[PoolRequest]) -> PoolRequest:
    subnet = ipam.parse_subnet("subnet", text)
    family: int = subnet.version
    if family not in on:
        remedy = "leave out --ipv4=false" if family == 4 else "add --ipv6"
        raise InvalidRequest("subnet", f"{text} needs IPv{family}, which is off for this network; {remedy}")
    if driver is not None and not driver.several_subnets and any(pool.family == family for pool in asked):
        raise InvalidRequest("subnet", f"{text}: {driver.name} driver doesn't support multiple subnets of one family")
    # IP-5: 0.0.0.0/N is "any pool of that size".
    if subnet.network_address.is_unspecified:
        return PoolRequest(family, prefix_length=subnet.prefixlen)
    return PoolRequest(family, subnet)


def _pool_of(asked: Sequence[PoolRequest], field: str, shown: object, address: IPAddress, *, may_lack: bool) -> PoolRequest | None:
    """Return the pool that *address* belongs to: the only subnet of its family, or the one that contains it.

    *may_lack*: None if there is none, because a subnet could not be read.
    """
    of_family = [(pool, pool.subnet) for pool in asked if pool.subnet is not None and pool.family == address.version]
    if len(of_family) == 1 and not may_lack:
        return of_family[0][0]
    for pool, subnet in of_family:
        if address in subnet:
            return pool
    if may_lack:
        return None
    if not of_family:
        raise InvalidRequest(field, f"{shown} needs a --subnet of its family that contains it")
    raise InvalidRequest(
        "network config", f"no matching subnet for {field} {shown}; there are {', '.join(str(subnet) for _, subnet in of_family)}"
    )


def _plan_pool(
    request: PoolRequest,
    network: Network,
    existing: KnownNetworks,
    made: Sequence[Pool],
    host: HostConstraints,
) -> Pool:
    subnet = request.subnet
    if subnet is None:
        blocks = host.pools4 if request.family == 4 else host.pools6
        others = [*(pool.subnet for pool in made), *host.reserved, *host.routes.forbidden()]
        avoided = host.routes.unwelcome()
        subnet = ipam.choose_subnet(blocks, others, of_networks=existing.subnets, prefix_length=request.prefix_length, avoided=avoided)
    else:
        check_overlap(subnet, request.ip_range, drivers.of(network), existing, made)
    gateway = request.gateway or _own_gateway(subnet, request, network)
    return Pool(subnet=subnet, ip_range=request.ip_range, gateway=gateway, auxiliary=request.auxiliary)


def check_overlap(subnet: IPNetwork, ip_range: IPNetwork | None, driver: Driver, existing: KnownNetworks, made: Sequence[Pool]) -> None:
    """Raise Conflict if *subnet* overlaps one that is taken; some drivers let networks share one by ranges (MV-5, IP-7).

    *driver*: of the new network; *made*: its other pools.
    """
    may_share = driver.shares_subnets
    taken = [(pool, False) for pool in made]
    taken += [(pool, may_share and drivers.of(other).shares_subnets) for other in existing.overlapping(subnet) for pool in other.pools]
    for pool, shared in taken:
        if pool.subnet.version != subnet.version or not pool.subnet.overlaps(subnet):
            continue
        if shared and pool.subnet == subnet and pool.ip_range != ip_range:
            continue
        raise Conflict(
            "subnet", str(subnet), because=f"Pool overlaps with other one on this address space ({pool.subnet}); choose another subnet"
        )


def _own_gateway(subnet: IPNetwork, request: PoolRequest, network: Network) -> IPAddress | None:
    """Return the gateway of a pool that none was given for; None where none is needed (IP-16)."""
    if not wants_gateway(request.family, network) or (subnet.prefixlen >= subnet.max_prefixlen - 1 and network.internal):
        return None
    return ipam.default_gateway(subnet, request.ip_range, request.auxiliary)


def with_gateways(exact: Sequence[Pool], network: Network) -> tuple[Pool, ...]:
    """Return the pools *exact* of *network*, each with the gateway that it will have."""
    made = []
    for pool in exact:
        request = PoolRequest(pool.subnet.version, pool.subnet, None, pool.ip_range, pool.gateway, pool.auxiliary)
        with suppress(InvalidRequest, Conflict, Exhausted):
            made.append(replace(pool, gateway=pool.gateway or _own_gateway(pool.subnet, request, network)))
    return tuple(made)


def wants_gateway(family: int, network: Network) -> bool:
    """Return whether a pool of *family* of *network* has a gateway although none was given."""
    return drivers.of(network).wants_gateway(network, family)
