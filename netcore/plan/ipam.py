"""Address management: pools of networks and addresses in them. Pure; clock and allocations come as arguments.

Rules IP-* of docs/rules.md, except that an option is never accepted and ignored (IP-14) and a repeated release is
no error (IP-8). A released address is not handed out again for `limits.ADDRESS_QUARANTINE` seconds, unless the pool has
no other one.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from netcore import limits
from netcore.drivers.host_routes import Avoided
from netcore.errors import Conflict, Exhausted, InvalidRequest
from netcore.model import IPAddress, IPNetwork, Network, Pool
from netcore.parse.addresses import is_mapped
from netcore.parse.problems import Problem
from netcore.plan.taken_subnets import Range, TakenSubnets, ranges

DEFAULT_POOLS4: tuple[tuple[IPv4Network, int], ...] = (
    (IPv4Network("172.17.0.0/16"), 16),
    (IPv4Network("172.18.0.0/16"), 16),
    (IPv4Network("172.19.0.0/16"), 16),
    (IPv4Network("172.20.0.0/14"), 16),
    (IPv4Network("172.24.0.0/14"), 16),
    (IPv4Network("172.28.0.0/14"), 16),
    (IPv4Network("192.168.0.0/16"), 20),
)
"""(block, prefix length of the subnets cut from it), in the order they are used (rule IP-1)."""

OVERLAY_POOLS4: tuple[tuple[IPv4Network, int], ...] = ((IPv4Network("10.0.0.0/8"), 24),)
"""The same for networks that span hosts."""

_CONSIDERED = 1 << 63
"""Addresses of a range that are ever handed out dynamically (rule IP-23)."""


def ula_pool(host_id: str) -> tuple[IPv6Network, int]:
    """Return this host's ULA /48 and the subnet length, from its stable id (rule IP-2, RFC 4193)."""
    digest = hashlib.sha256(host_id.encode()).digest()
    return IPv6Network((b"\xfd" + digest[3:8] + bytes(10), 48)), 64


def choose_subnet(
    pools: Sequence[tuple[IPNetwork, int]],
    taken: Iterable[IPNetwork],
    *,
    of_networks: TakenSubnets | None = None,
    prefix_length: int | None = None,
    avoided: Avoided | None = None,
) -> IPNetwork:
    """Return the first subnet of *pools* that overlaps nothing of *taken*, nor those *of_networks*; Exhausted if there is none.

    *prefix_length*: only pools that can hold it are used, cut to that size. *avoided*: what it stays away from while
    another subnet is free.
    """
    fitting = [(block, prefix_length or default) for block, default in pools if (prefix_length or default) >= block.prefixlen]
    others = [*taken]
    busy: dict[int, Sequence[Range]] = {}
    for version in (4, 6):
        known = of_networks.runs(version) if of_networks is not None else ()
        busy[version] = sorted([*known, *ranges(subnet for subnet in others if subnet.version == version)])
    for is_particular in (True, False) if avoided is not None else (False,):
        for block, length in fitting:
            more: list[IPNetwork] = []
            if avoided is not None:
                more += avoided.forbidden(length)
                more += avoided.unwelcome(length) if is_particular else []
            away = ranges(subnet for subnet in more if subnet.version == block.version)
            free = _first_free(block, length, sorted([*busy[block.version], *away]) if away else busy[block.version])
            if free is not None:
                return free
    if prefix_length is not None and not fitting:
        raise InvalidRequest("subnet", f"no address pool can hold a /{prefix_length}")
    raise Exhausted("host", "subnets", because="all predefined address pools have been fully subnetted; give --subnet")


