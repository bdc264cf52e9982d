"""Attempts that use a connection which rules allow for something else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from netcore.look.segments import ACK, PSH, RST, SYN
from tests.escape import packets
from tests.escape.attempts import Arguments, Here, Kind, Made, crossed
from tests.support import client_hellos, frames


@contextlib.contextmanager
def _open_connection(here: Here, family: int) -> Iterator[tuple[int, bytes]]:
    """Give (source port, what was sent) of a connection that has been looked at and is open now."""
    address = here.target("named", family)
    hello = client_hellos.hello(here.name.encode())
    with socket.socket(packets.socket_family(address), socket.SOCK_STREAM) as sock:
        sock.settimeout(packets.PATIENCE)
        with contextlib.suppress(OSError):
            sock.connect((address, 443))
            sock.sendall(hello)
            sock.recv(1)
        yield sock.getsockname()[1], hello


def _error_about_it(here: Here, how: Arguments) -> Made:
    """An error that quotes a packet of the open connection is related to it, wherever it is sent."""
    family = int(how["family"])
    with _open_connection(here, family) as (port, hello):
        own, named, target = here.own(family), here.target("named", family), here.target(str(how["target"]), family)
        quoted_ends = (named, own) if how["quotes"] == "the server" else (own, named)
        segment = packets.tcp_message(
            *quoted_ends, port if how["quotes"] == "the server" else 443, here.secret, ACK, 443 if how["quotes"] == "the server" else port
        )
        body = bytes(4) + packets.packet(*quoted_ends, frames.TCP, segment) + here.secret
        kind = {4: (3, 4, 11, 12), 6: (1, 2, 3, 4)}[family]
        for each in kind:
            message = packets.icmp_message(own, target, each, body)
            packets.put(packets.packet(own, target, frames.ICMP if family == 4 else frames.ICMPV6, message), target)
    return Made(permitted=(hello,))


def _same_ports(here: Here, how: Arguments) -> Made:
    """From the port of the open connection, to another address, port or protocol."""
    family = int(how["family"])
    with _open_connection(here, family) as (port, hello):
        own = here.own(family)
        other = str(how["other"])
        target = here.target("named" if other in ("port", "protocol") else "fresh", family)
        if other == "protocol":
            packets.put(packets.packet(own, target, frames.UDP, packets.udp_message(own, target, 443, here.secret)), target)
        else:
            to = 444 if other == "port" else 443
            for flags in (SYN, ACK | PSH, RST | ACK):
                segment = packets.tcp_message(own, target, to, here.secret, flags, port)
                packets.put(packets.packet(own, target, frames.TCP, segment), target)
    return Made(permitted=(hello,))


def _as_an_answer(here: Here, how: Arguments) -> None:
    """It looks like an answer to something that nobody began."""
    family = int(how["family"])
    own, target = here.own(family), here.target(str(how["target"]), family)
    protocol, message = {
        "answer of a name server": (frames.UDP, frames.udp(53, 53, here.secret)),
        "answer of a time server": (frames.UDP, frames.udp(123, 123, here.secret)),
        "SYN-ACK": (frames.TCP, packets.tcp_message(own, target, 443, here.secret, SYN | ACK)),
        "reset": (frames.TCP, packets.tcp_message(own, target, 443, here.secret, RST)),
        "echo reply": (frames.ICMP, packets.icmp_message(own, target, 0, bytes(4) + here.secret)) if family == 4 else (
            frames.ICMPV6, packets.icmp_message(own, target, 129, bytes(4) + here.secret)),
    }[str(how["as"])]  # fmt: skip
    if family == 6 and protocol == frames.UDP:
        message = frames.transport6(own, target, frames.UDP, message, 6)
    packets.put(packets.packet(own, target, protocol, message), target)


_AS = ("answer of a name server", "answer of a time server", "SYN-ACK", "reset", "echo reply")

KINDS = (
    Kind(name="errors about an open connection", variants=lambda: crossed(target=("fresh", "peer", "host", "outside"), quotes=("the server", "the client"), family=packets.FAMILIES), make=_error_about_it),
    Kind(name="ports of an open connection", variants=lambda: crossed(other=("address", "port", "protocol"), family=packets.FAMILIES), make=_same_ports),
    Kind(name="answers to nothing", variants=lambda: crossed(**{"as": _AS}, target=("fresh", "named", "peer", "host", "outside"), family=packets.FAMILIES), make=_as_an_answer, shown={"target": "fresh"}),
)  # fmt: skip
