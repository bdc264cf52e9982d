"""The checksum of IP, TCP, UDP and ICMP (RFC 1071). Pure."""

from __future__ import annotations


def checksum(octets: bytes) -> int:
    """Return the complement of the ones' complement sum (RFC 1071), which is a remainder."""
    number = int.from_bytes(octets + bytes(len(octets) % 2), "big")
    return ~((number % 0xFFFF) or (0xFFFF if number else 0)) & 0xFFFF
