"""Rebinding protection: an external name that leads to networks or private addresses of this host is an attack. Pure.

Addresses are looked at in every section: in A and AAAA records, and in the hints of SVCB and HTTPS records (RFC 9460). An IPv6
address that carries an IPv4 address counts as that one too. 0.0.0.0, 127.0.0.0/8 and ::1 pass, unless a network has them:
block lists answer so, and to a sandbox they are its own loopback.

| form | source |
|---|---|
| ::ffff:a.b.c.d, ::a.b.c.d | RFC 4291 section 2.5.5 |
| 64:ff9b::/96, 64:ff9b:1::/48 and prefixes of the configuration | RFC 6052, RFC 8215 |
| 2002::/16 (6to4) | RFC 3056 |
| 2001::/32 (Teredo; the client's address is inverted) | RFC 4380 section 4 |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

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


class Protected:
    """Where no answer of an upstream may point to. Made anew when anything of it changes, so that what was found can be kept with it.

    *networks*: ours. *addresses*: the host's private ones. *domains*: wire names below which names may have those all the same: the
    host's search domains. *nat64*: prefixes by which IPv4 addresses are written as IPv6 ones, beside the well-known ones.
    """

    __slots__ = ("_addresses", "_domains", "_embedded", "_first", "_networks")

    def __init__(
        self,
        networks: Sequence[IPNetwork] = (),
        *,
        addresses: Iterable[IPAddress] = (),
        domains: Iterable[bytes] = (),
        nat64: Sequence[IPv6Network] = (),
    ) -> None:
        self._networks = {4: _by_shift(networks, 4), 16: _by_shift(networks, 16)}
        self._addresses = frozenset(address.packed for address in addresses)
        self._domains = tuple(domain for domain in domains if domain != names.ROOT)
        self._embedded = (*_EMBEDDED, *map(_nat64_form, nat64))
        # Most addresses are told apart by their first octet.
        ranges = [range(network.network_address.packed[0], network.broadcast_address.packed[0] + 1) for network in networks]
        first = {octet for octets in ranges for octet in octets} | {address[0] for address in self._addresses}
        # Those of IPv6 that may carry an IPv4 address, each of which has to be looked at.
        carriers = {form.prefix[0] for form in self._embedded} if networks or self._addresses else set()
        self._first = {4: frozenset(first), 16: frozenset(first | carriers)}

    def holds(self, address: bytes) -> bool:
        """Return whether the packed *address* is in one of the networks."""
        return self._in_networks({address}, len(address)) is not None

    def excuses(self, qname: bytes) -> bool:
        """Return whether the host's own addresses are right for the name *qname*."""
        return any(names.is_below(qname, domain) for domain in self._domains)

    def look(self, received: Received) -> Finding:
        """Return what of ours *received* points to."""
        network = host = None
        body = received.body
        for run in received.runs:
            at = run.at + 6
            head = body[run.at - 4 : run.at]
            size = ADDRESS_HEADS.get(head)
            if size is None:
                candidates = _hints(body[at : run.end]) if head in _SERVICE_HEADS else ()
            elif size != run.step - 12 or self._first[size].isdisjoint(body[at : run.end : run.step]):
                continue
            else:
                candidates = ((size, {body[place : place + size] for place in range(at, run.end, run.step)}),)
            for octets, addresses in candidates:
                found = self._find(addresses, octets)
                network, host = network or found.network, host or found.host
        return Finding(network, host) if network or host else NOTHING

    def _find(self, addresses: set[bytes], size: int) -> Finding:
        network = self._in_networks(addresses, size)
        host = next(iter(self._addresses & addresses), None)
        if size == 16 and not (network and host):
            carried = self._carried(addresses)
            network = network or self._in_networks(carried, 4)
            host = host or next(iter(self._addresses & carried), None)
        return Finding(None if network is None else str(ip_address(network)), None if host is None else str(ip_address(host)))

    def _in_networks(self, addresses: set[bytes], size: int) -> bytes | None:
        for shift, values in self._networks[size].items():
            if not values.isdisjoint({int.from_bytes(address, "big") >> shift for address in addresses}):
                return next(address for address in addresses if int.from_bytes(address, "big") >> shift in values)
        return None

    def _carried(self, addresses: set[bytes]) -> set[bytes]:
        """Return the IPv4 addresses that are in some of the IPv6 *addresses*."""
        carried: set[bytes] = set()
        for form in self._embedded:
            start, end, rest = form.start, form.end, form.rest
            found = {address[start:end] + address[9 : 9 + rest] for address in addresses if address.startswith(form.prefix)}
            carried |= {address.translate(_INVERT) for address in found} if form.is_inverted else found
        return carried


class _Embedded(msgspec.Struct, frozen=True):
    """IPv6 addresses that carry an IPv4 one, from octet *start* to *end*, and its *rest* behind the ninth octet."""

    prefix: bytes
    start: int
    end: int
    rest: int = 0
    is_inverted: bool = False


def _nat64_form(prefix: IPv6Network) -> _Embedded:
    """Return where addresses with this prefix carry an IPv4 address: octet 8 is left out (RFC 6052 section 2.2)."""
    start = prefix.prefixlen // 8
    end = 16 if start == 12 else min(start + 4, 8)
    return _Embedded(prefix.network_address.packed[:start], start, end, 0 if start == 12 else start + 4 - end)


_EMBEDDED = (
    _Embedded(bytes(12), 12, 16),
    _Embedded(bytes(10) + b"\xff\xff", 12, 16),
    _nat64_form(IPv6Network("64:ff9b::/96")),
    _nat64_form(IPv6Network("64:ff9b:1::/48")),
    _Embedded(IPv6Address("64:ff9b:1::").packed[:6], 12, 16),
    _Embedded(b"\x20\x02", 2, 6),
    _Embedded(b"\x20\x01\0\0", 12, 16, is_inverted=True),
)
"""RFC 8215 leaves the length of prefixes below 64:ff9b:1::/48 open; 48 and 96 bits are used."""


def _by_shift(networks: Iterable[IPNetwork], size: int) -> dict[int, set[int]]:
    """Return {bits of the host part: {network parts}} of the networks whose addresses take *size* octets."""
    made: dict[int, set[int]] = {}
    for network in networks:
        if network.max_prefixlen == 8 * size:
            shift = network.max_prefixlen - network.prefixlen
            made.setdefault(shift, set()).add(int(network.network_address) >> shift)
    return made


def _hints(data: bytes) -> Sequence[tuple[int, set[bytes]]]:
    """Return (octets of one, addresses) of the hints in the data of an SVCB or HTTPS record; what is malformed ends them."""
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
            made.append((size, {value[place : place + size] for place in range(0, len(value) - size + 1, size)}))
    return made
