"""Attempts to go on with what rules allowed once. `python -m tests.escape.runner flows` holds connections, and sends on each what a line says."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dns.message

from tests.escape import packets, questions
from tests.escape.attempts import Attempt, Here
from tests.support import client_hellos, frames

if TYPE_CHECKING:
    from tests.escape.moments import Moments

NAME = "flow.old.test"
"""It has the address of another name, which stays allowed."""
TARGETS = {4: "198.51.100.", 6: "2001:db8:51::"}
"""The rest is a number of who holds them: two flows without ports to one address would be one to the host."""
WEB = {4: "192.0.2.1", 6: "2001:db8:2::1"}
ALLOWED = ("198.51.100.0/24", "2001:db8:51::/48", "*.old.test")
WAYS = {
    "the rules go": ("remove", *ALLOWED),
    "others come in their place": ("set", "ok.test", "*.wild.test", "*.wild.test:9443"),
    "what denies comes": ("add", "deny:198.51.100.0/24", "deny:2001:db8:51::/48", "deny:*.old.test"),
}
FLOWS = tuple((kind, family) for kind in ("TCP", "UDP", "ICMP", "GRE", "TLS", "HTTP") for family in packets.FAMILIES)

Send = Callable[[bytes], None]


def _stream(address: str, port: int, first: bytes, before: bytes = b"", behind: bytes = b"") -> Send:
    sock = socket.create_connection((address, port), 20)
    if first:
        sock.sendall(first)
        sock.recv(4096)
    return lambda octets: sock.sendall(before + octets + behind)


def _open(kind: str, family: int, own: str, who: int) -> Send:
    """Begin, and return what sends more."""
    target, web = f"{TARGETS[family]}{who + 1}", WEB[family]
    if kind == "TCP":
        return _stream(target, 8080, b"begin")
    if kind == "UDP":
        sock = socket.socket(packets.socket_family(target), socket.SOCK_DGRAM)
        sock.connect((target, 9999))
        return lambda octets: sock.sendall(octets)
    if kind == "TLS":
        return _stream(web, 443, client_hellos.hello(NAME.encode()))
    if kind == "HTTP":
        request = b"GET / HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\n"
        return _stream(web, 80, request + b"\r\n", request + b"X: ", b"\r\n\r\n")
    if kind == "GRE":
        return lambda octets: packets.put(packets.packet(own, target, 47, b"\0\0\x88\xb5" + octets), target)
    echo, protocol = (8, frames.ICMP) if family == 4 else (128, frames.ICMPV6)
    return lambda octets: packets.put(
        packets.packet(own, target, protocol, packets.icmp_message(own, target, echo, b"\0\7\0\1" + octets)), target
    )


def hold(start: dict[str, Any]) -> None:
    """Open all flows; then each line of input is the first number of what is sent on them."""
    here = Here(start["who"], 0, start["around"])
    for rtype in ("A", "AAAA"):
        questions.exchange("127.0.0.11", dns.message.make_query(NAME, rtype).to_wire())
    senders = [_open(kind, family, here.own(family), here.who) for kind, family in FLOWS]
    print(json.dumps({"ready": here.who}), flush=True)
    for line in sys.stdin:
        for at, send in enumerate(senders):
            # Cut ones say so.
            with contextlib.suppress(OSError):
                for _ in range(2):
                    send(Here(here.who, int(line) + at, here.around).secret)
        print(json.dumps({"sent": int(line)}), flush=True)


def try_all(moments: Moments, runtimes: list[str], times: int) -> None:
    """Have each of *runtimes* go on with its flows after rules have changed in each way, with and without a daemon that starts anew.

    Once: each in another way.
    """
    lab = moments.world.lab
    ways = list(WAYS.items())
    for at in range(times):
        for number, (way, (command, *changed)) in enumerate(ways):
            for name in runtimes if times > 1 else runtimes[number :: len(ways)]:
                # What was opened for one way must not count for the next.
                lab.berth("egress", "set", name, "ok.test", "*.wild.test", "*.wild.test:9443", *ALLOWED)
                before = moments.numbers(f"before {way}, {name}", _attempts(), is_allowed=True)
                after = moments.numbers(f"old flows: {way}, {name}", _attempts())
                with moments.holding(name) as say:
                    say(before)
                    leave = {attempt.number for attempt in before if attempt.arguments["of"] in moments.world.owner.carries}
                    # Some are carried by processes, behind which no fence is.
                    moments.world.wait_for_notes(name, leave)
                    if at % 2:
                        moments.world.owner.end_daemon(signal.SIGKILL)
                        moments.world.owner.wait()
                    lab.berth("egress", command, name, *changed)
                    say(after)
        for name in runtimes:
            lab.berth("egress", "set", name, "ok.test", "*.wild.test", "*.wild.test:9443")


def _attempts() -> list[Attempt]:
    return [Attempt(0, "old flows", {"of": kind, "family": family}) for kind, family in FLOWS]
