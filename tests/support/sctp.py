"""SCTP by raw sockets, for a kernel without SCTP: `sctp.py listen PORT` or `sctp.py ask ADDRESS PORT`.

`listen` answers each INIT for PORT with an INIT ACK; `ask` sends an INIT and says who answered. RFC 9260 sections 3 and 5.1.
"""

from __future__ import annotations

import socket
import struct
import sys

SCTP = 132


def crc32c(octets: bytes) -> int:
    """Return the checksum of RFC 9260 appendix A."""
    value = 0xFFFFFFFF
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def packet(source: int, destination: int, tag: int, kind: int, own_tag: int) -> bytes:
    """Return an INIT (1) or INIT ACK (2)."""
    body = struct.pack("!IIHHI", own_tag, 65_535, 1, 1, 1)
    if kind == 2:
        body += struct.pack("!HH4s", 7, 8, b"cook")
    chunk = struct.pack("!BBH", kind, 0, 4 + len(body)) + body
    header = struct.pack("!HHI", source, destination, tag)
    return header + struct.pack("<I", crc32c(header + bytes(4) + chunk)) + chunk


def main() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, SCTP)
    if sys.argv[1] == "listen":
        port = int(sys.argv[2])
        print("listening", flush=True)
        while True:
            octets, peer = sock.recvfrom(2048)
            octets = octets[(octets[0] & 15) * 4 :]
            source, destination = struct.unpack_from("!HH", octets)
            if destination == port and octets[12] == 1:
                print(peer[0], flush=True)
                sock.sendto(packet(port, source, struct.unpack_from("!I", octets, 16)[0], 2, 7), (peer[0], 0))
    address, port = sys.argv[2], int(sys.argv[3])
    sock.settimeout(2)
    sock.sendto(packet(40_000, port, 0, 1, 9), (address, 0))
    while True:
        octets, peer = sock.recvfrom(2048)
        octets = octets[(octets[0] & 15) * 4 :]
        if octets[12] == 2 and struct.unpack_from("!HH", octets) == (port, 40_000):
            print(f"init ack from {peer[0]}")
            return


main()
