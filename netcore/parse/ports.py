"""Published and exposed ports as users write them: `-p` and `--expose`. Pure.

Rules CL-17 and CL-18 of docs/rules.md. Which host ports are taken is decided in `plan.port_allocation`.
"""

from __future__ import annotations

import difflib
import re

from netcore.errors import InvalidRequest
from netcore.model import IPAddress, PortRequest
from netcore.parse import addresses, service_names

PROTOCOLS = ("tcp", "udp", "sctp")

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")


def parse_port(text: str) -> PortRequest:
    """Return the meaning of one `[NAME[,NAME]=][ip:][hostPort[-end]:]containerPort[-end][/proto]` (rules CL-17, CL-18).

    The port of the sandbox may be the name of a well-known service, which is then its name too.
    """
    return _parse(f"publish {text}", text)


def parse_exposed(text: str) -> PortRequest:
    """Return the meaning of an `--expose` value like 80, 8000-8010, 53/udp, metrics=9100 or http."""
    request = _parse(f"expose {text}", text)
    if request.host_address is not None or request.host_first:
        raise InvalidRequest(f"expose {text}", "name a port of the sandbox only, without a host part")
    return request


def _parse(field: str, text: str) -> PortRequest:
    names_text, equals, unnamed = text.rpartition("=")
    names = _names(field, names_text) if equals else ()
    rest, slash, protocol = unnamed.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidRequest(field, f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    host, sandbox = _split_host(field, rest)
    address_text, host_ports = host
    address = _host_address(field, address_text)
    well_known = service_names.WELL_KNOWN[protocol].get(sandbox.lower())
    if well_known is not None:
        names, sandbox = (*names, sandbox.lower()), str(well_known)
    elif sandbox[:1].isalpha():
        near = difflib.get_close_matches(sandbox.lower(), service_names.WELL_KNOWN[protocol], n=1)
        hint = f"; did you mean {near[0]}?" if near else "; give the number, as in NAME=8080"
        raise InvalidRequest(field, f"{sandbox!r} is no well-known service over {protocol}{hint}")
    first, last = _range(field, sandbox)
    if first == 0:
        raise InvalidRequest(field, "port 0 of the sandbox can't be published")
    host_first, host_last = _range(field, host_ports) if host_ports else (0, 0)
    needed, offered = last - first + 1, host_last - host_first + 1
    if host_ports and needed != offered and needed != 1:
        raise InvalidRequest(field, f"{needed} sandbox ports need as many host ports, not {offered}")
    return PortRequest(
        host_address=address,
        host_first=host_first,
        host_last=host_last,
        sandbox_first=first,
        sandbox_last=last,
        protocol=protocol,
        text=text,
        names=tuple(dict.fromkeys(names)),
    )


def _names(field: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    for name in names:
        if not service_names.is_service_name(name):
            raise InvalidRequest(
                field, f"{name!r} can't name a port: it has letters, digits and hyphens, and at least one letter, as in http"
            )
    return names


def _split_host(field: str, text: str) -> tuple[tuple[str, str], str]:
    if text.startswith("["):
        address, bracket, tail = text[1:].partition("]:")
        if not bracket:
            raise InvalidRequest(field, "an address in brackets is followed by :port")
        host, _, sandbox = tail.rpartition(":")
        return (address, host), sandbox
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidRequest(field, "an IPv6 address must be in brackets, as in [::1]:80:80")
    parts = [""] * (3 - len(parts)) + parts
    return (parts[0], parts[1]), parts[2]


def _host_address(field: str, text: str) -> IPAddress | None:
    if not text:
        return None
    try:
        return addresses.read(text)
    except ValueError as error:
        raise InvalidRequest(field, f"{text!r} is not an IP address; host names are not taken here") from error


def _range(field: str, text: str) -> tuple[int, int]:
    match = _RANGE.match(text)
    if match is None:
        raise InvalidRequest(field, f"{text!r} is not a port or a range like 8000-8010")
    first = int(match[1])
    last = int(match[2] or first)
    if last > 65_535:
        raise InvalidRequest(field, f"{last} is no port: ports are 1 to 65535")
    if last < first:
        raise InvalidRequest(field, f"{text!r} is not a range: its lower number comes first, as in {last}-{first}")
    return first, last
