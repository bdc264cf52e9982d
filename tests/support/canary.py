"""What stands outside in the lab of egress rules: a name server and servers on many ports, which note who came.

    canary.py FILE

Each question is a line `question NAME`, each connection `tcp ADDRESS PORT`, each datagram with something in it `udp ADDRESS PORT`, and
each other packet `packet PROTOCOL`.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

TCP_PORTS = (22, 80, 443, 853, 5432, 8443)
UDP_PORTS = (443, 853, 9999)
_NOTED = Path(sys.argv[1])
_ADDRESSES = {
    "ok.test.": ("192.0.2.1", "2001:db8:2::1"),
    "meta.wild.test.": ("169.254.169.254", "fe80::1"),
    "host.wild.test.": ("10.9.0.2", "::ffff:10.9.0.2"),
    "inside.wild.test.": ("10.200.0.9", "fd99::1"),
}


def note(text: str) -> None:
    with _NOTED.open("a") as file:
        file.write(f"{text}\n")


def answer(octets: bytes) -> bytes:
    query = dns.message.from_wire(octets)
    name, rtype = query.question[0].name, query.question[0].rdtype
    text = name.to_text().lower()
    note(f"question {text}")
    made = dns.message.make_response(query, recursion_available=True)
    target = text
    if text == "chain.wild.test.":
        made.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "cdn.elsewhere.test."))
        target = "cdn.elsewhere.test."
    four, six = _ADDRESSES.get(target, ("192.0.2.1", "2001:db8:2::1"))
    if rtype == dns.rdatatype.A:
        made.answer.append(dns.rrset.from_text(target, 1, "IN", "A", four))
    elif rtype == dns.rdatatype.AAAA:
        made.answer.append(dns.rrset.from_text(target, 1, "IN", "AAAA", six))
    return made.to_wire()


class NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(answer(data), addr)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, port: int) -> None:
        self.port = port

    def datagram_received(self, data: bytes, addr: Any) -> None:
        note(f"udp {addr[0]} {self.port}")


async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address, port = writer.get_extra_info("sockname")[:2]
    note(f"tcp {address.removeprefix('::ffff:')} {port}")
    while line := await reader.readline():
        if line == b"\r\n":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        elif not line.startswith((b"GET", b"Host", b"User", b"Accept", b"Content-Length")):
            writer.write(line)
    writer.close()


async def packets(protocol: int, kind: int) -> None:
    """Note packets of a protocol that nobody here speaks."""
    sock = socket.socket(kind, socket.SOCK_RAW, protocol)
    sock.setblocking(False)
    while True:
        octets = await asyncio.get_running_loop().sock_recv(sock, 65_535)
        if protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            start = 20 if kind == socket.AF_INET else 0
            if octets[start] not in (8, 128):
                continue
        note(f"packet {protocol}")


async def main() -> None:
    loop = asyncio.get_running_loop()
    _NOTED.write_text("")
    await loop.create_datagram_endpoint(NameServer, local_addr=("::", 53))
    for port in TCP_PORTS:
        await asyncio.start_server(connected, None, port)
    for port in UDP_PORTS:
        await loop.create_datagram_endpoint(functools.partial(Datagrams, port), local_addr=("::", port))
    others = [packets(protocol, socket.AF_INET) for protocol in (socket.IPPROTO_ICMP, 4, 47, 132)] + [
        packets(protocol, socket.AF_INET6) for protocol in (socket.IPPROTO_ICMPV6, 4, 47)
    ]
    print("listening", flush=True)
    await asyncio.gather(*others)


asyncio.run(main())
