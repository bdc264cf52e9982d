"""The traffic of endpoints, by the counters of their links: inside the sandbox (proc(5), net/dev), or of the host's end of a veth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Traffic(NamedTuple):
    """Octets, packets and dropped packets since the link was made, as the sandbox receives and sends them."""

    received: int
    sent: int
    received_packets: int
    sent_packets: int
    dropped: int


_FILES = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_dropped", "tx_dropped")


def of_endpoint(endpoint: Mapping[str, Any], pid: int | None) -> Traffic | None:
    """Return the traffic of *endpoint*; *pid*: a process in its sandbox, if there is one. None if nothing tells it."""
    inside = _inside(pid, endpoint["ifname"]) if pid is not None else None
    return inside if inside is not None else _at_the_host(endpoint["host_ifname"])


def _inside(pid: int, ifname: str) -> Traffic | None:
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    return parse(lines, ifname)


def parse(lines: list[str], ifname: str) -> Traffic | None:
    """Return the counters of *ifname* in *lines* of /proc/PID/net/dev, None if it is not among them."""
    for line in lines:
        name, colon, rest = line.partition(":")
        if colon and name.strip() == ifname:
            numbers = [int(word) for word in rest.split()]
            return Traffic(numbers[0], numbers[8], numbers[1], numbers[9], numbers[3] + numbers[11])
    return None


def _at_the_host(link: str) -> Traffic | None:
    """Return the counters of the host's *link*: what it sends is what the sandbox receives."""
    if not link:
        return None
    numbers = []
    for name in _FILES:
        try:
            with open(f"/sys/class/net/{link}/statistics/{name}") as file:
                numbers.append(int(file.read()))
        except OSError:
            return None
    received, sent, received_packets, sent_packets, dropped, also_dropped = numbers
    return Traffic(sent, received, sent_packets, received_packets, dropped + also_dropped)


def human(octets: int) -> str:
    """Return a number of octets as Docker writes it: `1.2kB`, three digits at most."""
    size = float(octets)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5 or unit == "PB":
            break
        size /= 1000
    return f"{size:.3g}{unit}" if unit != "B" else f"{octets}B"
