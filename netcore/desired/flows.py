"""Which connections the kernel must forget because steps moved their ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from netcore.desired.diff import Step
from netcore.desired.firewall import DNAT, DNAT_ANY, SOURCE, TARGET6
from netcore.desired.objects import Element
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


def stale_flows(steps: Iterable[Step]) -> Flows:
    """Return the flows that *steps* lead astray: of addresses that went, and to ports that were published or unpublished."""
    addresses: set[IPAddress] = set()
    ports: set[tuple[int, str, int]] = set()
    for step in steps:
        element = step.subject
        if not isinstance(element, Element):
            continue
        if element.set in _PUBLISHED:
            port = element.fields[-1]
            assert element.set.family is not None
            assert isinstance(port, int)
            ports.add((element.set.family, str(element.fields[0]), port))
        elif step.after is None and element.set in _OWN_ADDRESSES:
            address = element.fields[2]
            if isinstance(address, IPv4Address | IPv6Address) and not address.is_unspecified and not address.is_link_local:
                addresses.add(address)
    return Flows(addresses=frozenset(addresses), ports=frozenset(ports))
