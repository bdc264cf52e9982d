"""Attempts to have a name asked for outside: at every server, by every way, in every form."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable

import dns.edns
import dns.message
import dns.rdatatype

from tests.escape import packets
from tests.escape.attempts import Arguments, Here, Kind, crossed
from tests.support import client_hellos

RESOLVERS = ("own", "gateway4", "gateway6")
"""Of berth: they ask the rules. With any other server the packets must not arrive."""
TYPES = (
    "A", "AAAA", "TXT", "NULL", "ANY", "CNAME", "HTTPS", "SVCB", "SRV", "PTR", "NS", "SOA", "MX", "NAPTR", "DS", "DNSKEY", "CAA", "TLSA",
    "AXFR", "IXFR", "TYPE65280",
)  # fmt: skip
PATIENCE = 6.0
_A, _IN = 1, 1


def server(here: Here, which: str) -> str:
    return "127.0.0.11" if which == "own" else here.around[which]


def exchange(address: str, octets: bytes, *, over: str = "udp", port: int = 53, wait: bool = True) -> bytes:
    """Send a message and return what came back, b"" if nothing did."""
    kind = socket.SOCK_STREAM if over == "tcp" else socket.SOCK_DGRAM
    with socket.socket(packets.socket_family(address), kind) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE if wait else min(PATIENCE, 0.5))
        sock.connect((address, port))
        sock.sendall(struct.pack("!H", len(octets)) + octets if over == "tcp" else octets)
        return sock.recv(65_535)
    return b""


def message(
    labels: Iterable[bytes],
    rtype: int = _A,
    *,
    rclass: int = _IN,
    flags: int = 0x0100,
    more: bytes = b"",
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
) -> bytes:
    """Return a query made by hand."""
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!HHHHHH", 0x4242, flags, *counts) + name + struct.pack("!HH", rtype, rclass) + more


def open_name(here: Here) -> None:
    """Ask for the name that is allowed, so that its addresses are open. Nobody answers where berth is not."""
    for rtype in ("A", "AAAA"):
        exchange("127.0.0.11", dns.message.make_query(here.name, rtype).to_wire())


# --- names ----------------------------------------------------------------------------------------------------------

FORMS = (
    "other", "below an exact one", "dot in the first label", "dot in the last label", "dots alone", "NUL at the end", "NUL before the dot",
    "blank", "escaped", "upper case", "joined", "one label", "suffix behind", "prefix alike", "octets above 127", "full width", "long labels",
    "many labels", "reverse4", "reverse6", "service", "star", "underscore", "root behind", "encoded dot",
)  # fmt: skip


def labels(here: Here, form: str) -> list[bytes]:
    mark = here.marker.encode()
    return {
        "other": [mark, b"evil", b"test"], "below an exact one": [mark, b"ok", b"test"],
        "dot in the first label": [mark + b".wild", b"test"], "dot in the last label": [mark, b"wild.test"], "dots alone": [mark + b".wild.test"],
        "NUL at the end": [mark, b"wild", b"test\0"], "NUL before the dot": [mark, b"wild\0", b"test"], "blank": [mark, b"wild ", b"test"],
        "escaped": [mark + b"\\.wild", b"test"], "upper case": [mark.upper(), b"EVIL", b"TEST"], "joined": [mark, b"wildtest"], "one label": [mark],
        "suffix behind": [mark, b"wild", b"test", b"evil"], "prefix alike": [mark, b"xwild", b"test"],
        "octets above 127": [mark, b"w\xffild", b"test"], "full width": [mark, "ｗild".encode(), b"test"],
        "long labels": [mark + b"a" * 50, b"b" * 63, b"evil", b"test"], "many labels": [mark, *[b"a"] * 90, b"evil", b"test"],
        "reverse4": [mark, b"9", b"8", b"44", b"in-addr", b"arpa"], "reverse6": [mark, *b"0 0 0 0 8 b d 0 1 0 0 2".split(), b"ip6", b"arpa"],
        "service": [b"_http", b"_tcp", mark, b"evil", b"test"], "star": [b"*", mark, b"evil", b"test"], "underscore": [b"_" + mark, b"evil", b"test"],
        "root behind": [mark, b"test", b"wild"], "encoded dot": [mark + b"%2ewild", b"test"],
    }[form]  # fmt: skip


def _named(here: Here, how: Arguments) -> None:
    exchange(server(here, str(how["server"])), message(labels(here, str(how["form"])), int(how.get("type", _A))), over=str(how["over"]))


def _typed(here: Here, how: Arguments) -> None:
    rtype = dns.rdatatype.from_text(str(how["type"]))
    exchange(server(here, str(how["server"])), message(labels(here, "other"), rtype), over=str(how["over"]))


# --- messages -------------------------------------------------------------------------------------------------------

_ODD = (
    "two questions", "no question", "question in the answer", "additional", "behind the end", "pointer", "notify", "update", "status", "inverse",
    "opcode 15", "class CH", "class HS", "class ANY", "class NONE", "response", "option", "client subnet", "cookie", "padding", "TSIG",
    "half a name", "all flags",
)  # fmt: skip


def _odd(here: Here, how: Arguments) -> None:
    """The message asks for what is allowed, and carries the secret somewhere else; or it is of another kind."""
    secret = b"".join(bytes([len(label)]) + label for label in labels(here, "other")) + b"\0"
    question = secret + struct.pack("!HH", _A, _IN)
    record = secret + struct.pack("!HHIH", 16, _IN, 60, 1 + len(here.secret)) + bytes([len(here.secret)]) + here.secret
    allowed, evil = [b"ok", b"test"], labels(here, "other")

    def with_option(number: int, octets: bytes) -> bytes:
        return dns.message.make_query("ok.test", "A", use_edns=0, options=[dns.edns.GenericOption(number, octets)]).to_wire()

    octets = {
        "two questions": message(allowed, more=question, counts=(2, 0, 0, 0)),
        "no question": message(evil, counts=(0, 0, 0, 0)),
        "question in the answer": message(allowed, more=record, counts=(1, 1, 0, 0)),
        "additional": message(allowed, more=record, counts=(1, 0, 0, 1)),
        "behind the end": message(allowed, more=here.secret),
        # The name is said to be where the secret is, behind the question.
        "pointer": struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x12" + struct.pack("!HH", _A, _IN) + secret,
        "notify": message(evil, 6, flags=0x2000), "update": message(evil, 6, flags=0x2800, more=record, counts=(1, 0, 1, 0)),
        "status": message(evil, flags=0x1000), "inverse": message(evil, flags=0x0800), "opcode 15": message(evil, flags=0x7800),
        "class CH": message(evil, 16, rclass=3), "class HS": message(evil, rclass=4), "class ANY": message(evil, rclass=255),
        "class NONE": message(evil, rclass=254), "response": message(evil, flags=0x8180),
        "option": with_option(65_001, here.secret), "client subnet": with_option(8, b"\0\1\x20\0" + here.secret[:4]) + here.secret,
        "cookie": with_option(10, here.secret[:16].ljust(16, b".")), "padding": with_option(12, here.secret),
        "TSIG": message(allowed, more=secret + struct.pack("!HHIH", 250, 255, 0, 0), counts=(1, 0, 0, 1)),
        "half a name": message(evil)[:20], "all flags": message(evil, flags=0x07F0),
    }[str(how["message"])]  # fmt: skip
    exchange(server(here, str(how["server"])), octets, over=str(how["over"]), wait=False)


# --- other servers --------------------------------------------------------------------------------------------------

_SERVERS = ("outside", "fresh", "named", "host", "peer", "free")
_WAYS = (
    "udp 53",
    "tcp 53",
    "tls 853",
    "https 443",
    "quic 853",
    "udp 5353",
    "udp 5355",
    "udp 137",
    "udp 5300",
    "tcp 5300",
    "tcp 443",
    "tcp 80",
)


def _elsewhere(here: Here, how: Arguments) -> None:
    address = here.target(str(how["server"]), int(how["family"]))
    over, port = str(how["way"]).split()
    octets = message(labels(here, "other"))
    match over:
        case "tls":
            packets.connect(address, int(port), client_hellos.hello(here.evil.encode()))
        case "https":
            packets.connect(address, int(port), client_hellos.hello(b"dns." + here.evil.encode()))
        case "quic":
            packets.datagram(address, int(port), b"\xc0\0\0\0\1" + here.secret.ljust(1200))
        case "udp":
            packets.datagram(address, int(port), octets)
        case _:
            packets.connect(address, int(port), struct.pack("!H", len(octets)) + octets)


def _groups(here: Here, how: Arguments) -> None:
    """Names that a group of neighbours is asked for."""
    address, port = str(how["group"]), int(how["port"])
    octets = message(labels(here, "other"))
    with socket.socket(packets.socket_family(address), socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        scope = (0, socket.if_nametoindex(here.link)) if ":" in address else ()
        if not scope:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, here.link.encode())
        sock.sendto(octets, (address, port, *scope))


_BOTH = ("udp", "tcp")

KINDS = (
    Kind(name="names in every form", variants=lambda: crossed(form=FORMS, server=RESOLVERS, over=_BOTH), make=_named),
    Kind(name="questions of every type", variants=lambda: crossed(type=TYPES, server=RESOLVERS, over=_BOTH), make=_typed, shown={"type": "A"}),
    Kind(name="odd messages", variants=lambda: crossed(message=_ODD, server=RESOLVERS, over=_BOTH), make=_odd, shown={"message": "class ANY"}),
    Kind(name="other name servers", variants=lambda: crossed(server=_SERVERS, way=_WAYS, family=packets.FAMILIES), make=_elsewhere, shown={"server": "outside"}),
    Kind(name="questions to groups", variants=lambda: crossed(group=("224.0.0.251", "224.0.0.252", "239.1.2.3", "255.255.255.255", "ff02::fb", "ff02::1:3", "ff05::c"), port=(53, 137, 1900, 5353, 5355)), make=_groups),
)  # fmt: skip
