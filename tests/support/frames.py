"""Frames made by hand and sent by a packet socket, past everything that a sender's own network stack would refuse.

As a program: `frames.py send IFNAME [COUNT]` reads frames as hexadecimal digits, one a line, and sends each; `frames.py hear
IFNAME MARKER` prints each frame that comes in, as hexadecimal digits, until one has the octets of MARKER in it. `frames.py
insist IFNAME FRAME` sends one again and again, as soon as there is such a link and as long as there is, and brings it up
itself; it says how many went at the end of its input. All run with the standard library alone, in any namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
LLDP, STP, LACP, BRIDGE_ADDRESS = "01:80:c2:00:00:0e", "01:80:c2:00:00:00", "01:80:c2:00:00:02", "01:80:c2:00:00:03"
IPV4, ARP, IPV6, VLAN, SERVICE_VLAN = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
ICMP, IGMP, TCP, UDP, ROUTING, FRAGMENT, ICMPV6, DESTINATION_OPTIONS = 1, 2, 6, 17, 43, 44, 58, 60
ROUTER_ADVERTISEMENT, NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT, REDIRECT, MLD_QUERY = 134, 135, 136, 137, 130


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(target: str, source: str, kind: int, payload: bytes, *, tags: tuple[tuple[int, int], ...] = ()) -> bytes:
    """Return a frame; *tags*: (ethertype, VLAN) of each tag, the outer first."""
    tagged = b"".join(struct.pack("!HH", tag, vid) for tag, vid in tags)
    return octets(target) + octets(source) + tagged + struct.pack("!H", kind) + payload


def arp(operation: int, mac: str, address: str, target_mac: str, target: str) -> bytes:
    """Return an ARP message (RFC 826)."""
    start = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return start + octets(mac) + IPv4Address(address).packed + octets(target_mac) + IPv4Address(target).packed


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    """Return a packet (RFC 791). *fragment*: flags and offset, as in the header."""
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, 4 * words + len(payload), 7, fragment, 64, protocol, 0)
    header += IPv4Address(source).packed + IPv4Address(target).packed + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(source: str, target: str, following: int, payload: bytes, hops: int = 255) -> bytes:
    """Return a packet (RFC 8200)."""
    return struct.pack("!IHBB", 6 << 28, len(payload), following, hops) + IPv6Address(source).packed + IPv6Address(target).packed + payload


def udp(source: int, target: int, payload: bytes) -> bytes:
    """Return a datagram without checksum, which IPv4 allows (RFC 768)."""
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def transport6(source: str, target: str, protocol: int, message: bytes, at: int) -> bytes:
    """Return *message* with its checksum at octet *at* (RFC 8200 section 8.1)."""
    pseudo = IPv6Address(source).packed + IPv6Address(target).packed + struct.pack("!II", len(message), protocol)
    return message[:at] + struct.pack("!H", checksum(pseudo + message)) + message[at + 2 :]


def icmpv6(source: str, target: str, kind: int, body: bytes, *, before: bytes = b"", first: int = ICMPV6, hops: int = 255) -> bytes:
    """Return a packet with an ICMPv6 message. *before*: extension headers, of which *first* is the first."""
    message = transport6(source, target, ICMPV6, struct.pack("!BBH", kind, 0, 0) + body, 2)
    return ipv6(source, target, first, before + message, hops)


def router_advertisement(source: str, mac: str, prefix: str, *, before: bytes = b"", first: int = ICMPV6) -> bytes:
    """Return a router advertisement for a /64 (RFC 4861 section 4.2)."""
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + b"\1\1" + octets(mac)
    body += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86_400, 14_400, 0) + IPv6Address(prefix).packed
    return icmpv6(source, "ff02::1", ROUTER_ADVERTISEMENT, body, before=before, first=first)


def neighbor(kind: int, source: str, target: str, about: str, mac: str, *, before: bytes = b"", first: int = ICMPV6) -> bytes:
    """Return a neighbour solicitation or advertisement that says *mac* of *about* (RFC 4861 sections 4.3, 4.4)."""
    flags = 0x2000_0000 if kind == NEIGHBOR_ADVERTISEMENT else 0
    option = (b"\2" if kind == NEIGHBOR_ADVERTISEMENT else b"\1") + b"\1" + octets(mac)
    body = struct.pack("!I", flags) + IPv6Address(about).packed + (b"" if source == "::" else option)
    return icmpv6(source, target, kind, body, before=before, first=first)


def insist(ifname: str, frame: bytes) -> int:
    """Send *frame* until the input ends, whatever becomes of the link meanwhile; return how many were taken."""
    sent = 0
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while not select.select([sys.stdin], [], [], 0)[0]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING.
            fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", ifname.encode(), 0x41))
            sock.bind((ifname, 0))
            while not select.select([sys.stdin], [], [], 0)[0]:
                sent += sock.send(frame) == len(frame)
    return sent


def main(command: str, ifname: str, *more: str) -> None:
    if command == "insist":
        print("insisting", flush=True)
        print(insist(ifname, bytes.fromhex(more[0])))
        return
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    sock.bind((ifname, 3))
    if command == "send":
        # From one processor, so that what is sent last is behind the rest everywhere.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        sent = 0
        for line in sys.stdin:
            frame = bytes.fromhex(line)
            for _ in range(int(more[0]) if more else 1):
                sent += sock.send(frame) == len(frame)
        print(sent)
        return
    # Tags that the kernel has taken off a frame come as auxiliary data.
    sock.setsockopt(263, 8, 1)
    print("hearing", flush=True)
    marker = more[0].encode()
    while True:
        frame, auxiliary, _, sender = sock.recvmsg(1 << 16, 256)
        if sender[2] == socket.PACKET_OUTGOING:
            continue
        for _, _, data in auxiliary:
            status, _, _, _, _, tag, tag_type = struct.unpack_from("=IIIHHHH", data)
            if status & 0x10:
                frame = frame[:12] + struct.pack("!HH", tag_type, tag) + frame[12:]
        print(frame.hex(), flush=True)
        if marker in frame:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
