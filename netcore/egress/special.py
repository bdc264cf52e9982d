"""Addresses that no name opens, whatever it is answered with; and which addresses are public. Pure.

The documentation prefixes (RFC 5737, RFC 3849, RFC 9637) are ordinary addresses here: labs use them. An IPv6 address that carries an
IPv4 address is judged by that too:

| form | source |
|---|---|
| ::ffff:a.b.c.d, ::a.b.c.d | RFC 4291 section 2.5.5 |
| 64:ff9b::/96, 64:ff9b:1::/48 and prefixes of the configuration | RFC 6052 section 2.2, RFC 8215 |
| 2002::/16 (6to4) | RFC 3056 |
| 2001::/32 (Teredo; server, and the client's address inverted) | RFC 4380 section 4 |
| ISATAP, ..:0:5efe:a.b.c.d | RFC 5214 section 6.1 |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from netcore.model import IPAddress, IPNetwork


def _four(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, texts))


def _six(*texts: str) -> tuple[IPv6Network, ...]:
    return tuple(map(IPv6Network, texts))


METADATA: tuple[IPNetwork, ...] = (
    *_four("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *_six("fd00:ec2::254", "fd20:ce::254"),
)
"""Where clouds give credentials to whoever asks. Some are in private ranges, one in a public one."""

_NEVER4 = _four("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4")
"""This network, loopback, link-local, protocol assignments, 6to4 relays, multicast, reserved and broadcast (RFC 6890)."""
_PRIVATE4 = _four("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")
_PRIVATE6 = _six("fc00::/7", "fec0::/10")
_GLOBAL6 = _six("2000::/3")
_IETF6 = _six("2001::/23", "2002::/16")
"""Protocol assignments, among them Teredo and ORCHID (RFC 6890), and 6to4."""

EVERYTHING: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
"""By family."""
PRIVATE: tuple[IPNetwork, ...] = (*_PRIVATE4, *_PRIVATE6)

NOT_PUBLIC4: tuple[IPv4Network, ...] = (*_NEVER4, *_PRIVATE4, *(one for one in METADATA if isinstance(one, IPv4Network)))
NOT_PUBLIC6 = (*_six("::/3", "4000::/2", "8000::/1"), *_IETF6)
"""All but 2000::/3, and what is special in that."""
# 64:ff9b::/96 is in ::/3: by NAT64 a private address could be reached, so a rule about public addresses does not open it.

_MAPPED, _COMPATIBLE, _SIX_TO_FOUR, _TEREDO = _six("::ffff:0:0/96", "::/96", "2002::/16", "2001::/32")
_NAT64 = _six("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def carried(address: IPAddress, nat64: Sequence[IPv6Network] = ()) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 *address* may stand for. *nat64*: more prefixes that do so."""
    if not isinstance(address, IPv6Address):
        return
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address in _MAPPED or (address in _COMPATIBLE and number > 1) or any(address in prefix for prefix in _NAT64):
        yield last
    if address in _SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
    if address in _TEREDO:
        yield IPv4Address(number >> 64 & 0xFFFF_FFFF)
        yield IPv4Address(~number & 0xFFFF_FFFF)
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield last
    configured = [prefix for prefix in nat64 if address in prefix]
    if configured:
        yield from (_translated(number, prefix.prefixlen) for prefix in configured)
    elif address in _LOCAL_NAT64:
        # RFC 8215 leaves the length of prefixes below it open. Read with the wrong one an address begins with zeros.
        guesses = [_translated(number, length) for length in (48, 56, 64, 96)]
        yield from [guess for guess in guesses if int(guess) >> 24] or guesses


def _translated(number: int, length: int) -> IPv4Address:
    """Return the IPv4 address behind a prefix of *length* bits; bits 64 to 71 are left out (RFC 6052 section 2.2)."""
    octets = number.to_bytes(16, "big")
    start = length // 8
    behind = octets[start:] if start > 8 else octets[start:8] + octets[9:]
    return IPv4Address(behind[:4])


def _within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


@lru_cache(maxsize=8192)
def closed_to_names(address: IPAddress, nat64: tuple[IPv6Network, ...] = ()) -> str | None:
    """Return what *address* is, if no name may open it; "private" if only `+private` lets it; None for an ordinary one."""
    reasons = {_alone(address), *map(_alone, carried(address, nat64))}
    for reason in (_METADATA, _SPECIAL, _IS_PRIVATE):
        if reason in reasons:
            return reason
    return None


_METADATA, _SPECIAL, _IS_PRIVATE = "where a cloud gives credentials", "special", "private"
IS_PRIVATE = _IS_PRIVATE


def _alone(address: IPAddress) -> str | None:
    if _within(address, METADATA):
        return _METADATA
    if _within(address, PRIVATE):
        return _IS_PRIVATE
    if isinstance(address, IPv4Address):
        return _SPECIAL if _within(address, _NEVER4) else None
    if _within(address, _GLOBAL6):
        # What carries an IPv4 address is judged by that one.
        return _SPECIAL if _within(address, _IETF6) and not (address in _SIX_TO_FOUR or address in _TEREDO) else None
    return None if any(True for _ in carried(address)) and address not in _COMPATIBLE and address not in _MAPPED else _SPECIAL


def is_public(address: IPAddress) -> bool:
    """Return whether a rule `public` is about *address*."""
    return not _within(address, NOT_PUBLIC4 if address.version == 4 else NOT_PUBLIC6)
