"""Name servers to forward to, and the sets of them that views refer to. Frozen.

Text forms: `10.0.0.53`, `fe80::53%eth0`, with a port `10.0.0.53:5353` or `[fd00::53]:5353`, and with a transport
`tcp://10.0.0.53`, `tls://1.1.1.1`, `tls://[2606:4700::1111]:853#cloudflare-dns.com` (RFC 7858; behind `#` the name that
its certificate must have, the address without one).
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import msgspec

PORTS = {"udp": 53, "tcp": 53, "tls": 853}


class Upstream(msgspec.Struct, frozen=True, gc=False):
    """A name server. *sandbox_id*: the sandbox from whose namespace it is asked, None: from the host's.

    *transport*: `udp`, `tcp` or `tls`. *name*: the name in its certificate, None: its address is there.
    """

    address: str
    port: int = 53
    sandbox_id: str | None = None
    transport: str = "udp"
    name: str | None = None

    def __str__(self) -> str:
        host = self.address if self.port == PORTS[self.transport] else f"{self._bracketed()}:{self.port}"
        if self.transport == "udp":
            return host
        certificate = f"#{self.name}" if self.name else ""
        return f"{self.transport}://{self._bracketed() if host == self.address else host}{certificate}"

    def _bracketed(self) -> str:
        return f"[{self.address}]" if ":" in self.address else self.address


def parse(text: str, sandbox_id: str | None = None) -> Upstream:
    """Return the upstream written as *text*; ValueError says what is wrong with it."""
    transport, separator, rest = text.partition("://")
    if not separator:
        transport, rest = "udp", text
    if transport not in PORTS:
        raise ValueError(f"{text!r}: {transport!r} is no transport; use udp, tcp or tls")
    rest, _, name = rest.partition("#")
    if name and transport != "tls":
        raise ValueError(f"{text!r}: a name behind # is for tls:// only; a port goes behind a colon")
    address, port = _split(rest)
    if not is_address(address):
        raise ValueError(f"{text!r} is not an IP address")
    if port and not (port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{text!r}: {port!r} is no port")
    return Upstream(_unmapped(address), int(port) if port else PORTS[transport], sandbox_id, transport, name or None)


def _unmapped(text: str) -> str:
    """Return the address *text*, or the IPv4 address that is mapped in it: both are the same server."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return text if mapped is None else str(mapped)


def _split(text: str) -> tuple[str, str]:
    """Return (address, port or ""); an IPv6 address takes a port in brackets only."""
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        return (address, port.removeprefix(":")) if bracket and (not port or port.startswith(":")) else (text, "")
    if text.count(":") == 1:
        address, _, port = text.partition(":")
        return address, port
    return text, ""


def is_address(text: str) -> bool:
    """Return whether *text* is an IP address, a zone included."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class UpstreamSet:
    """The upstreams for a set of queries. One object for each such set: answers are cached for it alone.

    *reason* says why there are no servers, where there are none. *is_trusted*: their answers may point into our networks.
    """

    __slots__ = ("is_trusted", "reason", "servers")

    def __init__(
        self, servers: tuple[Upstream, ...] = (), reason: str = "no nameserver is configured", *, is_trusted: bool = False
    ) -> None:
        self.servers = servers
        self.reason = reason
        self.is_trusted = is_trusted
