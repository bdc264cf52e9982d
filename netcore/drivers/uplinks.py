"""What networks need of the links that traffic leaves by: forwarding, and that nobody else gains from it. Pure.

It is shared by all networks and goes with the last of them. A sysctl that berth itself has switched on is put back then;
until then the firewall drops what was not forwarded before: packets that come in on such a link and are not for a
bridge of ours. Where forwarding was on already nothing is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from netcore.desired import firewall
from netcore.desired.egress_rules import OUTSIDE_HOST
from netcore.desired.objects import HOST, Element, KernelObject, Sysctl
from netcore.drivers.facts import Facts
from netcore.model import Network

ALL4, ALL6 = "net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"
_ON, _OFF = "1", "0"
_ACCEPT_ALWAYS, _ACCEPT_AS_HOST = "2", "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedSysctl:
    """A sysctl of the host that berth has changed. *original*: its value before. *everywhere*: forwarding of all links then."""

    path: str
    value: str
    original: str
    everywhere: str | None = None


def forwarding4(ifname: str) -> str:
    """Return the path of what lets IPv4 packets that came in on a link be forwarded."""
    return f"net/ipv4/conf/{ifname}/forwarding"


def forwarding6(ifname: str) -> str:
    """Return the same for IPv6, since Linux 6.17."""
    return f"net/ipv6/conf/{ifname}/force_forwarding"


def accept_ra(ifname: str) -> str:
    """Return the path of what decides whether routes are learned from router advertisements on a link."""
    return f"net/ipv6/conf/{ifname}/accept_ra"


def sysctl_paths(uplinks: Iterable[str], *, force_forwarding: bool) -> list[str]:
    """Return the sysctls that `Facts.sysctls` must have."""
    paths = [ALL4, ALL6]
    for ifname in uplinks:
        paths += [forwarding4(ifname), forwarding6(ifname) if force_forwarding else accept_ra(ifname)]
    return paths


def everywhere(path: str) -> str | None:
    """Return the sysctl that switches forwarding for all links at once, where *path* does it for one; else None."""
    if path.endswith("/forwarding") and path.startswith("net/ipv4/"):
        return ALL4
    return ALL6 if path.endswith("/force_forwarding") else None


def of_renamed_link(path: str, old: str, new: str) -> str:
    """Return the path that a sysctl has once the link *old* is called *new*."""
    return path.replace(f"/conf/{old}/", f"/conf/{new}/")


def taken_over(facts: Facts, switched: Mapping[str, SwitchedSysctl]) -> list[SwitchedSysctl]:
    """Return those of *switched* that are no longer berth's: somebody has made the whole host a router since (Docker does)."""
    return [
        one
        for one in switched.values()
        if one.everywhere == _OFF and (path := everywhere(one.path)) is not None and path not in switched and facts.sysctls.get(path) == _ON
    ]


def objects(routed: Collection[Network], facts: Facts, switched: Mapping[str, SwitchedSysctl]) -> tuple[KernelObject, ...]:
    """Return what must exist for all networks together. *routed*: those that the host routes to the outside.

    *switched*: sysctls that berth has changed already, by path.
    """
    made: list[KernelObject] = []
    if any(network.ipv4 for network in routed):
        for ifname in facts.uplinks_of(4):
            made += _link(ifname, 4, forwarding4(ifname), facts, switched)
    if facts.ipv6 and any(network.ipv6 for network in routed):
        made += _ipv6(facts, switched)
    if facts.firewall and routed:
        made += [Element(set=OUTSIDE_HOST[subnet.version], fields=(subnet.network_address,)) for subnet in facts.outside]
    return tuple(made)


def _link(ifname: str, family: int, path: str, facts: Facts, switched: Mapping[str, SwitchedSysctl]) -> Iterator[KernelObject]:
    if path not in switched and facts.sysctls.get(path) == _ON:
        yield Sysctl(sandbox_id=HOST, path=path, value=_ON, optional=True)
        return
    if facts.firewall:
        yield Element(set=firewall.CLOSED[family], fields=(ifname,))
    yield Sysctl(sandbox_id=HOST, path=path, value=_ON, optional=True, original=_OFF)


def _ipv6(facts: Facts, switched: Mapping[str, SwitchedSysctl]) -> Iterator[KernelObject]:
    if ALL6 not in switched and facts.sysctls.get(ALL6) == _ON:
        yield Sysctl(sandbox_id=HOST, path=ALL6, value=_ON)
        return
    if facts.force_forwarding:
        for ifname in facts.uplinks_of(6):
            yield from _link(ifname, 6, forwarding6(ifname), facts, switched)
        return
    # Before Linux 6.17 IPv6 forwards for all links or none; uplinks then need 2 to keep their learned route.
    for ifname in facts.uplinks_of(6):
        path = accept_ra(ifname)
        if path in switched or facts.sysctls.get(path) == _ACCEPT_AS_HOST:
            yield Sysctl(sandbox_id=HOST, path=path, value=_ACCEPT_ALWAYS, optional=True, original=_ACCEPT_AS_HOST)
    if facts.firewall:
        yield Element(set=firewall.CLOSED_FAMILIES, fields=("ipv6",))
    yield Sysctl(sandbox_id=HOST, path=ALL6, value=_ON, original=_OFF)
