"""TCP segments: read from packets and written as such, with checksums that the other end takes."""

import random
from ipaddress import ip_address

import pytest

from netcore.look import segments
from netcore.look.segments import ACK, PSH, SYN, Segment, distance, timestamps_option
from tests.support import frames

FOUR = {"source": ip_address("10.0.0.2"), "destination": ip_address("192.0.2.1")}
SIX = {"source": ip_address("fd00::2"), "destination": ip_address("2001:db8::1")}
MORE = {"source_port": 40_000, "destination_port": 443, "sequence": 5, "acknowledgement": 6, "flags": ACK | PSH, "window": 7}


def checksum_is_right(packet):
    at, pseudo = (20, packet[12:20]) if packet[0] >> 4 == 4 else (40, packet[8:40])
    body = packet[at:]
    return frames.checksum(pseudo + len(body).to_bytes(4, "big") + bytes([0, 0, 0, 6]) + body) == 0


@pytest.mark.parametrize("ends", [FOUR, SIX])
@pytest.mark.parametrize("payload", [b"", b"x", b"xy" * 600, b"\xff\xff" * 3])
def test_what_is_written_is_read(ends, payload):
    made = Segment(**ends, **MORE, payload=payload, length=len(payload), options=timestamps_option(1, 2), traffic_class=0xB8)
    packet = segments.write(made)
    assert segments.read(packet) == made
    assert checksum_is_right(packet)
    assert packet[0] >> 4 == 6 or frames.checksum(packet[:20]) == 0
    assert made.timestamps == (1, 2)


def test_bits_of_congestion_stay_with_their_packet():
    read = segments.read(segments.write(Segment(**SIX, **MORE, traffic_class=0xB9)))
    assert read.traffic_class == 0xB8


def test_routers_may_cut_what_is_sent():
    assert segments.write(Segment(**FOUR, **MORE))[6:8] == b"\0\0"


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_a_copy_that_was_cut_says_how_long_it_was(ends):
    packet = segments.write(Segment(**ends, **MORE, payload=bytes(1000)))
    read = segments.read(packet[:120])
    assert (read.length, len(read.payload)) == (1000, 120 - (40 if ends is FOUR else 60))


def ipv4(**more):
    return frames.ipv4("10.0.0.2", "192.0.2.1", 6, bytes(12) + b"\x50" + bytes(7), **more)


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"\x45", b"\x60", ipv4(options=b"\x07\x04\0\0"), ipv4(fragment=0x2000), ipv4(fragment=3), ipv4()[:-1], ipv4()[:32] + b"\x40" + ipv4()[33:],
        ipv4()[:32] + b"\x60" + ipv4()[33:], frames.ipv4("10.0.0.2", "192.0.2.1", 17, bytes(20)),
        frames.ipv6("fd00::2", "2001:db8::1", 60, bytes(8) + bytes(12) + b"\x50" + bytes(7)), frames.ipv6("fd00::2", "2001:db8::1", 6, bytes(19)),
    ],
)  # fmt: skip
def test_what_is_no_plain_segment_is_none(packet):
    assert segments.read(packet) is None


def test_octets_behind_the_packet_are_no_payload():
    read = segments.read(segments.write(Segment(**FOUR, **MORE, payload=b"abc")) + b"more")
    assert (read.payload, read.length) == (b"abc", 3)


@pytest.mark.parametrize(
    ("options", "size", "stamps"),
    [
        (b"", None, None), (b"\2\4\5\xb4", 1460, None), (b"\1\1\2\4\5\xb4", 1460, None), (b"\3\3\7\2\4\2\x18", 536, None), (b"\2\3\5", None, None),
        (b"\2", None, None), (b"\2\0", None, None), (b"\2\1\5\xb4", None, None), (b"\0\2\4\5\xb4", None, None), (b"\5\x0a" + bytes(8) + timestamps_option(9, 8), None, (9, 8)),
        (b"\x08\x06\0\0\0\1", None, None),
    ],
)  # fmt: skip
def test_options_are_found_or_not_there(options, size, stamps):
    made = Segment(**FOUR, **{**MORE, "flags": SYN}, options=options)
    assert (made.maximum_segment_size, made.timestamps) == (size, stamps)


def test_numbers_wrap_around():
    assert [distance(0xFFFF_FFFE, number) for number in (0xFFFF_FFFD, 0xFFFF_FFFE, 0, 0x7FFF_FFFD, 0x7FFF_FFFE)] == [
        -1,
        0,
        2,
        0x7FFF_FFFF,
        -0x8000_0000,
    ]


def test_damaged_packets_are_read_or_not():
    chance = random.Random("segments")
    seeds = [segments.write(Segment(**ends, **MORE, payload=b"x" * 40, options=timestamps_option(1, 2))) for ends in (FOUR, SIX)]
    for _ in range(3000):
        octets = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 4)):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        read = segments.read(bytes(octets[: chance.randrange(len(octets) + 1)]))
        if read is not None:
            assert len(read.payload) <= max(0, read.length)
            assert (read.timestamps, read.maximum_segment_size) is not None
