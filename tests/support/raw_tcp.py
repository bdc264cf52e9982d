"""A TCP client made by hand, past everything that the kernel would refuse to send.

As a program: `raw_tcp.py SCENARIO SOURCE PORT ADDRESS PORT` does what a function of that name below does, in a network namespace whose
kernel says nothing about connections from PORT. It prints what the server answered, as a line of JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from ipaddress import ip_address

from netcore.look import segments
from netcore.look.segments import ACK, FIN, PSH, RST, SYN, Segment, distance
from tests.support import client_hellos

PORTS = range(61_000, 62_000)
"""Behind those that the kernel chooses from."""
MARK = 1
QUIET = f"""
table inet quiet {{
  chain output {{
    type filter hook output priority 0; policy accept;
    meta mark != {MARK} tcp sport {PORTS[0]}-{PORTS[-1]} drop
  }}
}}
"""
"""Rules for the namespace: the kernel resets nothing that it knows nothing of."""

ALLOWED, EVIL = (client_hellos.hello(name, client_hellos.padding(300)) for name in (b"packages.example", b"evil.example"))
PATIENCE = 20.0


class Client:
    """One connection. Offsets count from the first octet of its data."""

    def __init__(self, source: str, port: int, address: str, server_port: int) -> None:
        self.source, self.port = ip_address(source), port
        self.server, self.server_port = ip_address(address), server_port
        self.start = 0xFFFF_FF00
        self.server_next = 0
        family = socket.AF_INET if self.server.version == 4 else socket.AF_INET6
        self.sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.sender.setsockopt(socket.SOL_SOCKET, 36, MARK)
        self.receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.received: list[Segment] = []

    def packet(self, at: int, payload: bytes = b"", flags: int = ACK | PSH, options: bytes = b"") -> bytes:
        made = Segment(
            source=self.source, destination=self.server, source_port=self.port, destination_port=self.server_port,
            sequence=self.start + at, acknowledgement=self.server_next if flags & ACK else 0, flags=flags, payload=payload, options=options,
        )  # fmt: skip
        return segments.write(made)

    def put(self, packet: bytes) -> None:
        self.sender.sendto(packet, (str(self.server), 0))

    def send(self, at: int, payload: bytes = b"", flags: int = ACK | PSH) -> None:
        self.put(self.packet(at, payload, flags))

    def wait(self, flags: int = 0, *, octets: int = 0, patience: float = PATIENCE) -> bool:
        """Wait for a segment with all of *flags*, or until the server has sent so many *octets*; return whether it came."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if flags and any(segment.flags & flags == flags for segment in self.received):
                return True
            if octets and len(self.answer) >= octets:
                return True
            if select.select([self.receiver], [], [], 0.1)[0]:
                packet, sender = self.receiver.recvfrom(1 << 16)
                segment = None if sender[2] == socket.PACKET_OUTGOING else segments.read(packet)
                if segment and (segment.source, segment.destination_port) == (self.server, self.port):
                    self.take(segment)
        return False

    def take(self, segment: Segment) -> None:
        self.received.append(segment)
        length = segment.length + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        if segment.flags & SYN or distance(self.server_next, segment.sequence) == 0:
            self.server_next = segment.sequence + length

    @property
    def answer(self) -> bytes:
        """The octets of the server, in order."""
        octets: dict[int, int] = {}
        first = next((segment.sequence + 1 for segment in self.received if segment.flags & SYN), 0)
        for segment in self.received:
            for place, octet in enumerate(segment.payload, distance(first, segment.sequence)):
                octets.setdefault(place, octet)
        answer = bytearray()
        while len(answer) in octets:
            answer.append(octets[len(answer)])
        return bytes(answer)

    def connect(self, *, mss: int = 1460) -> None:
        self.put(self.packet(-1, flags=SYN, options=b"\2\4" + mss.to_bytes(2, "big")))
        assert self.wait(SYN | ACK), "no SYN-ACK"
        self.send(0, flags=ACK)

    def insist(self, *pieces: tuple[int, bytes], times: int = int(PATIENCE)) -> None:
        """Send *pieces* again and again until the server answers something, or resets."""
        for _ in range(times):
            for at, payload in pieces:
                self.send(at, payload)
            if self.wait(octets=5, patience=1.0) or self.wait(RST, patience=0.0):
                return

    def close(self, at: int) -> None:
        self.send(at, flags=RST | ACK)


def pieces(octets: bytes, size: int) -> list[tuple[int, bytes]]:
    return [(at, octets[at : at + size]) for at in range(0, len(octets), size)]


def single_octets(client: Client) -> None:
    client.connect()
    client.insist(*pieces(ALLOWED, 1))


def backwards(client: Client) -> None:
    client.connect()
    client.insist(*reversed(pieces(ALLOWED, 20)))


def overlap(client: Client) -> None:
    """The second segment says something else about the end of the first."""
    client.connect()
    client.insist((0, ALLOWED[:150]), (50, EVIL[50:]))


def changed_repetition(client: Client) -> None:
    """The same place again, with another name, as soon as the first has been sent."""
    client.connect()
    for _ in range(20):
        client.send(0, ALLOWED)
        client.send(0, EVIL)
    client.insist((0, EVIL))


def low_hop_limit(client: Client) -> None:
    """What is allowed would die on its way, and the other takes its place."""
    client.connect()
    packet = bytearray(client.packet(0, ALLOWED))
    if client.server.version == 4:
        packet[8], packet[10:12] = 2, b"\0\0"
    else:
        packet[7] = 2
    client.put(bytes(packet))
    client.insist((0, EVIL))


