"""Which connections the kernel must forget because steps moved their ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netcore.desired.diff import Step
from netcore.desired.firewall import DNAT, DNAT_ANY, SOURCE, TARGET6
from netcore.desired.objects import Address, Element
from netcore.model import IPAddress

_OWN_ADDRESSES = (SOURCE[4], TARGET6)
"""Sets that hold each address of an endpoint once, as third field."""

_PUBLISHED = (*DNAT.values(), *DNAT_ANY.values())
"""Maps whose keys begin with the protocol and end with the host's port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """Tracked connections: all of *addresses*, and those to the host's *ports* (family, protocol, port)."""

    addresses: frozenset[IPAddress] = frozenset()
    ports: frozenset[tuple[int, str, int]] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.ports)

    def __or__(self, other: Flows) -> Flows:
        return Flows(addresses=self.addresses | other.addresses, ports=self.ports | other.ports)


def stale_flows(steps: Iterable[Step]) -> Flows:
    """Return the flows that *steps* lead astray: of addresses that went, and to ports that were published or unpublished.

    Flows to a port that led to an address that went are flows of this address.
    """
    addresses: set[IPAddress] = set()
    moved: set[tuple[int, str, int]] = set()
    unpublished: list[Element] = []
    for step in steps:
        element = step.subject
        if not isinstance(element, Element):
            continue
        if element.set in _PUBLISHED and step.after is None:
            unpublished.append(element)
        elif element.set in _PUBLISHED:
            moved.add(_port(element))
        elif step.after is None and element.set in _OWN_ADDRESSES:
            addresses |= _own_address(element)
    moved.update(_port(element) for element in unpublished if element.data[0] not in addresses)
    return Flows(addresses=frozenset(addresses), ports=frozenset(moved))


def addresses_brought(steps: Iterable[Step]) -> set[IPAddress]:
    """Return the addresses that endpoints and bridges have after *steps*, as far as these say so."""
    brought: set[IPAddress] = set()
    for step in steps:
        match step.after:
            case Address(interface=interface):
                brought.add(interface.ip)
            case Element() as element if element.set in _OWN_ADDRESSES:
                brought |= _own_address(element)
    return brought


def _port(element: Element) -> tuple[int, str, int]:
    """Return (family, protocol, port of the host) that *element* publishes."""
    port = element.fields[-1]
    assert element.set.family is not None
    assert isinstance(port, int)
    return element.set.family, str(element.fields[0]), port


def _own_address(element: Element) -> set[IPAddress]:
    """Return the address of an endpoint that *element* binds; none if it is one that many have."""
    address = element.fields[2]
    if not isinstance(address, IPv4Address | IPv6Address) or address.is_unspecified or address.is_link_local:
        return set()
    return {address}
