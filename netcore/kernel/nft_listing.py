"""What our nftables tables hold now, to be compared with what they should. Blocking; reads only.

Chains and rules are compared with those that our text makes in a namespace made for that: so nothing has to know how
nftables writes a rule. Only the elements differ from host to host.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netcore.desired.firewall import SETS, render_skeleton
from netcore.desired.objects import Element, FirewallSet
from netcore.errors import KernelError
from netcore.kernel import netns, nf_tables, nft
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request, find, walk
from netcore.kernel.ruleset.data_types import encode_fields

_CHAIN_ATTRIBUTES = (3, 4, 5, 7)
_RULE_ATTRIBUTES = (2, 4)
_SET_ATTRIBUTES = (2, 3, 5, 7)

Structure = frozenset[tuple[str, int, tuple[bytes | None, ...]]]
"""(family or kind, place, attributes) of chains, rules and sets."""


@dataclass(frozen=True, slots=True)
class ElementDrift:
    """What sets lack, and what they should not have (as encoded keys): of a map also what leads elsewhere than it should."""

    missing: tuple[Element, ...]
    foreign: tuple[tuple[FirewallSet, bytes], ...]


def structure(families: Iterable[str] = ("inet", "bridge")) -> Structure:
    """Return the chains, rules and sets of our tables in the namespace of the calling thread, without elements."""
    found: set[tuple[str, int, tuple[bytes | None, ...]]] = set()
    with NetlinkSocket(NETFILTER) as netlink:
        for family in families:
            for what, type_, attributes in (
                ("chain", nf_tables.GETCHAIN, _CHAIN_ATTRIBUTES),
                ("rule", nf_tables.GETRULE, _RULE_ATTRIBUTES),
            ):
                places: dict[bytes, int] = {}
                for body in _dump(netlink, type_, family):
                    values = dict(walk(body))
                    chain = values.get(2 if what == "rule" else 3, b"")
                    places[chain] = places.get(chain, 0) + 1
                    found.add((f"{family} {what}", places[chain], tuple(values.get(number) for number in attributes)))
            for body in _dump(netlink, nf_tables.GETTABLE, family):
                # One that is dormant has rules that nobody asks.
                found.add((f"{family} table", 0, (find(body, 2),)))
            for body in _dump(netlink, nf_tables.GETSET, family):
                values = dict(walk(body))
                found.add((f"{family} set", 0, tuple(values.get(number) for number in _SET_ATTRIBUTES)))
    return frozenset(found)


def _dump(netlink: NetlinkSocket, type_: int, family: str) -> list[bytes]:
    # All tables are listed, whatever the body says.
    body = nf_tables.head(family) if type_ == nf_tables.GETTABLE else nf_tables.of_table(family)
    request = Request(type_, 0, body, "list", f"table {family} {nf_tables.OURS}")
    try:
        listed = netlink.dump(request)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
    # The kernel does not leave out other tables for every kind.
    ours, number = nf_tables.OURS.encode() + b"\0", nf_tables.FAMILIES[family]
    return [message[nf_tables.BODY :] for message in listed if find(message[nf_tables.BODY :], 1) == ours and message[16] == number]


_reference: list[Structure] = []


def wanted_structure() -> Structure:
    """Return what `structure` should be. Made once, in a namespace of its own."""
    if not _reference:

        def make() -> Structure:
            nft.apply_text(render_skeleton())
            return structure()

        _reference.append(netns.run_in_temporary(make))
    return _reference[0]


def different_parts() -> list[tuple[str, str, str]]:
    """Return (family, kind, name) of what of `structure` is not as it should be; of a table that is gone the table alone."""
    parts = sorted({_part(entry) for entry in structure() ^ wanted_structure()})
    gone = {family for family, kind, _ in parts if kind == "table"}
    return [part for part in parts if part[0] not in gone or part[1] == "table"]


def _part(entry: tuple[str, int, tuple[bytes | None, ...]]) -> tuple[str, str, str]:
    family, kind = entry[0].split()
    name = (entry[2][0] or b"").rstrip(b"\0").decode(errors="replace") if kind != "table" else ""
    return family, kind, name


def element_drift(elements: Iterable[Element]) -> ElementDrift:
    """Compare all sets of our tables with *elements*, in the namespace of the calling thread."""
    wanted: dict[tuple[str, str], dict[bytes, Element]] = {(declared.table, declared.name): {} for declared in SETS}
    for element in elements:
        wanted[element.set.table, element.set.name][nft.encoded_key(element)] = element
    missing: list[Element] = []
    foreign: list[tuple[FirewallSet, bytes]] = []
    with NetlinkSocket(NETFILTER) as netlink:
        for declared in SETS:
            present = _elements(netlink, declared)
            mine = wanted[declared.table, declared.name]
            missing += [element for key, element in mine.items() if not _is_there(element, key, present)]
            foreign += [(declared, key) for key in present if key not in mine or not _is_there(mine[key], key, present)]
    return ElementDrift(tuple(missing), tuple(foreign))


def _is_there(element: Element, key: bytes, present: Mapping[bytes, bytes]) -> bool:
    if key not in present:
        return False
    return not element.data or present[key] == encode_fields(element.set.data_types, element.data)


def _elements(netlink: NetlinkSocket, declared: FirewallSet) -> dict[bytes, bytes]:
    """Return key → datum of the elements of one set."""
    found: dict[bytes, bytes] = {}
    try:
        for element in nf_tables.list_elements(netlink, declared.table, declared.name):
            key, datum = find(element, 1, 1), find(element, 2, 1)
            if key is not None:
                # The kernel leaves the end out where it is the beginning.
                end = (find(element, 10, 1) or key) if declared.interval else b""
                found[key + end] = datum or b""
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return {}
        raise
    return found
