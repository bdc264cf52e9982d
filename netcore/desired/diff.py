"""The one differ: (objects before, objects after) → ordered steps. Pure.

Create and replace go first, in the order in which objects rest on each other; deletes follow in the opposite order.
So a default route moves by one replace before the link of the old one goes, and firewall elements go before links.
Undo is the diff between what was reached and what was there before: there is no hand-written inverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from netcore.desired.objects import (
    HOST,
    Address,
    Announcement,
    Bridge,
    DummyLink,
    Element,
    EspBlock,
    EspPolicy,
    EspState,
    Forwarding,
    Hairpin,
    HostsLines,
    Ipvlan,
    KernelObject,
    Key,
    LinkUp,
    Macvlan,
    MovedLink,
    Neighbor,
    Route,
    Scalar,
    Sysctl,
    Veth,
    VlanLink,
    VxlanLink,
)
from netcore.model import SandboxId


@dataclass(frozen=True, slots=True)
class Step:
    """One change: create (*before* None), delete (*after* None) or replace."""

    before: KernelObject | None
    after: KernelObject | None

    @property
    def subject(self) -> KernelObject:
        """The object that the step is about, as it will be, or as it was."""
        subject = self.after if self.after is not None else self.before
        assert subject is not None
        return subject

    def describe(self) -> str:
        """Return one line for `--dry-run` and for errors."""
        verb = "create" if self.before is None else "delete" if self.after is None else "replace"
        return f"{verb} {describe(self.subject)}"


def diff(before: Iterable[KernelObject], after: Iterable[KernelObject]) -> tuple[Step, ...]:
    """Return the steps that lead from *before* to *after*, in the order in which they must be done."""
    old = {item.key: item for item in before}
    new = {item.key: item for item in after}
    changes = [Step(old.get(key), item) for key, item in new.items() if old.get(key) != item]
    changes.sort(key=lambda step: rank(step.subject))
    gone_links = {link for item in _deleted(old, new) for link in _links(item)}
    deletes = [Step(item, None) for item in _deleted(old, new) if not _goes_with(item, gone_links)]
    deletes.sort(key=lambda step: -rank(step.subject))
    return (*changes, *deletes)


def _deleted(old: dict[Key, KernelObject], new: dict[Key, KernelObject]) -> list[KernelObject]:
    return [item for key, item in old.items() if key not in new]


def _links(item: KernelObject) -> tuple[tuple[str | None, str], ...]:
    """Return the (sandbox id, ifname) of each link that goes when *item* is deleted."""
    match item:
        case Bridge(reused=False) | VlanLink() | DummyLink() | VxlanLink():
            return ((HOST, item.name),)
        case Macvlan() | Ipvlan() | MovedLink():
            return ((item.sandbox_id, item.ifname),)
        case Veth():
            return ((HOST, item.host_ifname), (item.sandbox_id, item.ifname))
    return ()


def _goes_with(item: KernelObject, links: set[tuple[str | None, str]]) -> bool:
    """Return whether the kernel removes *item* by itself with a link that goes, or its deletion means nothing."""
    match item:
        case Address() | LinkUp() | Neighbor() | Route():
            return (item.sandbox_id, item.ifname) in links
        case Hairpin():
            return (HOST, item.host_ifname) in links
        case Forwarding():
            return (HOST, item.ifname) in links
        case Sysctl() | Announcement():
            return True
    return False


def rank(item: KernelObject) -> int:
    """Return the place of *item* in the order of creation."""
    match item:
        case Bridge() | VlanLink() | DummyLink():
            return 10
        case EspState():
            # Before anything is sent to the host, and before it must be encrypted.
            return 8
        case EspPolicy() | EspBlock():
            return 9
        case VxlanLink():
            return 13
        case Forwarding():
            return 14
        case Sysctl():
            # The host's switches come behind the bridge they are about, a sandbox's behind its link.
            return 11 if item.sandbox_id is HOST else 42
        case Address():
            return 12 if item.sandbox_id is HOST else 43
        case Veth() | Macvlan() | Ipvlan() | MovedLink():
            return 40
        case Hairpin():
            return 41
        case LinkUp():
            return 44
        case Neighbor():
            return 47 if item.sandbox_id is HOST else 45
        case Route():
            return 46
        case Element():
            return 50
        case HostsLines():
            return 60
        case Announcement():
            return 70
    assert_never(item)


def describe(item: KernelObject) -> str:
    """Return *item* in the words of the `ip` and `nft` commands."""
    match item:
        case Bridge():
            return f"link {item.name} type bridge address {item.mac} mtu {item.mtu}"
        case Veth():
            return (
                f"link {item.host_ifname} type veth master {item.bridge} mtu {item.mtu}"
                f" peer {item.ifname} address {item.mac}{_where(item.sandbox_id)}"
            )
        case VxlanLink():
            return f"link {item.name} type vxlan id {item.vni} dstport {item.port} local {item.local} master {item.bridge} mtu {item.mtu}"
        case EspState():
            return f"esp state {item.source} to {item.target} spi {item.spi:#x}"
        case EspBlock():
            return f"esp block {'out' if item.outgoing else 'in'} {item.own} udp dport {item.port}"
        case EspPolicy():
            return f"esp policy {'out' if item.outgoing else 'in'} {item.source} to {item.target} udp dport {item.port}"
        case Forwarding():
            return f"fdb {item.mac} dev {item.ifname} dst {item.vtep} static"
        case VlanLink():
            return f"link {item.name} type vlan id {item.vid} link {item.base}"
        case DummyLink():
            return f"link {item.name} type dummy mtu {item.mtu}"
        case Macvlan():
            address = f" address {item.mac}" if item.mac else ""
            return f"link {item.ifname} type macvlan mode {item.mode} link {item.parent}{address} mtu {item.mtu}{_where(item.sandbox_id)}"
        case Ipvlan():
            return f"link {item.ifname} type ipvlan mode {item.mode} {item.flag} link {item.parent} mtu {item.mtu}{_where(item.sandbox_id)}"
        case MovedLink():
            return f"link {item.source} moved to {item.ifname}{_where(item.sandbox_id)}"
        case Sysctl():
            return f"sysctl {item.path}={item.value}{_where(item.sandbox_id)}"
        case Address():
            return f"address {item.interface} dev {item.ifname}{_where(item.sandbox_id)}"
        case Hairpin():
            return f"bridge port {item.host_ifname} hairpin on"
        case LinkUp():
            return f"link {item.ifname} up{_where(item.sandbox_id)}"
        case Neighbor():
            return f"neighbor {item.address} lladdr {item.mac} dev {item.ifname} permanent{_where(item.sandbox_id)}"
        case Route():
            via = f" via {item.gateway}" if item.gateway is not None else ""
            return f"route {item.destination}{via} dev {item.ifname}{_where(item.sandbox_id)}"
        case Element():
            data = f" : {_join(item.data)}" if item.data else ""
            return f"element {item.table} {item.set} {{ {_join(item.fields)}{data} }}"
        case HostsLines():
            return f"hosts lines {item.path}: {'; '.join(line.replace(chr(9), ' ') for line in item.lines)}"
        case Announcement():
            return f"announcement of {', '.join(map(str, item.addresses))} on {item.ifname}{_where(item.sandbox_id)}"
    assert_never(item)


def _where(sandbox_id: SandboxId | None) -> str:
    return "" if sandbox_id is HOST else f" in {sandbox_id[:12]}"


def _join(fields: tuple[Scalar, ...]) -> str:
    return " . ".join(map(str, fields))
