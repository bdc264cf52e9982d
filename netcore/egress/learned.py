"""Which rules a sandbox would have needed for what it has used. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.egress import read, special
from netcore.egress.ports import DNS, PROTOCOLS
from netcore.egress.surroundings import HOST, KnownNetwork, Surroundings
from netcore.errors import InvalidRequest
from netcore.model import IPAddress


def needed(around: Surroundings, names: Iterable[str], address: IPAddress, protocol: str, port: int) -> list[str]:
    """Return the rules for a connection to *address*, which all of *names* were answered with; the narrowest that there are."""
    ports = f":{port}" if protocol in PROTOCOLS else ""
    suffix = f"{ports}/{protocol}" if protocol in ("udp", "sctp") else ports
    place = around.place(address)
    if place == HOST:
        return _rules([f"host{suffix}"])
    if isinstance(place, KnownNetwork):
        return _rules([f"network:{place.name}{suffix}"])
    closed = around.why_closed(address)
    if closed in (None, special.IS_PRIVATE) and ports and not DNS.has(protocol, port):
        private = "+private" if closed is not None else ""
        # QUIC falls back to TCP, where names are looked at.
        behind = ":443" if suffix == ":443/udp" else suffix
        found = _rules(f"{name}{private}{behind}" for name in names)
        if found:
            return found
    target = f"[{address}]" if address.version == 6 and ports else str(address)
    return _rules([f"{target}{suffix}"])


def _rules(texts: Iterable[str]) -> list[str]:
    """Return those of *texts* that are rules, as they print."""
    made = []
    for text in texts:
        try:
            made.append(str(read.rule(text)))
        except InvalidRequest:
            continue
    return made
