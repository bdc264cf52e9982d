"""Attempts by segments of TCP made by hand: what is read is one thing, and what the server gets would be another one.

The first half is written down, the other half is made by chance from a seed: pieces of an allowed and of another hello or request, at any
place, with any flags, hop limits, checksums and timestamps.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from netcore.look.segments import ACK, FIN, PSH, RST, SYN, timestamps_option
from tests.escape import packets
from tests.escape.attempts import Arguments, Here, Kind, Made, crossed
from tests.support import client_hellos, raw_tcp
from tests.support.raw_tcp import Client, pieces

URG = 32
_ports = count()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Talk:
    """*ok* is what rules allow, *evil* is not; both have the same length."""

    client: Client
    ok: bytes
    evil: bytes

    def insist(self, *sent: tuple[int, bytes], times: int = 3) -> None:
        for _ in range(times):
            for at, payload in sent:
                self.client.send(at, payload)
            if self.client.wait(octets=5, patience=0.4) or self.client.wait(RST, patience=0.0):
                return

    def changed(
        self, at: int, payload: bytes, flags: int = ACK | PSH, *, hops: int = 64, breaks: bool = False, options: bytes = b""
    ) -> None:
        """Send a segment that will die on its way, or whose checksum is wrong."""
        packet = bytearray(self.client.packet(at, payload, flags, options))
        four = self.client.server.version == 4
        packet[8 if four else 7] = hops
        if four:
            packet[10:12] = b"\0\0"
        if breaks:
            packet[36 if four else 56] ^= 1
        self.client.put(bytes(packet))


def _evil(talk: Talk) -> None:
    talk.client.connect()
    talk.insist((0, talk.evil))


def _overlap(talk: Talk) -> None:
    talk.client.connect()
    half = len(talk.ok) // 2
    talk.insist((0, talk.ok[:half]), (half // 2, talk.evil[half // 2 :]))


def _overlap_backwards(talk: Talk) -> None:
    talk.client.connect()
    half = len(talk.ok) // 2
    talk.insist((half // 2, talk.evil[half // 2 :]), (0, talk.ok))


def _changed_repetition(talk: Talk) -> None:
    talk.client.connect()
    for _ in range(10):
        talk.client.send(0, talk.ok)
        talk.client.send(0, talk.evil)
    talk.insist((0, talk.evil))


def _low_hops(talk: Talk) -> None:
    talk.client.connect()
    talk.changed(0, talk.ok, hops=2)
    talk.insist((0, talk.evil))


def _no_hops(talk: Talk) -> None:
    talk.client.connect()
    talk.changed(0, talk.ok, hops=1)
    talk.insist((0, talk.evil))


def _broken(talk: Talk) -> None:
    talk.client.connect()
    talk.changed(0, talk.ok, breaks=True)
    talk.insist((0, talk.evil))


def _broken_evil(talk: Talk) -> None:
    talk.client.connect()
    talk.changed(0, talk.evil, breaks=True)
    talk.insist((0, talk.evil))


def _syn_data(talk: Talk) -> None:
    talk.client.put(talk.client.packet(-1, talk.evil, SYN))
    talk.client.wait(SYN | ACK, patience=1.0)
    talk.client.send(0, flags=ACK)
    talk.insist((0, talk.evil))


def _syn_allowed_data(talk: Talk) -> None:
    """The SYN's own data are allowed; a server that does not take them expects the same place again."""
    talk.client.put(talk.client.packet(-1, talk.ok, SYN))
    talk.client.wait(SYN | ACK, patience=1.0)
    talk.client.send(0, flags=ACK)
    talk.insist((0, talk.evil))


def _two_beginnings(talk: Talk) -> None:
    talk.client.put(talk.client.packet(-1, flags=SYN))
    talk.client.put(talk.client.packet(-1 - len(talk.ok), flags=SYN))
    talk.client.wait(SYN | ACK, patience=1.0)
    talk.client.send(0, flags=ACK)
    talk.insist((-len(talk.ok), talk.ok), (0, talk.evil))


def _beginning_in_between(talk: Talk) -> None:
    talk.client.connect()
    talk.client.send(0, talk.ok[:20])
    talk.client.put(talk.client.packet(-1 - len(talk.ok), flags=SYN))
    talk.insist((-len(talk.ok), talk.ok), (0, talk.evil))


def _reset_first(talk: Talk) -> None:
    talk.client.connect()
    talk.changed(0, b"", RST | ACK, hops=2)
    talk.insist((0, talk.evil))


def _reset_then_beginning(talk: Talk) -> None:
    """The host forgets the connection, the server has it still."""
    talk.client.connect()
    talk.insist((0, talk.ok))
    at = len(talk.ok)
    talk.changed(at, b"", RST | ACK, hops=2)
    talk.client.put(talk.client.packet(at - 1, flags=SYN))
    talk.client.received = []
    talk.insist((at, talk.evil), times=2)


def _end_then_evil(talk: Talk) -> None:
    talk.client.connect()
    talk.client.send(0, talk.ok[:10], FIN | ACK)
    talk.insist((10, talk.evil[10:]), (0, talk.evil))


