"""Router advertisements have the bytes of the standards, and any message of a guest is judged."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from netcore.taps.router_advertisement import Advertisement, encode, interface_address, is_solicitation

MAC = bytes.fromhex("02420a000002")
PREFIX = IPv6Network("fd00:1::/64")
GATEWAY = IPv6Address("fd00:1::1")


def options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 16
    while at < len(data):
        found[data[at]] = data[at + 2 : at + 8 * data[at + 1]]
        at += 8 * data[at + 1]
    assert at == len(data)
    return found


def test_an_advertisement_has_the_bytes_of_the_standards() -> None:
    data = encode(Advertisement(MAC, PREFIX, 1450, 1800, 3600, (GATEWAY,), ("shop.test",)))
    assert data[:16] == bytes((134, 0, 0, 0, 64, 0)) + struct.pack("!H", 1800) + bytes(8)
    assert options(data) == {
        1: MAC,
        5: struct.pack("!HI", 0, 1450),
        3: bytes((64, 0xC0)) + struct.pack("!III", 3600, 3600, 0) + PREFIX.network_address.packed,
        25: struct.pack("!HI", 0, 3600) + GATEWAY.packed,
        31: struct.pack("!HI", 0, 3600) + b"\4shop\4test\0".ljust(16, b"\0"),
    }


def test_a_prefix_of_another_length_is_not_for_slaac() -> None:
    data = encode(Advertisement(MAC, IPv6Network("fd00:1::/80"), 1500, 0, 3600))
    assert options(data)[3][:2] == bytes((80, 0x80))
    assert set(options(data)) == {1, 3, 5}


def test_the_address_of_slaac_is_known_by_the_mac() -> None:
    assert interface_address(PREFIX, MAC) == IPv6Address("fd00:1::42:aff:fe00:2")


def test_a_solicitation_is_known() -> None:
    assert is_solicitation(bytes((133, 0, 0, 0, 0, 0, 0, 0)))
    assert is_solicitation(bytes((133, 0, 0, 0, 0, 0, 0, 0, 1, 1)) + MAC)
    assert not is_solicitation(bytes((133, 0, 0, 0, 0, 0, 0, 0, 1, 0)) + MAC)  # an option without length
    assert not is_solicitation(bytes((133, 0, 0, 0, 0, 0, 0, 0, 1, 2)) + MAC)  # past the end
    assert not is_solicitation(bytes((134, 0, 0, 0, 0, 0, 0, 0)))


@given(st.binary(max_size=300))
def test_any_bytes_are_judged(data: bytes) -> None:
    is_solicitation(data)
    is_solicitation(bytes((133, 0)) + data)
