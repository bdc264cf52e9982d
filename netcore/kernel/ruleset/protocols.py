"""Which protocols a rule has asked for already, and what asks for the one that its next field needs. Pure.

A field has a meaning only in a packet that has its header, so a rule that names `tcp dport` also asks whether this is TCP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netcore.kernel.ruleset import expressions
from netcore.kernel.ruleset.data_types import TYPES
from netcore.kernel.ruleset.expressions import EQUAL, LINK, NETWORK, TRANSPORT
from netcore.kernel.ruleset.fields import FIELDS, Field, Payload
from netcore.kernel.ruleset.words import RulesetError

_IN_FAMILY: Mapping[str, Mapping[int, str]] = {"inet": {}, "ip": {NETWORK: "ip"}, "ip6": {NETWORK: "ip6"}, "bridge": {LINK: "ether"}}
"""Family → what each packet of it has."""
_NETWORK = {"ip": (b"\2", b"\x08\x00"), "ip6": (b"\x0a", b"\x86\xdd"), "arp": (b"\3", b"\x08\x06")}
"""Protocol → its numbers in `meta nfproto` and in a frame."""
_TRANSPORT = {"icmp": b"\1", "igmp": b"\2", "tcp": b"\6", "udp": b"\x11", "icmpv6": b"\x3a", "sctp": b"\x84"}
_ON = {"icmp": "ip", "igmp": "ip", "icmpv6": "ip6"}
"""Protocols that belong to one below."""
_ETHERNET = TYPES["iface_type"].octets("ether")
_LAYERS: Mapping[tuple[str, ...], int] = {
    ("meta", "nfproto"): NETWORK,
    ("meta", "protocol"): NETWORK,
    ("ether", "type"): NETWORK,
    ("meta", "l4proto"): TRANSPORT,
    ("ip", "protocol"): TRANSPORT,
    ("ip6", "nexthdr"): TRANSPORT,
}
"""Fields that say which protocol is above."""
_SAYS = {FIELDS[name].source: layer for name, layer in _LAYERS.items()}
_NAMES = {
    NETWORK: {number: name for name, numbers in _NETWORK.items() for number in numbers},
    TRANSPORT: {number: name for name, number in _TRANSPORT.items()},
}


class Protocols:
    """What is known of the packet at one place of a rule in *family*."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._known = dict(_IN_FAMILY[family])

    def learn(self, field: Field, value: bytes) -> None:
        """Note that the rule goes on only if *field* is *value*."""
        layer = _SAYS.get(field.source)
        if layer is not None and value in _NAMES[layer]:
            self._known[layer] = _NAMES[layer][value]

    def require(self, field: Field) -> Iterator[bytes]:
        """Yield what lets only packets through that have *field*."""
        yield from self._require(field.needs, in_own_header=isinstance(field.source, Payload))

    def require_protocol(self, protocol: str) -> Iterator[bytes]:
        """Yield what lets only packets of *protocol* through."""
        yield from self._require(protocol, in_own_header=False)

    def _require(self, protocol: str, *, in_own_header: bool) -> Iterator[bytes]:
        if not protocol or protocol in self._known.values():
            return
        if protocol == "ether":
            self._known[LINK] = protocol
            yield from _compared(("meta", "iiftype"), _ETHERNET)
        elif protocol in _NETWORK:
            yield from self._require_network(protocol, in_own_header=in_own_header)
        else:
            yield from self._require(_ON.get(protocol, ""), in_own_header=False)
            if self._known.get(TRANSPORT) is not None:
                raise RulesetError(f"ruleset: a rule asks for {self._known[TRANSPORT]} and {protocol}")
            self._known[TRANSPORT] = protocol
            yield from _compared(("meta", "l4proto"), _TRANSPORT[protocol])

    def _require_network(self, protocol: str, *, in_own_header: bool) -> Iterator[bytes]:
        if self._known.get(NETWORK) is not None:
            raise RulesetError(f"ruleset: a rule asks for {self._known[NETWORK]} and {protocol}")
        self._known[NETWORK] = protocol
        number, in_frame = _NETWORK[protocol]
        if self._family == "inet":
            yield from _compared(("meta", "nfproto"), number)
        else:
            by_meta = in_own_header and protocol != "arp"
            yield from _compared(("meta", "protocol") if by_meta else ("ether", "type"), in_frame)


def _compared(name: tuple[str, ...], value: bytes) -> Iterator[bytes]:
    yield from FIELDS[name].load(expressions.register(0))
    yield expressions.compare(expressions.register(0), EQUAL, value)