def _simultaneous(talk: Talk) -> None:
    """Both begin: a SYN-ACK as the answer to nothing, and data behind it."""
    talk.client.put(talk.client.packet(-1, flags=SYN))
    talk.client.put(talk.client.packet(-1, flags=SYN | ACK))
    talk.client.wait(SYN | ACK, patience=0.5)
    talk.insist((0, talk.evil))


def _split_handshake(talk: Talk) -> None:
    talk.client.put(talk.client.packet(-1, flags=SYN | ACK))
    talk.client.send(0, talk.evil)
    talk.client.put(talk.client.packet(-1, flags=SYN))
    talk.client.wait(SYN | ACK, patience=0.5)
    talk.insist((0, talk.evil))


def _without_beginning(talk: Talk) -> None:
    for flags in (ACK | PSH, 0, FIN, FIN | PSH | URG, RST, RST | ACK, SYN | FIN, SYN | RST, SYN | ACK, 0xFF):
        talk.client.put(talk.client.packet(0, talk.evil, flags))
    talk.client.wait(RST, patience=0.2)


def _odd_flags(talk: Talk) -> None:
    talk.client.connect()
    for flags in (0, FIN, PSH, URG, FIN | PSH | URG, RST, RST | ACK, SYN | FIN | ACK, SYN | ACK, SYN | RST, 0xFF, ACK | 0xC0):
        talk.client.put(talk.client.packet(0, talk.evil, flags))
    talk.insist((0, talk.evil))


def _urgent(talk: Talk) -> None:
    """One octet is urgent data: who leaves it out reads another name."""
    talk.client.connect()
    for _ in range(3):
        packet = bytearray(talk.client.packet(0, talk.evil, ACK | PSH | URG))
        at = 20 if talk.client.server.version == 4 else 40
        packet[at + 18 : at + 20] = b"\0\x05"
        packet[at + 16 : at + 18] = b"\0\0"
        talk.client.put(bytes(packet))
    talk.insist((0, talk.evil))


def _old_timestamps(talk: Talk) -> None:
    client = talk.client
    client.put(client.packet(-1, flags=SYN, options=timestamps_option(1_000_000, 0)))
    client.wait(SYN | ACK, patience=2.0)
    stamps = next((segment.timestamps for segment in client.received if segment.flags & SYN), None) or (0, 0)
    client.put(client.packet(0, flags=ACK, options=timestamps_option(1_000_001, stamps[0])))
    client.put(client.packet(0, talk.ok, options=timestamps_option(5, stamps[0])))
    for _ in range(3):
        client.put(client.packet(0, talk.evil, options=timestamps_option(1_000_002, stamps[0])))
        if client.wait(octets=5, patience=0.4):
            return


def _outside_the_window(talk: Talk) -> None:
    talk.client.connect()
    talk.client.send(1 << 20, talk.evil)
    talk.client.send(-(1 << 20), talk.evil)
    talk.client.send(1 << 31, talk.evil)
    talk.insist((0, talk.evil))


def _around_the_end_of_numbers(talk: Talk) -> None:
    talk.client.start = 0xFFFF_FFF0
    talk.client.connect()
    talk.insist(*pieces(talk.evil, 7))


def _single_octets(talk: Talk) -> None:
    talk.client.connect()
    talk.insist(*pieces(talk.evil, 1), times=2)


def _backwards(talk: Talk) -> None:
    talk.client.connect()
    talk.insist(*reversed(pieces(talk.evil, 20)))


def _keepalive(talk: Talk) -> None:
    """One octet before the beginning, as keep-alives have, and more behind it."""
    talk.client.connect()
    talk.insist((-1, b"\0" + talk.evil))


def _false_acknowledgement(talk: Talk) -> None:
    """It acknowledges what the server has not sent."""
    talk.client.connect()
    talk.client.server_next += 5000
    talk.client.send(0, talk.ok)
    talk.client.server_next -= 5000
    talk.insist((0, talk.evil))


def _closed_window(talk: Talk) -> None:
    talk.client.connect()
    packet = bytearray(talk.client.packet(0, talk.ok))
    at = 20 if talk.client.server.version == 4 else 40
    packet[at + 14 : at + 16] = b"\0\0"
    talk.client.put(bytes(packet))
    talk.insist((0, talk.evil))


def _half(talk: Talk) -> None:
    talk.client.connect()
    talk.insist(*pieces(talk.evil[:-1], 40), times=1)


def _allowed_then_other_end(talk: Talk) -> None:
    """The first half is of what is allowed, up to the name, and the rest is the other."""
    talk.client.connect()
    differs = next(at for at, (one, other) in enumerate(zip(talk.ok, talk.evil, strict=True)) if one != other)
    talk.insist((0, talk.ok[:differs]), (differs, talk.evil[differs:]))


