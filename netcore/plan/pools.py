"""Which address pools a new network has. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from netcore import drivers
from netcore.drivers.facts import HostConstraints
from netcore.errors import Conflict, InvalidRequest
from netcore.model import IPAddress, IPNetwork, Network, NetworkRequest, Pool
from netcore.parse import options
from netcore.parse.problems import refuse
from netcore.plan import ipam


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
    asked = _subnets(request, network)
    for text in request.ip_ranges:
        ip_range = ipam.parse_subnet("ip-range", text)
        pool = _pool_of(asked, "ip-range", ip_range, ip_range[0])
        if pool.ip_range is not None:
            raise InvalidRequest("ip-range", f"{text}: subnet {pool.subnet} has {pool.ip_range} already")
        pool.ip_range = ip_range
    for address in options.parse_addresses("gateway", request.gateways):
        pool = _pool_of(asked, "gateway", address, address)
        if pool.gateway is not None:
            raise InvalidRequest("gateway", f"{address}: subnet {pool.subnet} has {pool.gateway} already")
        pool.gateway = address
    for name, text in request.auxiliary:
        address = options.parse_addresses("aux-address", (text,))[0]
        pool = _pool_of(asked, "aux-address", f"{name}={address}", address)
        pool.auxiliary = (*pool.auxiliary, (name, address))
    for pool in asked:
        if pool.subnet is not None:
            refuse(ipam.validate_pool(pool.subnet, pool.ip_range, pool.gateway, pool.auxiliary))
    return tuple(sorted(asked, key=lambda pool: pool.family))


def plan_pools(requests: Sequence[PoolRequest], network: Network, existing: Collection[Network], host: HostConstraints) -> tuple[Pool, ...]:
    """Return the pools of *network* that *requests* mean, where berth hands out the addresses; Conflict, Exhausted."""
    made: list[Pool] = []
    for request in requests:
        made.append(_plan_pool(request, network, existing, made, host))
    return tuple(made)


def _subnets(request: NetworkRequest, network: Network) -> list[PoolRequest]:
    driver = drivers.of(network)
    on = [family for family, is_on in ((4, network.ipv4), (6, network.ipv6)) if is_on]
    asked: list[PoolRequest] = []
    for text in request.subnets:
        subnet = ipam.parse_subnet("subnet", text)
        family: int = subnet.version
        if family not in on:
            remedy = "leave out --ipv4=false" if family == 4 else "add --ipv6"
            raise InvalidRequest("subnet", f"{text} needs IPv{family}, which is off for this network; {remedy}")
        if not driver.several_subnets and any(pool.family == family for pool in asked):
            raise InvalidRequest("subnet", f"{text}: {driver.name} driver doesn't support multiple subnets of one family")
        # IP-5: 0.0.0.0/N is "any pool of that size".
        if subnet.network_address.is_unspecified:
            asked.append(PoolRequest(family, prefix_length=subnet.prefixlen))
        else:
            asked.append(PoolRequest(family, subnet))
    asked += [PoolRequest(family) for family in on if not any(pool.family == family for pool in asked)]
    return asked


def _pool_of(asked: Sequence[PoolRequest], field: str, shown: object, address: IPAddress) -> PoolRequest:
    """Return the pool that *address* belongs to: the only subnet of its family, or the one that contains it."""
    of_family = [(pool, pool.subnet) for pool in asked if pool.subnet is not None and pool.family == address.version]
    if not of_family:
        raise InvalidRequest(field, f"{shown} needs a --subnet of its family that contains it")
    if len(of_family) == 1:
        return of_family[0][0]
    for pool, subnet in of_family:
        if address in subnet:
            return pool
    raise InvalidRequest(
        "network config", f"no matching subnet for {field} {shown}; there are {', '.join(str(subnet) for _, subnet in of_family)}"
    )


def _plan_pool(request: PoolRequest, network: Network, existing: Collection[Network], made: Sequence[Pool], host: HostConstraints) -> Pool:
    subnet = request.subnet
    if subnet is None:
        taken = [pool.subnet for other in existing for pool in other.pools] + [pool.subnet for pool in made]
        blocks = host.pools4 if request.family == 4 else host.pools6
        taken += [*host.reserved, *host.routes.forbidden()]
        subnet = ipam.choose_subnet(blocks, taken, prefix_length=request.prefix_length, avoided=host.routes.unwelcome())
    else:
        check_overlap(subnet, request.ip_range, network, existing, made)
    gateway = request.gateway or _own_gateway(subnet, request, network)
    return Pool(subnet=subnet, ip_range=request.ip_range, gateway=gateway, auxiliary=request.auxiliary)


def check_overlap(
    subnet: IPNetwork, ip_range: IPNetwork | None, network: Network, existing: Collection[Network], made: Sequence[Pool]
) -> None:
    """Raise Conflict if *subnet* overlaps one that is taken; some drivers let networks share one by ranges (MV-5, IP-7).

    *made*: the other pools of *network*, which has none itself yet.
    """
    may_share = drivers.of(network).shares_subnets
    taken = [(pool, False) for pool in made]
    taken += [(pool, may_share and drivers.of(other).shares_subnets) for other in existing for pool in other.pools]
    for pool, shared in taken:
        if pool.subnet.version != subnet.version or not pool.subnet.overlaps(subnet):
            continue
        if shared and pool.subnet == subnet and pool.ip_range != ip_range:
            continue
        raise Conflict("subnet", str(subnet), because=f"Pool overlaps with other one on this address space ({pool.subnet})")


def _own_gateway(subnet: IPNetwork, request: PoolRequest, network: Network) -> IPAddress | None:
    """Return the gateway of a pool that none was given for; None where none is needed (IP-16)."""
    if not wants_gateway(request.family, network) or (subnet.prefixlen >= subnet.max_prefixlen - 1 and network.internal):
        return None
    return ipam.default_gateway(subnet, request.ip_range, request.auxiliary)


def wants_gateway(family: int, network: Network) -> bool:
    """Return whether a pool of *family* of *network* has a gateway although none was given."""
    return drivers.of(network).wants_gateway(network, family)
