"""MAC addresses: from text to octets, and to what IPv6 makes of them. Pure."""

from __future__ import annotations


def octets(mac: str) -> bytes:
    """Return the six octets of *mac*, which is written with colons."""
    return bytes.fromhex(mac.replace(":", ""))


def interface_identifier(hardware_address: bytes) -> bytes:
    """Return the last eight octets of the IPv6 addresses that are made of a MAC of six octets (RFC 4291 appendix A)."""
    return bytes((hardware_address[0] ^ 2,)) + hardware_address[1:3] + b"\xff\xfe" + hardware_address[3:]