def _header_options(talk: Talk) -> None:
    client = talk.client
    client.connect()
    packet = client.packet(0, talk.evil)
    if client.server.version == 4:
        header = bytearray(packet[:20]) + b"\1\1\1\0"
        header[0], header[2:4], header[10:12] = 0x46, (len(packet) + 4).to_bytes(2, "big"), b"\0\0"
        packet = bytes(header) + packet[20:]
    else:
        packet = packet[:4] + (len(packet) - 40 + 8).to_bytes(2, "big") + b"\x3c" + packet[7:40] + b"\6\0\1\4\0\0\0\0" + packet[40:]
    for _ in range(3):
        client.put(packet)
        client.wait(RST, patience=0.2)


def _tcp_options(talk: Talk) -> None:
    """Options up to the end of the header, so that the payload begins where none is looked for."""
    talk.client.connect()
    for options in (b"\1" * 40, b"\0" * 40, b"\xfd\x28" + talk.evil[:38], b"\x22\x12" + talk.evil[:16]):
        talk.client.put(talk.client.packet(0, talk.evil, options=options))
    talk.insist((0, talk.evil))


def _false_length(talk: Talk) -> None:
    """Its header of IP says that it has no payload, and the frame has one."""
    talk.client.connect()
    packet = bytearray(talk.client.packet(0, talk.evil))
    if talk.client.server.version == 4:
        packet[2:4], packet[10:12] = (40).to_bytes(2, "big"), b"\0\0"
    else:
        packet[4:6] = (20).to_bytes(2, "big")
    for _ in range(3):
        talk.client.put(bytes(packet))
    talk.insist((0, talk.evil))


WRITTEN: dict[str, Callable[[Talk], None]] = {
    known.__name__.strip("_").replace("_", " "): known
    for known in (
        _evil, _overlap, _overlap_backwards, _changed_repetition, _low_hops, _no_hops, _broken, _broken_evil, _syn_data, _syn_allowed_data,
        _two_beginnings, _beginning_in_between, _reset_first, _reset_then_beginning, _end_then_evil, _simultaneous, _split_handshake,
        _without_beginning, _odd_flags, _urgent, _old_timestamps, _outside_the_window, _around_the_end_of_numbers, _single_octets, _backwards,
        _keepalive, _false_acknowledgement, _closed_window, _half, _allowed_then_other_end, _header_options, _tcp_options, _false_length,
    )
}  # fmt: skip


def _by_chance(talk: Talk, seed: int) -> None:
    chance = random.Random(seed)
    if chance.random() < 0.1:
        talk.client.put(talk.client.packet(-1, talk.evil[: chance.randrange(100)], SYN))
    talk.client.connect()
    length = len(talk.ok)
    for _ in range(chance.randrange(3, 14)):
        start = chance.choice((0, 0, chance.randrange(length)))
        end = chance.choice((length, chance.randint(start, length)))
        said = chance.choice((talk.ok, talk.evil, talk.evil))[start:end]
        at = start + chance.choice((0, 0, 0, 0, 1, -1, -length, 1 << 16))
        flags = chance.choice((ACK | PSH,) * 6 + (ACK, ACK | URG, ACK | FIN, ACK | RST, SYN, SYN | ACK, FIN, 0))
        talk.changed(at, said, flags, hops=chance.choice((64,) * 5 + (1, 2, 3)), breaks=chance.random() < 0.15)
        if chance.random() < 0.3:
            talk.client.wait(RST, patience=0.05)
    talk.insist((0, talk.evil), times=1)


def _talk(here: Here, how: Arguments) -> Talk:
    family = int(how["family"])
    with _lock:
        port = raw_tcp.PORTS[next(_ports) % len(raw_tcp.PORTS)]
    client = Client(here.own(family), port, here.target("named", family), int(how["port"]))
    # Both have the same length, so that the one fits in the place of the other.
    name, evil = here.name.encode(), here.evil.encode()
    if how["port"] == 80:
        ok, bad = (b"GET /" + b"x" * 60 + b" HTTP/1.1\r\nHost: " + each + b"\r\n\r\n" for each in (name, evil))
    else:
        ok, bad = (client_hellos.hello(each, client_hellos.padding(300)) for each in (name, evil))
    return Talk(client, ok, bad)


def _segments(here: Here, how: Arguments) -> Made:
    talk = _talk(here, how)
    try:
        if "seed" in how:
            _by_chance(talk, int(how["seed"]))
        else:
            WRITTEN[str(how["segments"])](talk)
    except AssertionError:
        # No SYN-ACK: it got nowhere.
        pass
    finally:
        talk.client.close(len(talk.ok))
        talk.client.sender.close()
        talk.client.receiver.close()
    # Whoever begins anew has the server named anew.
    opens = how["port"] == 443 and how.get("segments") != "reset then beginning"
    return Made(permitted=(talk.ok,), opens=opens)


def _written_variants() -> Iterable[Arguments]:
    yield from crossed(segments=WRITTEN, port=(80, 443), family=packets.FAMILIES)


KINDS = (
    Kind(name="segments", variants=_written_variants, make=_segments, shown={"segments": "evil"}),
    Kind(
        name="segments by chance",
        variants=lambda: crossed(seed=range(60), port=(80, 443), family=packets.FAMILIES),
        make=_segments,
        shown={"port": 80},
    ),
)
