"""Attempts by sockets and by packets of IP made by hand: every protocol, fragments, options, spoofed sources."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from netcore.look.segments import ACK, PSH, SYN, Segment, write
from tests.escape.attempts import Arguments, Here, Kind, Made, crossed
from tests.support import frames

FAMILIES = (4, 6)
AWAY = ("fresh", "named", "private", "metadata", "shared", "NAT64", "6to4", "Teredo", "peer", "gateway", "host", "outside")
PATIENCE = 3.0
MARK = 1


def family_of(address: str) -> int:
    return ip_address(address).version


def socket_family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if family_of(address) == 4 else socket.AF_INET6


def connect(address: str, port: int, octets: bytes, *, source: str | None = None, link: str | None = None) -> bool:
    """Connect, send *octets*; return whether anything was answered."""
    with socket.socket(socket_family(address), socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        if link:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        if source:
            sock.bind((source, 0))
        with contextlib.suppress(OSError):
            sock.connect((address, port))
            sock.sendall(octets)
            return bool(sock.recv(1))
    return False


def datagram(address: str, port: int, octets: bytes, *, source: str | None = None) -> None:
    with socket.socket(socket_family(address), socket.SOCK_DGRAM) as sock:
        if source:
            sock.bind((source, 0))
        for _ in range(2):
            with contextlib.suppress(OSError):
                sock.sendto(octets, (address, port))


def put(packet: bytes, address: str) -> None:
    """Send a whole packet of IP."""
    with socket.socket(socket_family(address), socket.SOCK_RAW, socket.IPPROTO_RAW) as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        sock.sendto(packet, (address, 0))


def frame_out(here: Here, packet: bytes, target: str | None = None, source: str | None = None) -> None:
    """Send a packet of IP in a frame, to the gateway's MAC address unless *target* is another one."""
    kind = frames.IPV4 if packet[0] >> 4 == 4 else frames.IPV6
    send_frame(here, frames.ethernet(target or here.around["gateway_mac"], source or here.around["mac"], kind, packet))


