"""Who must not be reached: `python -m tests.escape.canary PLACE FILE LINK|-`.

It notes each packet that arrives on LINK with the marker of an attempt, or for an address of an attempt's own; with `-` it is the host
itself, where only what got through all rules counts, so there are sockets instead. Besides, it answers on every TCP port, and notes what
each connection was sent. Each note is a line of JSON in FILE.

PLACE `outside` is a name server too.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
from collections import Counter
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import dns.rrset

from netcore.look import segments
from tests.escape.attempts import FRESH, MARKER, NAMED, SPECIAL, numbered

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncanary\n"
ALL_PORTS = 7
"""Every TCP port outside is redirected to this one."""
HOST_PORTS = (22, 25, 80, 443, 853, 5432, 8080, 9443)
HOST_UDP_PORTS = (80, 123, 443, 500, 853, 4789, 5353, 9999, 6081, 2152, 1701, 51_820, 3544)
OK4, OK6 = "192.0.2.1", "2001:db8:2::1"
MOST = 200
"""Notes of one kind about one attempt."""
STREAM = 8192
_NAME = re.compile(r"n(\d+)\.w(\d)\.wild\.test\.$")
_SPECIAL_NAME = re.compile(r"s(\d+)-\d+\.w\d\.wild\.test\.$")


class Notes:
    def __init__(self, path: str, place: str) -> None:
        self.file = Path(path).open("a", buffering=1)  # noqa: SIM115  # As long as the process.
        self.place = place
        self.seen: Counter[tuple[object, ...]] = Counter()

    def add(self, what: str, who: int, number: int, **more: object) -> None:
        key = (what, who, number)
        self.seen[key] += 1
        if self.seen[key] <= MOST:
            self.file.write(json.dumps({"place": self.place, "what": what, "who": who, "number": number, **more}) + "\n")

    def markers(self, octets: bytes, how: str) -> None:
        for who, number in set(MARKER.findall(octets)):
            self.add("marker", int(who), int(number), how=how, octets=octets[:1500].hex())


def own_address(text: str) -> tuple[int, int, int] | None:
    """Return (kind, who, number) of an address that belongs to an attempt."""
    address = ip_address(text)
    if address.version == 4:
        first, who, high, low = address.packed
        return (first, who, high << 8 | low) if first in (FRESH, NAMED) else None
    words = address.exploded.split(":")
    if words[:2] == ["2001", "0db8"] and int(words[2]) in (FRESH, NAMED) if words[2].isdigit() else False:
        return int(words[2]), int(words[3], 16), int(words[7], 16)
    return None


def note_packet(notes: Notes, kind: int, packet: bytes) -> None:
    """Note one packet that arrived; *kind*: its ethertype."""
    how = f"{kind:04x}"
    target = None
    if kind == 0x0800 and len(packet) >= 20:
        target, how = socket.inet_ntoa(packet[16:20]), f"IPv4 protocol {packet[9]}"
    elif kind == 0x86DD and len(packet) >= 40:
        target, how = socket.inet_ntop(socket.AF_INET6, packet[24:40]), f"IPv6 protocol {packet[6]}"
    segment = segments.read(packet) if kind in (0x0800, 0x86DD) else None
    if segment is not None:
        how += f" port {segment.destination_port}"
    notes.markers(packet, how)
    of = own_address(target) if target else None
    if of is None or notes.place != "outside":
        return
    first, who, number = of
    if first == FRESH:
        notes.add("packet", who, number, how=how)
    elif segment is None:
        notes.add("other protocol", who, number, how=how)
    elif segment.destination_port not in (80, 443, 9443):
        notes.add("other port", who, number, how=how)
    elif segment.payload:
        notes.add("payload", who, number, how=how, octets=segment.payload.hex())


def listen(notes: Notes, link: str) -> None:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    # SO_RCVBUFFORCE
    sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 27)
    sock.bind((link, 3))
    sock.setblocking(False)

    def read() -> None:
        for _ in range(256):
            try:
                packet, sender = sock.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if sender[2] != socket.PACKET_OUTGOING:
                note_packet(notes, sender[1], packet)
                if b"that-was-all-" in packet:
                    # PACKET_STATISTICS: (packets, drops) since the last time.
                    lost = struct.unpack("II", sock.getsockopt(263, 6, 8))[1]
                    notes.add("fence", 0, 0, text=packet[packet.index(b"that-was-all-") :][:24].decode(errors="replace"), lost=lost)
                    notes.seen.pop(("fence", 0, 0))

    asyncio.get_running_loop().add_reader(sock, read)


def is_about_an_answer(octets: bytes, how: str) -> bool:
    """Return whether it is an error that quotes an answer of the resolver, for which nobody waits any more. The question is in it."""
    if how == "raw 1":
        return octets[20:21] == b"\3" and octets[48:50] == b"\0\x35"
    return how == "raw 58" and octets[:1] == b"\1" and octets[48:50] == b"\0\x35"


def listen_on_host(notes: Notes) -> None:
    """Note what comes to other sockets than those of TCP on the host."""
    loop = asyncio.get_running_loop()

    def add(sock: socket.socket, how: str) -> None:
        sock.setblocking(False)

        def read() -> None:
            octets = sock.recv(1 << 16)
            if not is_about_an_answer(octets, how):
                notes.markers(octets, how)

        loop.add_reader(sock, read)

    for family, protocols in ((socket.AF_INET, (1, 2, 4, 47, 50, 132, 136, 253)), (socket.AF_INET6, (58, 4, 41, 47, 50, 132, 136, 253))):
        for protocol in protocols:
            add(socket.socket(family, socket.SOCK_RAW, protocol), f"raw {protocol}")
    for port in HOST_UDP_PORTS:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::", port))
        add(sock, f"udp {port}")


def original_address(sock: Any) -> tuple[str, int]:
    """Return what the client has connected to, before it was redirected to this port (SO_ORIGINAL_DST)."""
    try:
        if sock.family == socket.AF_INET:
            port, octets = struct.unpack_from("!2xH4s", sock.getsockopt(0, 80, 16))
            return socket.inet_ntoa(octets), port
        port, octets = struct.unpack_from("!2xH4x16s", sock.getsockopt(41, 80, 28))
        return socket.inet_ntop(socket.AF_INET6, octets), port
    except OSError:
        address: tuple[str, int] = sock.getsockname()[:2]
        return address


async def connected(notes: Notes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address, port = original_address(writer.get_extra_info("socket"))
    stream = bytearray()
    try:
        while octets := await reader.read(1 << 16):
            stream += octets[: STREAM - len(stream)]
            notes.markers(bytes(stream), f"stream {address} {port}")
            writer.write(ANSWER)
            await writer.drain()
    except OSError:
        pass
    finally:
        of = own_address(address)
        if of is not None and stream:
            notes.add("stream", of[1], of[2], how=str(of[0]), octets=stream.hex())
        writer.close()


def answer(octets: bytes) -> bytes:
    query = dns.message.from_wire(octets)
    name, rtype = query.question[0].name, query.question[0].rdtype
    text = name.to_text().lower()
    made = dns.message.make_response(query, recursion_available=True)
    if match := _NAME.match(text):
        four, six = (numbered(NAMED, int(match[2]), int(match[1]), family) for family in (4, 6))
    elif match := _SPECIAL_NAME.match(text):
        four, six = SPECIAL[int(match[1]) % len(SPECIAL)]
    else:
        four, six = OK4, OK6
    if rtype == dns.rdatatype.A:
        made.answer.append(dns.rrset.from_text(text, 60, "IN", "A", four))
    elif rtype == dns.rdatatype.AAAA:
        made.answer.append(dns.rrset.from_text(text, 60, "IN", "AAAA", six))
    return made.to_wire()


class NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            self.transport.sendto(answer(data), addr)
        except Exception:  # It is asked odd things; they are noted by who listens on the link.
            return


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            made = answer(octets)
            writer.write(len(made).to_bytes(2, "big") + made)
    except Exception:
        writer.close()


async def main(place: str, path: str, link: str) -> None:
    loop = asyncio.get_running_loop()
    notes = Notes(path, place)
    if link == "-":
        listen_on_host(notes)
    else:
        listen(notes, link)
    for port in HOST_PORTS if link == "-" else (ALL_PORTS,):
        await asyncio.start_server(lambda reader, writer: connected(notes, reader, writer), None, port, backlog=512)
    if place == "outside":
        await loop.create_datagram_endpoint(NameServer, local_addr=("::", 53))
        await asyncio.start_server(asked, None, 53)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
