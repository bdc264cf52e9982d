"""Sets of ports of several protocols: cut, joined, subtracted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

PROTOCOLS = ("tcp", "udp", "sctp")
FIRST, LAST = 1, 65_535


class Span(NamedTuple):
    """Ports *first* to *last*."""

    first: int
    last: int


Spans = tuple[Span, ...]
"""Apart from each other, in order."""


def _joined(spans: Iterable[Span]) -> Spans:
    made: list[Span] = []
    for span in sorted(spans):
        if made and span.first <= made[-1].last + 1:
            made[-1] = Span(made[-1].first, max(made[-1].last, span.last))
        else:
            made.append(span)
    return tuple(made)


def _cut(left: Spans, right: Spans) -> Spans:
    found = (Span(max(one.first, other.first), min(one.last, other.last)) for one in left for other in right)
    return _joined(span for span in found if span.first <= span.last)


def _without(left: Spans, right: Spans) -> Spans:
    for gone in right:
        left = tuple(
            piece
            for span in left
            for piece in (Span(span.first, min(span.last, gone.first - 1)), Span(max(span.first, gone.last + 1), span.last))
            if piece.first <= piece.last
        )
    return _joined(left)


@dataclass(frozen=True, slots=True)
class Ports:
    """*others*: also every protocol that has no ports of these three, such as ICMP."""

    tcp: Spans = ()
    udp: Spans = ()
    sctp: Spans = ()
    others: bool = False

    @classmethod
    def of(cls, protocol: str, *ports: int | tuple[int, int]) -> Ports:
        """Return *ports* (numbers, or the first and last of a range) of one protocol."""
        spans = _joined(Span(*port) if isinstance(port, tuple) else Span(port, port) for port in ports)
        tcp, udp, sctp = (spans if protocol == one else () for one in PROTOCOLS)
        return cls(tcp, udp, sctp)

    def spans(self) -> Iterator[tuple[str, Span]]:
        """Yield (protocol, ports) of all of it but *others*."""
        for protocol in PROTOCOLS:
            for span in getattr(self, protocol):
                yield protocol, span

    def has(self, protocol: str, port: int) -> bool:
        """Return whether it holds *port*; of a protocol without ports, that too."""
        if protocol not in PROTOCOLS:
            return self.others
        return any(span.first <= port <= span.last for span in getattr(self, protocol))

    def __bool__(self) -> bool:
        return bool(self.tcp or self.udp or self.sctp or self.others)

    # The same few are put together for each address of each answer, and often with nothing.

    def __and__(self, other: Ports) -> Ports:
        return self if self is other else _both(self, other)

    def __or__(self, other: Ports) -> Ports:
        return self if not other else other if not self else _either(self, other)

    def __sub__(self, other: Ports) -> Ports:
        return self if not other else _first_alone(self, other)

    def __str__(self) -> str:
        if self == EVERYTHING:
            return "everything"
        listed = [f"{span.first}{'' if span.first == span.last else f'-{span.last}'}/{protocol}" for protocol, span in self.spans()]
        return ", ".join([*listed, *(["other protocols"] if self.others else [])]) or "nothing"


@lru_cache(4096)
def _both(one: Ports, other: Ports) -> Ports:
    return Ports(_cut(one.tcp, other.tcp), _cut(one.udp, other.udp), _cut(one.sctp, other.sctp), one.others and other.others)


@lru_cache(4096)
def _either(one: Ports, other: Ports) -> Ports:
    tcp, udp, sctp = _joined(one.tcp + other.tcp), _joined(one.udp + other.udp), _joined(one.sctp + other.sctp)
    return Ports(tcp, udp, sctp, one.others or other.others)


@lru_cache(4096)
def _first_alone(one: Ports, other: Ports) -> Ports:
    tcp, udp, sctp = _without(one.tcp, other.tcp), _without(one.udp, other.udp), _without(one.sctp, other.sctp)
    return Ports(tcp, udp, sctp, one.others and not other.others)


_ALL = (Span(FIRST, LAST),)
NOTHING = Ports()
EVERYTHING = Ports(_ALL, _ALL, _ALL, others=True)
DNS = Ports.of("tcp", 53, 853) | Ports.of("udp", 53, 853)
"""Where name servers are asked: Do53, DNS over TLS (RFC 7858) and over QUIC (RFC 9250)."""
WEB = (80, 443)
"""What a rule about a name opens that says no port."""
