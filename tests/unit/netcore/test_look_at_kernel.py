"""What the look says to the kernel and hears from it: messages of log groups and connection marks, and the text of its rules."""

import struct
from ipaddress import ip_address

import pytest

from netcore.desired import firewall, frame_rules, look_rules
from netcore.kernel import flow_marks
from netcore.kernel.netlink import attr, find
from netcore.kernel.packet_log import LoggedPacket, read_message


def message(*attributes):
    body = bytes([2, 0, 0, 0]) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), 0x400, 0, 0, 0) + body


def test_a_logged_packet_is_read():
    hardware = struct.pack("!HH", 6, 0) + bytes.fromhex("020000000001") + bytes(2)
    logged = message(
        attr(1, bytes(4)), attr(2, b"\1\0\0\7"), attr(4, b"\0\0\0\5"), attr(8, hardware), attr(10, b"berth-client\0"), attr(9, b"packet")
    )
    assert read_message(logged) == LoggedPacket("berth-client", 0x0100_0007, 5, bytes.fromhex("020000000001"), b"packet")


@pytest.mark.parametrize("attributes", [(), (attr(8, b"\0"),), (attr(8, b"\xff\xff\0\0"),), (attr(10, b"\xff\0"),), (b"\xff\xff\xff\xff",)])
def test_a_message_without_parts_is_read_too(attributes):
    logged = read_message(message(*attributes))
    assert (logged.packet, logged.mark, logged.link, logged.mac) == (b"", 0, 0, b"")


@pytest.mark.parametrize(("source", "destination", "ends"), [("10.0.0.2", "192.0.2.1", (1, 2)), ("fd00::2", "2001:db8::1", (3, 4))])
def test_a_mark_is_exchanged_for_another(source, destination, ends):
    request = flow_marks.exchange(ip_address(source), 40_000, ip_address(destination), 443, 0x0100_0007, 0x8000_0001)
    attributes = request.body[4:]
    assert [find(attributes, 1, 1, end) for end in ends] == [ip_address(source).packed, ip_address(destination).packed]
    assert [find(attributes, 1, 2, part) for part in (1, 2, 3)] == [b"\6", struct.pack("!H", 40_000), struct.pack("!H", 443)]
    # By exclusive or: what had another mark than 0x01000007 has neither one afterwards.
    assert (find(attributes, 8), find(attributes, 21)) == (struct.pack("!I", 0x8100_0006), bytes(4))
    assert request.flags == 0


def test_no_mark_of_connections_is_one_of_packets():
    packets = firewall.MARK | firewall.HAIRPIN | firewall.SEEN | frame_rules.KNOWN
    assert not packets & (look_rules.HELD | look_rules.LAST_HELD)
    assert not look_rules.FORGED & (packets | look_rules.HELD)


def test_every_length_without_payload_is_known():
    for header in (20, 40):
        assert look_rules._without_payload(header).split(", ") == [f"{header + 4 * words} . {words}" for words in range(5, 16)]
