"""How many of the places at one relayed port each source may take, and of those of all ports each sandbox. Pure."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from netcore.relay.clients import Peer

_SITE = 64
"""Bits of an IPv6 address that tell sources apart: one host has all addresses with the same ones."""


def source_of(peer: Peer) -> str:
    """Return who *peer* counts as. An IPv4-mapped IPv6 address counts as the IPv4 address."""
    text, _, zone = str(peer[0]).partition("%")
    address = ip_address(text)
    if not isinstance(address, IPv6Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback or address.is_link_local:
        return f"{text}%{zone}"
    return str(ip_network((address, _SITE), strict=False))


class Shares:
    """*each*: places that one source may have. When half of *all* are taken, each source may have an equal share.

    Of the last quarter nobody gets more than is left for others then: whoever has several sources still leaves some.
    """

    __slots__ = ("_all", "_count", "_each", "_taken")

    def __init__(self, each: int, every: int) -> None:
        self._each = each
        self._all = every
        self._count = 0
        self._taken: dict[str, int] = {}

    def take(self, source: str) -> bool:
        """Return whether *source* may have one more place, and count it if so."""
        own = self._taken.get(source, 0)
        if own >= self._each or self._count >= self._all:
            return False
        if self._count >= self._all // 2 and own >= self._all // (len(self._taken) + 1):
            return False
        if self._count >= self._all * 3 // 4 and own >= self._all - self._count:
            return False
        self._taken[source] = own + 1
        self._count += 1
        return True

    def keep(self, source: str) -> None:
        """Count a place that *source* has had before these shares were made, whatever its share would be now."""
        self._taken[source] = self._taken.get(source, 0) + 1
        self._count += 1

    def give_back(self, source: str) -> None:
        """Note that *source* has one place less."""
        self._count -= 1
        self._taken[source] -= 1
        if not self._taken[source]:
            del self._taken[source]


class PlacesOfPort:
    """The places of one relayed port among its sources, out of those that all ports have, which sandboxes share.

    *of_all*: those of all ports, shared by sandbox. *refused*: is called when a source has no place, or its sandbox.
    """

    __slots__ = ("_of_all", "_of_port", "_refused", "_sandbox")

    def __init__(self, of_port: Shares, of_all: Shares, sandbox: str, refused: Callable[[], None]) -> None:
        self._of_port = of_port
        self._of_all = of_all
        self._sandbox = sandbox
        self._refused = refused

    def take(self, source: str) -> bool:
        """Return whether *source* may have one more place, and count it if so."""
        if self._of_port.take(source):
            if self._of_all.take(self._sandbox):
                return True
            self._of_port.give_back(source)
        self._refused()
        return False

    def keep(self, source: str) -> None:
        """Count a place that *source* has had under an earlier daemon."""
        self._of_port.keep(source)
        self._of_all.keep(self._sandbox)

    def give_back(self, source: str) -> None:
        """Note that *source* has one place less."""
        self._of_port.give_back(source)
        self._of_all.give_back(self._sandbox)