def _first_free(block: IPNetwork, length: int, busy: Iterable[Range]) -> IPNetwork | None:
    """Return the first subnet of *block* that overlaps none of *busy*, which are in ascending order: each is looked at once."""
    size = 1 << (block.max_prefixlen - length)
    candidate, end = int(block.network_address), int(block.broadcast_address)
    for first, last in busy:
        if first >= candidate + size:
            break
        if last >= candidate:
            candidate = (last // size + 1) * size
    if candidate + size - 1 > end:
        return None
    return ip_network((candidate, length)) if block.version == 4 else IPv6Network((candidate, length))


def parse_subnet(field: str, text: str) -> IPNetwork:
    """Return *text* as a subnet without host bits (rule IP-11)."""
    try:
        subnet = ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidRequest(field, f"{text!r} is not a subnet like 10.10.0.0/16") from error
    if "/" not in text:
        raise InvalidRequest(field, f"{text!r} has no prefix length, as in {text}/24")
    if is_mapped(subnet):
        raise InvalidRequest(f"{field} {text}", "it holds IPv4-mapped addresses only; give the IPv4 subnet instead")
    if str(ip_network(text.split("/")[0]).network_address) != str(subnet.network_address):
        raise InvalidRequest(f"{field} {text}", f"it should be {subnet}")
    return subnet


def validate_pool(
    subnet: IPNetwork, ip_range: IPNetwork | None, gateway: IPAddress | None, auxiliary: Sequence[tuple[str, IPAddress]]
) -> list[Problem]:
    """Return everything that is wrong with a pool (rules IP-12, IP-13, BR-5)."""
    problems: list[Problem] = []
    family = f"IPv{subnet.version}"
    if subnet.is_multicast:
        problems.append((f"subnet {subnet}", "multicast subnets can't be used"))
    link_local = IPv6Network("fe80::/64")
    if isinstance(subnet, IPv6Network) and subnet != link_local and subnet.overlaps(link_local):
        problems.append((f"subnet {subnet}", "a subnet overlapping fe80::/64 must be fe80::/64 itself"))
    if ip_range is not None:
        if ip_range.version != subnet.version:
            problems.append((f"ip-range {ip_range}", f"parent subnet is an {family} block"))
        elif ip_range.prefixlen < subnet.prefixlen:
            problems.append((f"ip-range {ip_range}", f"CIDR block is bigger than its parent subnet {subnet}"))
        elif not ip_range.subnet_of(subnet):  # type: ignore[arg-type]
            problems.append((f"ip-range {ip_range}", f"parent subnet {subnet} doesn't contain ip-range"))
    if gateway is not None and gateway not in subnet:
        problems.append((f"gateway {gateway}", f"parent subnet {subnet} doesn't contain this address"))
    problems.extend(
        (f"auxiliary address {name}", f"parent subnet {subnet} doesn't contain {address}")
        for name, address in auxiliary
        if address not in subnet
    )
    return problems


def field_of(address: IPAddress) -> str:
    """Return what the option is called that asks for *address*."""
    return "ip" if address.version == 4 else "ip6"


def containing(network: Network, address: IPAddress) -> Pool:
    """Return the pool of *network* whose subnet has *address*; InvalidRequest if there is none."""
    pools = [pool for pool in network.pools if pool.subnet.version == address.version]
    for pool in pools:
        if address in pool.subnet:
            return pool
    subnets = ", ".join(str(pool.subnet) for pool in pools)
    raise InvalidRequest(field_of(address), f"no configured subnet contains IP address {address}; {network.name} has {subnets}")


class AddressPool:
    """The addresses of one `Pool`: which are taken and which comes next. Single owner, no I/O.

    *taken*: those of the subnet that any network has taken; ours are added. *is_new*: nobody had any of them before. Allocation
    costs O(log n) in the number of released addresses and O(1) amortized otherwise.
    """

    def __init__(self, pool: Pool, network: str, taken: set[int] | None = None, *, is_new: bool = False) -> None:
        self.pool = pool
        self._network = network
        subnet, source = pool.subnet, pool.ip_range or pool.subnet
        self._taken: set[int] = set() if taken is None else taken
        self._own: set[int] = set()
        self._first, self._last = int(source.network_address), int(source.broadcast_address)
        low, high = int(subnet.network_address), int(subnet.broadcast_address)
        # IP-15: network and broadcast address except in /31 and /32; the subnet-router anycast address in IPv6.
        self._forbidden = set[int]()
        if subnet.version == 4 and subnet.prefixlen < 31:
            self._forbidden = {low, high}
        elif subnet.version == 6 and subnet.prefixlen < 127:
            self._forbidden = {low}
        self._last = min(self._last, self._first + _CONSIDERED - 1)
        self._next = self._first
        self._free: list[int] = []
        self._quarantine: deque[tuple[float, int]] = deque()
        # How often each is in there: one that was asked for meanwhile, and given back, is twice.
        self._resting = Counter[int]()
        self._is_new = is_new
        # Taken by wish beyond what was handed out so far; and those taken now that nobody had before.
        self._wished = set[int]()
        self._fresh = set[int]()
        for address in pool.reserved():
            self._take(int(address))

    def close(self) -> None:
        """Give everything back that this pool has taken."""
        self._taken -= self._own

    def _take(self, value: int) -> None:
        if value not in self._taken:
            # An address that several networks on one subnet reserve, as a gateway, goes with the first of them.
            self._own.add(value)
        self._taken.add(value)

    def _give(self, value: int) -> None:
        self._own.discard(value)
        self._taken.discard(value)
        self._fresh.discard(value)

    def reserve(self, address: IPAddress, *, field: str) -> None:
        """Take exactly *address*; Conflict if it is taken, InvalidRequest if it is not in the subnet."""
        if address not in self.pool.subnet:
            raise InvalidRequest(field, f"no configured subnet contains IP address {address}; {self._network} has {self.pool.subnet}")
        if int(address) in self._forbidden:
            raise InvalidRequest(field, f"{address} is the network or broadcast address of {self.pool.subnet}")
        if int(address) in self._taken:
            raise Conflict(field, str(address), because=f"address already in use on network {self._network}{self._use(address)}")
        self._note_first_use(int(address), self._next)
        self._take(int(address))
        if int(address) >= self._next:
            self._wished.add(int(address))

    def _use(self, address: IPAddress) -> str:
        """Return what the network itself uses *address* for, as the end of a sentence."""
        if address == self.pool.gateway:
            return ": it is the gateway's"
        name = next((name for name, auxiliary in self.pool.auxiliary if auxiliary == address), None)
        return f": it is the auxiliary address {name}" if name is not None else ""

    def allocate(self, now: float) -> IPAddress:
        """Take the lowest free address that is not in quarantine, else the one released first; Exhausted when the pool has none at all."""
        handed_out = self._next
        value = self._pick(now)
        if value is None:
            family = self.pool.subnet.version
            raise Exhausted(
                "network",
                self._network,
                because=f"no available IPv{family} addresses on this network's address pools ({self.pool.subnet})",
            )
        self._note_first_use(value, handed_out)
        self._take(value)
        return ip_address(value) if self.pool.subnet.version == 4 else _address6(value)

    def _note_first_use(self, value: int, handed_out: int) -> None:
        if self._is_new and value >= handed_out and value not in self._wished:
            self._fresh.add(value)

    def is_fresh(self, address: IPAddress) -> bool:
        """Return whether *address*, which is taken, was nobody's before: no neighbour can remember whose it was."""
        return int(address) in self._fresh

    def release(self, address: IPAddress, now: float) -> None:
        """Give *address* back; it stays in quarantine before it is handed out again. Releasing twice does nothing."""
        value = int(address)
        if value in self._own:
            self._give(value)
            self._rest(value, now + limits.ADDRESS_QUARANTINE)

    def give_back(self, address: IPAddress) -> None:
        """Undo an allocation that never took effect: the address is free again at once."""
        value = int(address)
        if value in self._own:
            self._give(value)
            heapq.heappush(self._free, value)

    def in_use(self) -> int:
        """Return how many addresses are taken, gateway and auxiliary ones included."""
        return len(self._own)

    def quarantine(self, address: IPAddress, until: float) -> None:
        """Keep *address* in quarantine until *until*, as read back from the store."""
        if address in self.pool.subnet and int(address) not in self._taken:
            self._rest(int(address), until)

    def _rest(self, value: int, until: float) -> None:
        self._quarantine.append((until, value))
        self._resting[value] += 1

    def _end_rest(self) -> int:
        """Return the address that has been in quarantine longest, which it leaves."""
        _, value = self._quarantine.popleft()
        self._resting[value] -= 1
        if not self._resting[value]:
            del self._resting[value]
        return value

    def _pick(self, now: float) -> int | None:
        while self._quarantine and self._quarantine[0][0] <= now:
            heapq.heappush(self._free, self._end_rest())
        while self._free:
            value = heapq.heappop(self._free)
            if self._usable(value) and value not in self._resting and value < self._next:
                return value
        while self._next <= self._last:
            value = self._next
            self._next += 1
            if self._usable(value) and value not in self._resting:
                return value
        while self._quarantine:
            value = self._end_rest()
            if self._usable(value):
                return value
        return None

    def _usable(self, value: int) -> bool:
        return self._first <= value <= self._last and value not in self._taken and value not in self._forbidden


def _address6(value: int) -> IPAddress:
    return IPv6Address(value)


def default_gateway(subnet: IPNetwork, ip_range: IPNetwork | None, auxiliary: Sequence[tuple[str, IPAddress]]) -> IPAddress:
    """Return the lowest free address of the range, or of the subnet, as gateway (rule IP-16)."""
    return AddressPool(Pool(subnet=subnet, ip_range=ip_range, auxiliary=tuple(auxiliary)), "new").allocate(0.0)
