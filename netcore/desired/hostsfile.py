"""The hosts and hostname files of a sandbox: rendered from state, merged without touching lines that are not ours. Pure.

Rules HO-1..HO-15 of docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from ipaddress import IPv4Address
from itertools import zip_longest

from netcore.errors import InvalidRequest
from netcore.model import Endpoint, IPAddress
from netcore.parse import addresses

DEFAULT_LINES4 = ("127.0.0.1\tlocalhost",)
DEFAULT_LINES6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)
HOST_GATEWAY = "host-gateway"


def parse_extra_host(text: str) -> tuple[str, IPAddress | None]:
    """Return (name, address) of an `--add-host NAME:IP`; address None stands for `host-gateway` (HO-11).

    NAME=IP and an IPv6 address in brackets are accepted too: Compose files have both.
    """
    field = f"add-host {text}"
    colon, equals = text.find(":"), text.find("=")
    at = equals if equals >= 0 and (colon < 0 or equals < colon) else colon
    if at <= 0:
        raise InvalidRequest(field, "bad format; it should be NAME:IP or NAME:host-gateway")
    name, value = text[:at], text[at + 1 :]
    if any(char.isspace() or char == "#" for char in name):
        raise InvalidRequest(field, f"{name!r} must not hold spaces or #")
    if value == HOST_GATEWAY:
        return name, None
    try:
        address = addresses.read(value.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise InvalidRequest(field, f"{value!r} is not an IP address or {HOST_GATEWAY}") from error
    return name, address


def base_lines(extra_hosts: Sequence[str], *, ipv6: bool, host_gateways: Sequence[IPAddress]) -> tuple[str, ...]:
    """Return the default lines and those of `--add-host`, in order (HO-1..HO-3).

    *host_gateways*: addresses of the host; a `host-gateway` entry gives one line for each, and no line while there is none.
    """
    lines = [*DEFAULT_LINES4, *(DEFAULT_LINES6 if ipv6 else ())]
    for text in extra_hosts:
        name, address = parse_extra_host(text)
        for target in host_gateways if address is None else (address,):
            if ipv6 or isinstance(target, IPv4Address):
                lines.append(f"{target}\t{name}")
    return tuple(lines)


def endpoint_lines(endpoint: Endpoint, hostname: str, domainname: str) -> tuple[str, ...]:
    """Return the lines of one endpoint: its addresses, IPv4 first, with the host's names (HO-4)."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    names = f"{full} {full.split('.')[0]}" if "." in full else full
    return tuple(f"{address}\t{names}" for address in endpoint.addresses())


def render_hosts(lines: Iterable[str]) -> str:
    """Return a complete hosts file of *lines*."""
    return "".join(f"{line}\n" for line in lines)


def merge_hosts(current: str, before: Sequence[str], after: Sequence[str]) -> str:
    """Return *current* with our lines *before* replaced by *after*; every other line stays as it is.

    A line of ours that the user changed or removed belongs to the user from then on. A new line takes the place of the one
    that it replaces, or goes behind the one before it, or to the end.
    """
    if tuple(before) == tuple(after):
        return current
    lines = current.split("\n")
    if not lines[-1]:
        lines.pop()
    behind: int | None = None
    for old, new in _replacements(before, after):
        gone = old if old is not None and old not in after and old in lines else None
        if new is not None and new in lines:
            behind = lines.index(new) + 1
        elif new is not None and new not in before:
            if gone is not None:
                behind = lines.index(gone) + 1
                lines[behind - 1], gone = new, None
            else:
                behind = len(lines) if behind is None else behind
                lines.insert(behind, new)
                behind += 1
        if gone is not None:
            place = lines.index(gone)
            del lines[place]
            behind = place if behind is None else behind - (behind > place)
    return render_hosts(lines)


def _replacements(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Yield (line of *before*, line of *after* in its place); None where a line is new or gone."""
    for _, old_first, old_end, new_first, new_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        yield from zip_longest(before[old_first:old_end], after[new_first:new_end])


def render_hostname(hostname: str) -> str:
    """Return the hostname file (HO-14)."""
    return f"{hostname}\n"
