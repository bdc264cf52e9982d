"""Rebinding protection: an external name that leads to networks or private addresses of this host is an attack. Pure.

Addresses are looked at in every section: in A and AAAA records, and in the hints of SVCB and HTTPS records (RFC 9460). An IPv6
address that carries an IPv4 address counts as that one too. 0.0.0.0, 127.0.0.0/8 and ::1 pass, unless a network has them:
block lists answer so, and to a sandbox they are its own loopback.

Thousands of addresses cost no more byte codes than one: what is done to each is done by functions of the interpreter.

| form | source |
|---|---|
| ::ffff:a.b.c.d, ::a.b.c.d | RFC 4291 section 2.5.5 |
| 64:ff9b::/96, 64:ff9b:1::/48 and prefixes of the configuration | RFC 6052, RFC 8215 |
| 2002::/16 (6to4) | RFC 3056 |
| 2001::/32 (Teredo; the client's address is inverted) | RFC 4380 section 4 |
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain, repeat
from operator import add, itemgetter, rshift

import msgspec

from resolver import limits
from resolver.engine.received import ADDRESS_HEADS, Received
from resolver.wire import name as names

IPNetwork = IPv4Network | IPv6Network
IPAddress = IPv4Address | IPv6Address
_INVERT = bytes(255 - octet for octet in range(256))
_SERVICE_HEADS = (b"\0\x40\0\x01", b"\0\x41\0\x01")
_HINTS = {4: 4, 6: 16}
"""SvcParamKeys ipv4hint and ipv6hint → octets of one address (RFC 9460 section 7.3)."""


class Finding(msgspec.Struct, frozen=True):
    """The first address of an answer in a network of ours, and the first one that is the host's own; None: there is none."""

    network: str | None = None
    host: str | None = None


NOTHING = Finding()


def is_private(address: IPAddress) -> bool:
    """Return whether *address* is one of the host's that only some can reach, and so an aim of attacks. Loopback is not among them."""
    return not (address.is_global or address.is_loopback or address.is_unspecified or address.is_multicast)


class OwnNetworks:
    """The subnets of our networks, in the forms in which addresses are looked up among them. Two networks may have the same one."""

    __slots__ = ("_counts", "_firsts", "by_prefix", "by_shift")

    def __init__(self, networks: Iterable[IPNetwork] = ()) -> None:
        self._counts: Counter[IPNetwork] = Counter()
        self._firsts: Counter[int] = Counter()
        self.by_shift: dict[int, set[int]] = {}
        """{bits of the host part: {network parts}} of IPv4."""
        self.by_prefix: dict[int, dict[bytes, list[IPNetwork]]] = {}
        """{whole octets of the network part: {those octets: networks}} of IPv6."""
        for network in networks:
            self.add(network)

    def add(self, network: IPNetwork) -> None:
        """Note that one more network has this subnet."""
        self._counts[network] += 1
        if self._counts[network] > 1:
            return
        self._firsts.update(_first_octets(network))
        if network.version == 4:
            shift, number = _shifted(network)
            self.by_shift.setdefault(shift, set()).add(number)
        else:
            size, octets = _whole_octets(network)
            self.by_prefix.setdefault(size, {}).setdefault(octets, []).append(network)

    def discard(self, network: IPNetwork) -> None:
        """Note that one network fewer has this subnet."""
        self._counts[network] -= 1
        if self._counts[network]:
            return
        del self._counts[network]
        self._firsts.subtract(_first_octets(network))
        if network.version == 4:
            shift, number = _shifted(network)
            self.by_shift[shift].discard(number)
            if not self.by_shift[shift]:
                del self.by_shift[shift]
        else:
            size, octets = _whole_octets(network)
            alike = self.by_prefix[size]
            alike[octets].remove(network)
            if not alike[octets]:
                del alike[octets]
            if not alike:
                del self.by_prefix[size]

    def first_octets(self) -> set[int]:
        """Return the octets that addresses in one of them begin with."""
        return {octet for octet, count in self._firsts.items() if count}


