"""The option `host_access` of a network: which services of the host its sandboxes reach. Pure."""

from __future__ import annotations

from netcore import limits
from netcore.model import HostAccess

_PROTOCOLS = ("tcp", "udp", "sctp")
_FORM = "must be all, none or ports=PORT[-END][/PROTOCOL],.. as in ports=443,53/udp"


def host_access(text: str) -> HostAccess:
    """Read `all`, `none` or `ports=443,53/udp,8000-8010/tcp`; ValueError says what would be right. tcp/443 is the same as 443/tcp."""
    match text.partition("="):
        case "all", "", "":
            return HostAccess(everything=True)
        case "none", "", "":
            return HostAccess()
        case "ports", "=", listed if listed:
            ports = dict.fromkeys(port for part in listed.split(",") for port in _ports(part.strip()))
            if len(ports) > limits.HOST_PORTS:
                raise ValueError(f"opens {len(ports)} ports; at most {limits.HOST_PORTS}, or say all")
            return HostAccess(ports=tuple(ports))
    raise ValueError(_FORM)


def _ports(part: str) -> list[tuple[str, int]]:
    numbers, slash, protocol = part.partition("/")
    if numbers in _PROTOCOLS:
        numbers, protocol = protocol, numbers
    if not slash:
        protocol = "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"{part!r}: the protocol must be one of {', '.join(_PROTOCOLS)}")
    first, dash, last = numbers.partition("-")
    if not (_is_number(first) and (_is_number(last) or not dash)):
        raise ValueError(_FORM)
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65_535:
        raise ValueError(f"{part!r}: ports are 1 to 65535, the lower one first")
    return [(protocol, number) for number in range(low, high + 1)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5
