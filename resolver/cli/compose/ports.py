"""The short form of a port: `[[IP:]HOST:]PORT[/PROTOCOL]`, with ranges, as Docker reads it. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any

from resolver.cli.compose.tree import Located

_PROTOCOLS = ("tcp", "udp", "sctp")
_MOST = 65_535


def ports_of(text: str) -> list[Located]:
    """Return the ports that *text* means in their long form, a range one by one; ValueError if it is malformed."""
    address, host, target = _parts(text)
    target, slash, protocol = target.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"{text!r}: the protocol {protocol} is not one of {', '.join(_PROTOCOLS)}")
    if address:
        address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        _check_address(address, text)
    if not target:
        raise ValueError(f"{text!r} names no port of the service")
    first, last = _range(target, text)
    if not first:
        raise ValueError(f"{text!r}: no service has port 0")
    first_host, last_host = _range(host, text) if host else (0, 0)
    if host and last - first != last_host - first_host and last != first:
        raise ValueError(f"{text!r}: the ranges {host} and {target} differ in length")
    result = []
    for i in range(last - first + 1):
        published = "" if not host else f"{first_host}-{last_host}" if first == last and first_host != last_host else str(first_host + i)
        given: dict[str, Any] = {"mode": "ingress", "host_ip": address, "target": first + i, "published": published, "protocol": protocol}
        result.append(Located({key: value for key, value in given.items() if value != ""}))
    # Docker's parser collects them by their text, and Compose sorts that.
    return sorted(result, key=lambda port: f"{port['target']}/{port['protocol']}")


def count_of(text: str) -> int:
    """Return how many ports `ports_of` makes of *text*, 0 if it is malformed."""
    try:
        first, last = _range(_parts(text)[2].partition("/")[0], text)
    except ValueError:
        return 0
    return last - first + 1


def _check_address(address: str, text: str) -> None:
    """Raise ValueError if *address*, which is in *text*, is no IP address."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise ValueError(f"{text!r}: {address} is no IP address") from None


def _parts(text: str) -> tuple[str, str, str]:
    """Return address, host port and target, each empty where it is not given."""
    *front, target = text.split(":")
    host = front.pop() if front else ""
    return ":".join(front), host, target


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or len(first) > 5 or len(last) > 5:
        raise ValueError(f"{whole!r}: {text} is neither a port nor a range of ports")
    if int(last) > _MOST:
        raise ValueError(f"{whole!r}: {last} is no port: the highest is {_MOST}")
    if int(first) > int(last):
        raise ValueError(f"{whole!r}: {text} is no range of ports: it must go up")
    return int(first), int(last)
