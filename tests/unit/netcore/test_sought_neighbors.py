"""Searches for neighbours of sandboxes that may reach none, and the answers."""

import struct
from ipaddress import ip_address

import pytest

from netcore.kernel.sought_neighbors import Sought, answer, read_search

MAC, BRIDGE = bytes.fromhex("02420a000002"), bytes.fromhex("0242aabbccdd")
FOUR = Sought(7, MAC, ip_address("10.0.0.2"), ip_address("10.0.0.3"))
SIX = Sought(7, MAC, ip_address("fd00::2"), ip_address("fd00::3"))


def arp(operation=1, kinds=(1, 0x0800, 6, 4)):
    return struct.pack("!HHBBH", *kinds, operation) + MAC + FOUR.source.packed + bytes(6) + FOUR.address.packed


def solicitation(type_=135):
    group = ip_address("ff02::1:ff00:3").packed
    return struct.pack("!IHBB", 6 << 28, 24, 58, 255) + SIX.source.packed + group + bytes([type_]) + bytes(7) + SIX.address.packed


def test_searches_are_read_in_both_families():
    assert read_search(7, b"", arp()) == FOUR
    assert read_search(7, MAC, solicitation()) == SIX


@pytest.mark.parametrize(
    "octets",
    [b"", arp(2), arp(1, (6, 0x0800, 6, 4)), arp(1, (1, 0x86DD, 6, 4)), arp(1, (1, 0x0800, 8, 4)), solicitation(136), b"\x45" + bytes(99)],
)
def test_what_is_no_search_is_left_out(octets):
    assert read_search(7, MAC, octets) is None
    for whole in (arp(), solicitation()):
        for length in range(len(whole)):
            assert read_search(7, MAC, whole[:length]) is None


def test_the_answer_is_for_who_asked_and_says_that_the_bridge_has_the_address():
    told = answer(FOUR, BRIDGE)
    assert told[:14] == MAC + BRIDGE + b"\x08\x06"
    assert struct.unpack("!HHBBH6s4s6s4s", told[14:]) == (1, 0x0800, 6, 4, 2, BRIDGE, FOUR.address.packed, MAC, FOUR.source.packed)
    told = answer(SIX, BRIDGE)
    assert told[:14] == MAC + BRIDGE + b"\x86\xdd"
    assert (told[22:38], told[38:54], told[54]) == (SIX.address.packed, SIX.source.packed, 136)
    assert told[58:] == b"\x60\0\0\0" + SIX.address.packed + b"\x02\x01" + BRIDGE