def bad_checksum(client: Client) -> None:
    """The server would not take what is allowed, and takes the other."""
    client.connect()
    packet = bytearray(client.packet(0, ALLOWED))
    packet[36 if client.server.version == 4 else 56] ^= 1
    client.put(bytes(packet))
    client.insist((0, EVIL))


def old_timestamps(client: Client) -> None:
    """The server would not take what is allowed because it is old, and takes the other."""
    client.put(client.packet(-1, flags=SYN, options=segments.timestamps_option(1_000_000, 0)))
    assert client.wait(SYN | ACK)
    stamps = next(segment.timestamps for segment in client.received if segment.flags & SYN)
    assert stamps is not None
    client.put(client.packet(0, flags=ACK, options=segments.timestamps_option(1_000_001, stamps[0])))
    client.put(client.packet(0, ALLOWED, options=segments.timestamps_option(5, stamps[0])))
    for _ in range(int(PATIENCE)):
        client.put(client.packet(0, EVIL, options=segments.timestamps_option(1_000_002, stamps[0])))
        if client.wait(octets=5, patience=1.0) or client.wait(RST, patience=0.0):
            return


def data_in_the_first_segment(client: Client) -> None:
    """A SYN that carries what is refused; then what is allowed, behind it or in its place."""
    client.put(client.packet(-1, EVIL, SYN))
    client.connect()
    client.insist((0, ALLOWED))


def two_beginnings(client: Client) -> None:
    """Two SYNs, so that what is allowed lies before what the server expects."""
    client.put(client.packet(-1, flags=SYN))
    client.put(client.packet(-1 - len(ALLOWED), flags=SYN))
    assert client.wait(SYN | ACK)
    client.send(0, flags=ACK)
    for _ in range(5):
        client.send(-len(ALLOWED), ALLOWED)
        client.send(0, EVIL)
        client.wait(octets=5, patience=0.3)
    client.insist((0, EVIL))


def unknown_beginning(client: Client) -> None:
    """What is allowed lies before what the server expects, in a connection whose mark has changed."""
    client.connect()
    client.put(client.packet(-1 - len(ALLOWED), flags=SYN))
    for _ in range(5):
        client.send(-len(ALLOWED), ALLOWED)
        client.send(0, EVIL)
        client.wait(octets=5, patience=0.3)
    client.insist((0, EVIL))


def reset_that_gets_lost(client: Client) -> None:
    """The kernel forgets an open connection that the server still has; then other data, and a beginning in its middle."""
    client.connect()
    client.insist((0, ALLOWED))
    at = len(ALLOWED)
    packet = bytearray(client.packet(at, flags=RST | ACK))
    packet[8 if client.server.version == 4 else 7] = 1
    client.put(bytes(packet))
    client.put(client.packet(at - 1, flags=SYN))
    client.received = []
    client.insist((at, EVIL), times=2)
    client.close(at)


def half(client: Client) -> None:
    client.connect()
    for at, payload in pieces(EVIL[:-1], 40):
        client.send(at, payload)
    client.wait(RST, patience=0.3)
    client.close(0)


def options_in_the_header(client: Client) -> None:
    """IP options, or extension headers, hide where the data begin."""
    client.connect()
    packet = client.packet(0, EVIL)
    if client.server.version == 4:
        header = bytearray(packet[:20]) + b"\1\1\1\0"
        header[0], header[2:4], header[10:12] = 0x46, (len(packet) + 4).to_bytes(2, "big"), b"\0\0"
        packet = bytes(header) + packet[20:]
    else:
        packet = packet[:4] + (len(packet) - 40 + 8).to_bytes(2, "big") + b"\x3c" + packet[7:40] + b"\6\0\1\4\0\0\0\0" + packet[40:]
    for _ in range(5):
        client.put(packet)
    client.wait(RST, patience=0.3)
    client.close(0)


def fragments(client: Client) -> None:
    """What is allowed, in pieces of IP: they are put together before anybody looks (IPv4 only)."""
    client.connect()
    packet = client.packet(0, ALLOWED)
    for _ in range(int(PATIENCE)):
        for at in range(20, len(packet), 64):
            part = packet[at : at + 64]
            more = 0x2000 if at + 64 < len(packet) else 0
            header = bytearray(packet[:20])
            header[2:4], header[4:6] = (20 + len(part)).to_bytes(2, "big"), b"\0\7"
            header[6:8], header[10:12] = (more | (at - 20) // 8).to_bytes(2, "big"), b"\0\0"
            client.put(bytes(header) + part)
        if client.wait(octets=5, patience=1.0):
            return


SCENARIOS = (
    single_octets, backwards, overlap, changed_repetition, low_hop_limit, bad_checksum, old_timestamps, data_in_the_first_segment,
    two_beginnings, unknown_beginning, reset_that_gets_lost, half, options_in_the_header, fragments,
)  # fmt: skip


def main(scenario: str, source: str, port: str, address: str, server_port: str) -> None:
    client = Client(source, int(port), address, int(server_port))
    next(known for known in SCENARIOS if known.__name__ == scenario)(client)
    client.close(len(ALLOWED))
    print(json.dumps({"answer": client.answer[:64].hex(), "reset": any(segment.flags & RST for segment in client.received)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
