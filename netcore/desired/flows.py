"""Which connections the kernel must forget because steps moved their ends. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from netcore.desired.diff import Step
from netcore.desired.firewall import DNAT, DNAT_ANY, SOURCE, TARGET6
from netcore.desired.objects import Address, Element
from netcore.model import IPAddress

_OWN_ADDRESSES = (SOURCE[4], TARGET6)
"""Sets that hold each address of an endpoint once, as third field."""

_PUBLISHED = (*DNAT.values(), *DNAT_ANY.values())
"""Maps whose keys begin with the protocol and end with the host's port."""

_RELAYED = IPv6Address("::1")
"""What comes to it never goes by the kernel's translation."""

Target = tuple[IPAddress, int]
"""Address and port."""


class PortMove(NamedTuple):
    """Where a port that the host publishes led *before*, and where it leads *after*, None: nowhere. *address*: of the host, None: any."""

    family: int
    protocol: str
    address: IPAddress | None
    port: int
    before: Target | None
    after: Target | None


class FlowEnds(NamedTuple):
    """What the kernel has of a flow: whom the client wrote to, and who answers."""

    family: int
    protocol: str
    destination: Target
    answers: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
    """Tracked connections: all of *addresses*, and those that *ports* led astray."""

    addresses: frozenset[IPAddress] = frozenset()
    ports: frozenset[PortMove] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.ports)

    def __or__(self, other: Flows) -> Flows:
        return Flows(addresses=self.addresses | other.addresses, ports=self.ports | other.ports)


def stale_flows(steps: Iterable[Step]) -> Flows:
    """Return the flows that *steps* lead astray: of addresses that went, and to ports that were published or unpublished.

    Flows to a port that led to an address that went are flows of this address.
    """
    addresses: set[IPAddress] = set()
    moves: list[PortMove] = []
    for step in steps:
        element = step.subject
        if not isinstance(element, Element):
            continue
        if element.set in _PUBLISHED:
            # What is only put right was not there for a while.
            before = _target(step.before) if step.before != step.after else None
            moves.append(_move(element, before, _target(step.after)))
        elif step.after is None and element.set in _OWN_ADDRESSES:
            addresses |= _own_address(element)
    return Flows(
        addresses=frozenset(addresses),
        ports=frozenset(move for move in moves if move.after is not None or move.before is None or move.before[0] not in addresses),
    )


def is_astray(flow: FlowEnds, move: PortMove, is_of_host: Callable[[IPAddress], bool]) -> bool:
    """Return whether *flow* goes where *move* no longer leads: to the target before, or past one that there is now, to the host itself.

    Flows of others to the same port number are none of it, nor are those that asked for a target by its own address. Those that began
    after the move are right.
    """
    address, port = flow.destination
    if (flow.family, flow.protocol, port) != (move.family, move.protocol, move.port) or move.address not in (None, address):
        return False
    if flow.destination == move.before or address == _RELAYED:
        return False
    if flow.answers == move.before:
        return move.before != move.after
    return move.after is not None and flow.answers == flow.destination and is_of_host(address)


LedTo = tuple[int, str, int, Target | None]
"""(family, protocol, port of the host, target)."""


def led_to(moves: Iterable[PortMove]) -> frozenset[LedTo]:
    """Return where ports lead after *moves*."""
    return frozenset((move.family, move.protocol, move.port, move.after) for move in moves if move.after is not None)


def led_from(move: PortMove) -> LedTo:
    """Return where a port led before *move*: if it leads there again, flows that *move* led astray are right again."""
    return move.family, move.protocol, move.port, move.before


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


def _target(element: object) -> Target | None:
    if not isinstance(element, Element):
        return None
    address, port = element.data
    assert isinstance(address, IPv4Address | IPv6Address)
    assert isinstance(port, int)
    return address, port


def _move(element: Element, before: Target | None, after: Target | None) -> PortMove:
    protocol, *address, port = element.fields
    assert element.set.family is not None
    assert isinstance(port, int)
    (own,) = address or (None,)
    assert own is None or isinstance(own, IPv4Address | IPv6Address)
    return PortMove(element.set.family, str(protocol), own, port, before, after)


def _own_address(element: Element) -> set[IPAddress]:
    """Return the address of an endpoint that *element* binds; none if it is one that many have."""
    address = element.fields[2]
    if not isinstance(address, IPv4Address | IPv6Address) or address.is_unspecified or address.is_link_local:
        return set()
    return {address}