def send_frame(here: Here, frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock, contextlib.suppress(OSError):
        sock.bind((here.link, 0))
        sock.send(frame)


def packet(source: str, target: str, protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    if family_of(target) == 4:
        return frames.ipv4(source, target, protocol, payload, options=options, fragment=fragment)
    return frames.ipv6(source, target, protocol, payload, hops=64)


def udp_message(source: str, target: str, port: int, octets: bytes) -> bytes:
    message = frames.udp(5300, port, octets)
    if family_of(target) == 4:
        return message
    return frames.transport6(source, target, frames.UDP, message, 6)


def tcp_message(source: str, target: str, port: int, octets: bytes, flags: int = SYN, source_port: int = 40_000) -> bytes:
    """Return a segment of TCP, with its checksum."""
    made = Segment(
        source=ip_address(source), destination=ip_address(target), source_port=source_port, destination_port=port,
        sequence=1, acknowledgement=1 if flags & ACK else 0, flags=flags, payload=octets,
    )  # fmt: skip
    return write(made)[20 if family_of(target) == 4 else 40 :]


def icmp_message(source: str, target: str, kind: int, body: bytes, code: int = 0) -> bytes:
    message = struct.pack("!BBH", kind, code, 0) + body
    if family_of(target) == 6:
        return frames.transport6(source, target, frames.ICMPV6, message, 2)
    return message[:2] + struct.pack("!H", frames.checksum(message)) + message[4:]


def transport(here: Here, what: str, source: str, target: str, port: int = 443) -> tuple[int, bytes]:
    """Return (protocol, message) of something with the secret in it."""
    if what == "udp":
        return frames.UDP, udp_message(source, target, port, here.secret)
    if what == "tcp":
        return frames.TCP, tcp_message(source, target, port, here.secret)
    if what == "tcp without beginning":
        return frames.TCP, tcp_message(source, target, port, here.secret, ACK | PSH)
    six = family_of(target) == 6
    return (frames.ICMPV6, icmp_message(source, target, 128, bytes(4) + here.secret)) if six else (
        frames.ICMP, icmp_message(source, target, 8, bytes(4) + here.secret))  # fmt: skip


# --- by sockets -----------------------------------------------------------------------------------------------------


def _tcp(here: Here, how: Arguments) -> Made:
    return Made(reached=connect(here.target(str(how["target"]), int(how["family"])), int(how["port"]), here.secret))


def _tcp_variants() -> Iterable[Arguments]:
    for how in crossed(target=AWAY, port=(22, 25, 53, 80, 443, 853, 5432, 8080, 65_535), family=FAMILIES):
        # Whether somebody answers at port 53 of the gateway is no question of rules: it is the resolver, and asks them itself.
        if not (how["target"] == "gateway" and how["port"] == 53):
            yield how


def _mapped(here: Here, how: Arguments) -> Made:
    target = here.target(str(how["target"]), 4)
    kind = socket.SOCK_STREAM if how["protocol"] == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6, kind) as sock:
        sock.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            sock.connect((f"::ffff:{target}", int(how["port"])))
            sock.sendall(here.secret)
            return Made(reached=bool(sock.recv(1)) if how["protocol"] == "tcp" else False)
    return Made()


def _udp(here: Here, how: Arguments) -> None:
    datagram(here.target(str(how["target"]), int(how["family"])), int(how["port"]), here.secret * 20)


def _udp_variants() -> Iterable[Arguments]:
    for how in crossed(target=AWAY, port=(53, 80, 123, 443, 500, 853, 4789, 5353, 9999), family=FAMILIES):
        if not (how["target"] == "gateway" and how["port"] == 53):
            yield how


def _fast_open(here: Here, how: Arguments) -> None:
    target = here.target(str(how["target"]), int(how["family"]))
    with socket.socket(socket_family(target), socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE)
        # MSG_FASTOPEN
        sock.sendto(here.secret, 0x2000_0000, (target, int(how["port"])))
        sock.recv(1)


# --- protocols ------------------------------------------------------------------------------------------------------

PROTOCOLS = (2, 4, 6, 17, 33, 41, 46, 47, 50, 51, 88, 89, 94, 97, 103, 108, 112, 115, 132, 136, 137, 253, 255)


def _protocol(here: Here, how: Arguments) -> None:
    family, number = int(how["family"]), int(how["protocol"])
    source, target = here.own(family), here.target(str(how["target"]), family)
    if number in (4, 41):
        inner = "fresh"
        where = here.target(inner, 4 if number == 4 else 6)
        payload = packet(here.own(family_of(where)), where, frames.UDP, udp_message(here.own(family_of(where)), where, 9, here.secret))
    elif number == 47:
        payload = struct.pack("!HH", 0, 0x0800) + packet(here.own(4), here.target("fresh", 4), 17, frames.udp(9, 9, here.secret))
    elif number == 132:
        payload = struct.pack("!HHII", 9, 443, 0, 0) + b"\1\0" + struct.pack("!H", 20 + len(here.secret)) + bytes(16) + here.secret
    elif number in (6, 17):
        # Neither has the ports where they should be.
        payload = b"\1\xbb" + here.secret
    else:
        payload = here.secret
    put(packet(source, target, number, payload), target)


def _icmp(here: Here, how: Arguments) -> None:
    family = int(how["family"])
    source, target = here.own(family), here.target(str(how["target"]), family)
    message = icmp_message(source, target, int(how["type"]), bytes(4) + here.secret * 10)
    put(packet(source, target, frames.ICMP if family == 4 else frames.ICMPV6, message), target)


def _icmp_variants() -> Iterable[Arguments]:
    yield from crossed(type=(0, 3, 4, 5, 8, 11, 12, 13, 17, 40, 42), target=("fresh", "named", "peer", "host"), family=(4,))
    yield from crossed(type=(1, 2, 3, 4, 100, 128, 129, 138, 139, 160, 200), target=("fresh", "named", "peer", "host"), family=(6,))


def _quoted(here: Here, how: Arguments) -> None:
    """An error about a packet that the target is said to have sent."""
    family = int(how["family"])
    source, target = here.own(family), here.target(str(how["target"]), family)
    quoted = packet(target, source, frames.UDP, udp_message(target, source, 53, here.secret)) + here.secret
    kind = 3 if family == 4 else 1
    put(
        packet(source, target, frames.ICMP if family == 4 else frames.ICMPV6, icmp_message(source, target, kind, bytes(4) + quoted, 3)),
        target,
    )


def _tunnel(here: Here, how: Arguments) -> None:
    """VXLAN, GENEVE, GTP, L2TP, WireGuard, Teredo: a frame in a datagram."""
    family = int(how["family"])
    inner = frames.ethernet(
        frames.BROADCAST, here.around["mac"], frames.IPV4, packet(here.own(4), here.target("fresh", 4), 17, here.secret)
    )
    datagram(here.target(str(how["target"]), family), int(how["port"]), b"\x08\0\0\0\0\0\x07\0" + inner)


# --- fragments, options, extension headers --------------------------------------------------------------------------


def _fragments(here: Here, how: Arguments) -> None:
    family = int(how["family"])
    source, target = here.own(family), here.target(str(how["target"]), family)
    protocol, message = transport(here, str(how["of"]), source, target, int(how.get("port", 443)))
    message += here.secret * 8
    cut = -(-len(message) // 2 // 8) * 8
    first, rest = message[:cut], message[cut:]
    match how["how"]:
        case "two":
            parts = [(0, True, first), (cut, False, rest)]
        case "backwards":
            parts = [(cut, False, rest), (0, True, first)]
        case "first alone":
            parts = [(0, True, first)]
        case "last alone":
            parts = [(cut, False, rest)]
        case "tiny":
            parts = [(0, True, message[:8]), (8, False, message[8:])]
        case "overlap":
            parts = [(0, True, first), (cut - 8, False, rest)]
        case "twice":
            parts = [(0, True, first), (0, True, here.secret.ljust(cut)[:cut]), (cut, False, rest)]
        case _:
            parts = [(0, False, message)]
    for at, more, octets in parts:
        put(_fragment(source, target, protocol, at, octets, more=more, atomic=how["how"] == "atomic", number=here.number), target)


def _fragment(source: str, target: str, protocol: int, at: int, octets: bytes, *, more: bool, atomic: bool, number: int) -> bytes:
    if family_of(target) == 4:
        made = bytearray(frames.ipv4(source, target, protocol, octets, fragment=(0x2000 if more else 0) | at // 8))
        made[4:6], made[10:12] = struct.pack("!H", number & 0xFFFF), b"\0\0"
        made[10:12] = struct.pack("!H", frames.checksum(bytes(made[:20])))
        return bytes(made)
    header = struct.pack("!BBHI", protocol, 0, at | int(more), number)
    return frames.ipv6(source, target, frames.FRAGMENT, header + octets, hops=64)


def _option(here: Here, how: Arguments) -> None:
    """Options of IPv4: the packet is for an address that is allowed, and says that it is to go on to another one."""
    source = here.own(4)
    named, fresh = here.target("named", 4), here.target("fresh", 4)
    via, final = (named, fresh) if how["via"] == "named" else (fresh, named)
    hop = IPv4Address(final).packed
    options = {
        "loose source route": b"\x83\7\4" + hop, "strict source route": b"\x89\7\4" + hop, "two hops": b"\x83\x0b\4" + hop + hop,
        "record route": b"\7\7\4" + bytes(4), "timestamp": b"\x44\x0c\5\0" + bytes(8), "router alert": b"\x94\4\0\0",
        "security": b"\x82\x0b" + bytes(9), "no operation": b"\1\1\1\1", "end": bytes(4), "unknown": b"\xde\4\0\0",
    }[str(how["option"])]  # fmt: skip
    protocol, message = transport(here, str(how["of"]), source, via)
    put(packet(source, via, protocol, message, options=options), via)


_OPTIONS = (
    "loose source route", "strict source route", "two hops", "record route", "timestamp", "router alert", "security", "no operation", "end",
    "unknown",
)  # fmt: skip


def _extension(here: Here, how: Arguments) -> None:
    """Extension headers of IPv6: routing headers name another address, and others hide what comes behind them."""
    source = here.own(6)
    named, fresh = here.target("named", 6), here.target("fresh", 6)
    via, final = (named, fresh) if how["via"] == "named" else (fresh, named)
    protocol, message = transport(here, str(how["of"]), source, via)
    final_octets = IPv6Address(final).packed
    padded = b"\1\4\0\0\0\0"
    first, header = {
        "routing 0": (43, bytes([protocol, 2, 0, 1]) + bytes(4) + final_octets),
        "routing 2": (43, bytes([protocol, 2, 2, 1]) + bytes(4) + final_octets),
        "routing 4": (43, bytes([protocol, 2, 4, 1, 0, 0, 0, 0]) + final_octets),
        "hop by hop": (0, bytes([protocol, 0]) + padded),
        "destination options": (60, bytes([protocol, 0]) + padded),
        "secret in options": (60, bytes([protocol, 2, 0x1E, 20]) + here.secret.ljust(20)[:20]),
        "two options": (60, bytes([60, 0]) + padded + bytes([protocol, 0]) + padded),
        "authentication": (51, bytes([protocol, 4]) + bytes(22)),
        "mobility": (135, bytes([protocol, 0, 5, 0]) + bytes(4)),
        "shim": (140, bytes([protocol, 0]) + bytes(6)),
        "fragment behind options": (60, bytes([44, 0]) + padded + bytes([protocol, 0, 0, 0]) + struct.pack("!I", here.number)),
    }[str(how["header"])]
    put(packet(source, via, first, header + message), via)


_EXTENSIONS = (
    "routing 0", "routing 2", "routing 4", "hop by hop", "destination options", "secret in options", "two options", "authentication",
    "mobility", "shim", "fragment behind options",
)  # fmt: skip


# --- spoofed sources ------------------------------------------------------------------------------------------------

_FALSE4 = {
    "unspecified": "0.0.0.0",
    "loopback": "127.0.0.1",
    "group": "224.0.0.5",
    "everybody": "255.255.255.255",
    "link-local": "169.254.9.9",
}
_FALSE6 = {"unspecified": "::", "loopback": "::1", "group": "ff02::5", "mapped": "::ffff:10.9.0.2", "link-local": "fe80::9"}


def _spoofed(here: Here, how: Arguments) -> None:
    family = int(how["family"])
    false = _FALSE4 if family == 4 else _FALSE6
    source = false.get(str(how["source"])) or here.target(str(how["source"]), family)
    target = here.target(str(how["target"]), family)
    protocol, message = transport(here, str(how["of"]), source, target)
    mac = here.around["mac"] if how["mac"] == "own" else here.around.get(f"{how['mac']}_mac", "02:00:00:00:09:09")
    frame_out(here, packet(source, target, protocol, message), source=mac)


def _spoofed_variants() -> Iterable[Arguments]:
    neighbours = ("own", "peer", "free", "gateway", "host", "outside", "unspecified", "loopback", "group", "link-local", "fresh")
    for how in crossed(
        source=neighbours, mac=("own", "peer", "free", "gateway", "random"), of=("udp", "tcp", "icmp"), target=("fresh",), family=FAMILIES
    ):
        if how["source"] in ("own", "peer", "free") or how["mac"] in ("own", "random"):
            yield how


def _to_mac(here: Here, how: Arguments) -> None:
    """A packet for the outside, in a frame for a neighbour that might send it on."""
    family = int(how["family"])
    source, target = here.own(family), here.target(str(how["target"]), family)
    protocol, message = transport(here, str(how["of"]), source, target)
    mac = {"everybody": frames.BROADCAST, "group": "01:00:5e:00:00:01", "nodes": "33:33:00:00:00:01", "unknown": "02:00:00:00:08:08"}.get(
        str(how["to"])
    )
    frame_out(here, packet(source, target, protocol, message), mac or here.around[f"{how['to']}_mac"])


KINDS = (
    Kind(name="TCP to an address", variants=_tcp_variants, make=_tcp, shown={"target": "fresh"}),
    Kind(name="UDP to an address", variants=_udp_variants, make=_udp, shown={"target": "fresh"}),
    Kind(name="mapped addresses", variants=lambda: crossed(target=("fresh", "named", "peer", "host", "metadata"), protocol=("tcp", "udp"), port=(22, 443, 853)), make=_mapped, shown={"target": "fresh"}),
    Kind(name="data in the SYN", variants=lambda: crossed(target=("fresh", "named", "peer"), port=(80, 443, 5432, 8080), family=FAMILIES), make=_fast_open, shown={"target": "fresh"}),
    Kind(name="other protocols", variants=lambda: crossed(protocol=PROTOCOLS, target=("fresh", "named", "peer", "host"), family=FAMILIES), make=_protocol, shown={"target": "fresh"}),
    Kind(name="ICMP with a payload", variants=_icmp_variants, make=_icmp),
    Kind(name="ICMP errors with a payload", variants=lambda: crossed(target=("fresh", "named", "peer", "outside"), family=FAMILIES), make=_quoted),
    Kind(name="tunnels in datagrams", variants=lambda: crossed(port=(4789, 6081, 2152, 1701, 51_820, 3544), target=("fresh", "named", "peer", "host"), family=FAMILIES), make=_tunnel),
    Kind(name="fragments", variants=lambda: crossed(how=("two", "backwards", "first alone", "last alone", "tiny", "overlap", "twice", "atomic"), of=("udp", "tcp", "icmp"), target=("fresh", "named"), family=FAMILIES), make=_fragments, shown={"how": "two"}),
    Kind(name="options of IPv4", variants=lambda: crossed(option=_OPTIONS, via=("named", "fresh"), of=("udp", "tcp", "icmp")), make=_option, shown={"option": "timestamp"}),
    Kind(name="extension headers of IPv6", variants=lambda: crossed(header=_EXTENSIONS, via=("named", "fresh"), of=("udp", "tcp", "icmp")), make=_extension),
    Kind(name="spoofed sources", variants=_spoofed_variants, make=_spoofed, shown={"source": "own"}),
    Kind(name="frames to a neighbour that sends on", variants=lambda: crossed(to=("router", "peer", "free", "everybody", "group", "nodes", "unknown"), of=("udp", "tcp", "icmp"), target=("fresh", "named"), family=FAMILIES), make=_to_mac, shown={"to": "router"}),
)  # fmt: skip