class Protected:
    """Where no answer of an upstream may point to. Made anew when anything of it changes, so that what was found can be kept with it.

    *networks*: ours; they are changed in place as they come and go, and this is made anew. *addresses*: the host's private ones.
    *domains*: wire names below which names may have those all the same: the host's search domains. *nat64*: prefixes
    by which IPv4 addresses are written as IPv6 ones, beside the well-known ones.
    """

    __slots__ = ("_domains", "_embedded", "_first", "_hosts4", "_hosts6", "_networks4", "_networks6")

    def __init__(
        self,
        networks: OwnNetworks | None = None,
        *,
        addresses: Iterable[IPAddress] = (),
        domains: Iterable[bytes] = (),
        nat64: Sequence[IPv6Network] = (),
    ) -> None:
        own = OwnNetworks() if networks is None else networks
        self._networks4, self._networks6 = own.by_shift, own.by_prefix
        packed = [address.packed for address in addresses]
        self._hosts4 = frozenset(int.from_bytes(address, "big") for address in packed if len(address) == 4)
        self._hosts6 = frozenset(address for address in packed if len(address) == 16)
        self._domains = tuple(domain for domain in domains if domain != names.ROOT)
        self._embedded = (*_EMBEDDED, *map(_nat64_form, nat64))
        # Most addresses are told apart by their first octet.
        first = own.first_octets() | {address[0] for address in packed}
        # Those of IPv6 that may carry an IPv4 address, each of which has to be looked at.
        carriers = {form.prefix[0] for form in self._embedded} if first else set()
        self._first = {4: frozenset(first), 16: frozenset(first | carriers)}

    def holds(self, address: bytes) -> bool:
        """Return whether the packed *address* is in one of the networks."""
        found = self._find4(address) if len(address) == 4 else self._find6(address)
        return found.network is not None

    def excuses(self, qname: bytes) -> bool:
        """Return whether the host's own addresses are right for the name *qname*: nobody outside has names of one label."""
        return qname[0] + 2 == len(qname) or any(names.is_below(qname, domain) for domain in self._domains)

    def look(self, received: Received) -> Finding:
        """Return what of ours *received* points to."""
        network = host = None
        body = received.body
        for run in received.runs:
            at = run.at + 6
            head = body[run.at - 4 : run.at]
            size = ADDRESS_HEADS.get(head)
            candidates: Sequence[tuple[int, bytes | bytearray]] = ()
            if size is None:
                if head in _SERVICE_HEADS:
                    candidates = _hints(body[at : run.end])
            elif size == run.step - 12 and not self._first[size].isdisjoint(body[at : run.end : run.step]):
                candidates = ((size, _gathered(body[at : run.end], run.step, size)),)
            for octets, addresses in candidates:
                found = self._find4(addresses) if octets == 4 else self._find6(addresses)
                network, host = network or found.network, host or found.host
        return Finding(network, host) if network or host else NOTHING

    def _find4(self, octets: bytes | bytearray) -> Finding:
        """Return what is found among IPv4 addresses, which follow each other in *octets*."""
        numbers = struct.unpack(f"!{len(octets) // 4}I", octets)
        network = host = None
        for shift, values in self._networks4.items():
            if not values.isdisjoint(map(rshift, numbers, repeat(shift))):
                network = str(IPv4Address(next(number for number in numbers if number >> shift in values)))
                break
        for number in self._hosts4.intersection(numbers) if self._hosts4 else ():
            host = str(IPv4Address(number))
        return Finding(network, host)

    def _find6(self, octets: bytes | bytearray) -> Finding:
        """Return the same for IPv6 addresses, and the IPv4 addresses that they carry."""
        addresses = sorted(set(chain.from_iterable(struct.iter_unpack("16s", octets))))
        network = host = None
        for size, known in self._networks6.items():
            if not known.keys().isdisjoint(map(itemgetter(slice(size)), addresses)):
                network = network or next(
                    (str(IPv6Address(address)) for address in addresses if _is_in(known.get(address[:size], ()), address)), None
                )
        for address in self._hosts6.intersection(addresses):
            host = str(IPv6Address(address))
        carried = self._carried(addresses)
        if carried and not (network and host):
            found = self._find4(carried)
            network, host = network or found.network, host or found.host
        return Finding(network, host)

    def _carried(self, addresses: Sequence[bytes]) -> bytes:
        """Return the IPv4 addresses that some of the sorted IPv6 *addresses* carry, one behind the other."""
        carried = b""
        for form in self._embedded:
            carriers = addresses[bisect_left(addresses, form.prefix) : bisect_left(addresses, form.behind)]
            if carriers:
                first, rest = (map(itemgetter(part), carriers) for part in form.parts)
                found = b"".join(map(add, first, rest))
                carried += found.translate(_INVERT) if form.is_inverted else found
        return carried


def _is_in(networks: Iterable[IPNetwork], address: bytes) -> bool:
    return any(IPv6Address(address) in network for network in networks)


class _Embedded(msgspec.Struct, frozen=True):
    """IPv6 addresses with this *prefix*, and where in them the two *parts* of an IPv4 address are."""

    prefix: bytes
    parts: tuple[slice, slice]
    is_inverted: bool = False

    @property
    def behind(self) -> bytes:
        """The first address behind those with the prefix."""
        return self.prefix + b"\xff" * (17 - len(self.prefix))


def _nat64_form(prefix: IPv6Network) -> _Embedded:
    """Return where addresses with this prefix carry an IPv4 address: octet 8 is left out (RFC 6052 section 2.2)."""
    start = prefix.prefixlen // 8
    end = 16 if start == 12 else min(start + 4, 8)
    return _Embedded(prefix.network_address.packed[:start], (slice(start, end), slice(9, 9 + 4 - (end - start))))


_NONE = slice(0, 0)
_LAST = slice(12, 16), _NONE
_EMBEDDED = (
    _Embedded(bytes(12), _LAST),
    _Embedded(bytes(10) + b"\xff\xff", _LAST),
    _nat64_form(IPv6Network("64:ff9b::/96")),
    _nat64_form(IPv6Network("64:ff9b:1::/48")),
    _Embedded(IPv6Address("64:ff9b:1::").packed[:6], _LAST),
    _Embedded(b"\x20\x02", (slice(2, 6), _NONE)),
    _Embedded(b"\x20\x01\0\0", _LAST, is_inverted=True),
)
"""RFC 8215 leaves the length of prefixes below 64:ff9b:1::/48 open; 48 and 96 bits are used."""


def _first_octets(network: IPNetwork) -> range:
    return range(network.network_address.packed[0], network.broadcast_address.packed[0] + 1)


def _shifted(network: IPNetwork) -> tuple[int, int]:
    """Return (bits of the host part, network part)."""
    shift = network.max_prefixlen - network.prefixlen
    return shift, int(network.network_address) >> shift


def _whole_octets(network: IPNetwork) -> tuple[int, bytes]:
    """Return (whole octets of the network part, those octets)."""
    size = network.prefixlen // 8
    return size, network.network_address.packed[:size]


def _gathered(octets: bytes, step: int, size: int) -> bytearray:
    """Return the first *size* of every *step* octets, one behind the other."""
    made = bytearray((len(octets) + step - size) // step * size)
    for at in range(size):
        made[at::size] = octets[at::step]
    return made


def _hints(data: bytes) -> Sequence[tuple[int, bytes]]:
    """Return (octets of one address, addresses) of the hints in the data of an SVCB or HTTPS record; what is malformed ends them."""
    # Priority, then the name of the target, which is not compressed (RFC 9460 section 2.2).
    at = 2
    while at < len(data) and data[at]:
        at += 1 + data[at]
    at += 1
    made = []
    for _ in range(limits.SERVICE_PARAMETERS):
        if at + 4 > len(data):
            break
        size = _HINTS.get(data[at] << 8 | data[at + 1])
        start, at = at + 4, at + 4 + (data[at + 2] << 8 | data[at + 3])
        if size is not None:
            value = data[start:at]
            made.append((size, value[: len(value) // size * size]))
    return made
