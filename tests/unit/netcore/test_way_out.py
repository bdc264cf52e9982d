"""Packets and routes of the way out of a nest."""

import errno
import struct
from ipaddress import ip_address, ip_network

import pytest

from netcore import limits
from netcore.drivers.host_routes import HostRoute, RouteKind
from netcore.internet_checksum import checksum
from netcore.kernel import ruleset
from netcore.look.segments import ACK, RST, SYN, Segment, read, write
from netcore.way_out import packets, report, rules
from netcore.way_out.host_routes import subnets_of
from netcore.way_out.places import Places
from netcore.way_out.report import Kind, Report
from netcore.way_out.room import Room, room_for

CLIENT = {4: ip_address("192.0.0.2"), 6: ip_address("fd62:6572:7468::2")}
SERVER = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8::7")}
OPTIONS = bytes.fromhex("020405b401030307")


def opening(family):
    return Segment(
        source=CLIENT[family], destination=SERVER[family], source_port=40_000, destination_port=443, sequence=7, acknowledgement=0, flags=SYN,
        options=OPTIONS,
    )  # fmt: skip


def is_sound(packet):
    """Whether the checksums of an ICMP packet are right."""
    if packet[0] >> 4 == 4:
        return checksum(packet[:20]) == 0 and checksum(packet[20:]) == 0
    return checksum(packet[8:40] + struct.pack("!II", len(packet) - 40, 58) + packet[40:]) == 0


@pytest.mark.parametrize("family", [4, 6])
def test_what_begins_a_connection_is_sent_again_as_it_was(family):
    segment = opening(family)
    again = read(write(segment))
    assert (again.options, again.sequence, again.flags, again.source_port) == (OPTIONS, 7, SYN, 40_000)


@pytest.mark.parametrize("family", [4, 6])
def test_refused_connection_is_reset_by_its_server(family):
    segment = opening(family)
    told = read(packets.refusal_of_connection(segment, write(segment), errno.ECONNREFUSED))
    assert (told.source, told.destination, told.source_port, told.destination_port) == (SERVER[family], CLIENT[family], 443, 40_000)
    assert (told.flags, told.sequence, told.acknowledgement) == (RST | ACK, 0, 8)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        (errno.EHOSTUNREACH, {4: (3, 1), 6: (1, 3)}),
        (errno.ENETUNREACH, {4: (3, 0), 6: (1, 0)}),
        (errno.EACCES, {4: (3, 13), 6: (1, 1)}),
        (errno.EPROTONOSUPPORT, {4: (3, 2), 6: (1, 1)}),
    ],
)
def test_what_can_not_be_reached_is_said_by_icmp(family, code, kinds):
    packet = write(opening(family))
    told = packets.refusal_of_connection(opening(family), packet, code)
    body = told[20 if family == 4 else 40 :]
    assert (body[0], body[1]) == kinds[family]
    assert body[8:] == packet
    assert is_sound(told)


def test_time_that_runs_out_is_not_said():
    assert packets.refusal_of_connection(opening(4), write(opening(4)), errno.ETIMEDOUT) is None


def test_long_packet_is_quoted_in_part():
    told = packets.unreachable(write(opening(4)) + bytes(5000), errno.ECONNREFUSED)
    assert len(told) == 20 + 8 + 548


@pytest.mark.parametrize("family", [4, 6])
def test_refused_datagram_is_quoted_with_its_ports(family):
    quoted = packets.datagram(CLIENT[family], 40_000, SERVER[family], 53, 30)
    told = packets.unreachable(quoted, errno.ECONNREFUSED)
    assert is_sound(told)
    assert struct.unpack("!HHH", told[-8:-2]) == (40_000, 53, 38)


@pytest.mark.parametrize("family", [4, 6])
def test_ping_is_read_and_answered_with_the_number_of_its_program(family):
    kind = {4: 8, 6: 128}[family]
    body = struct.pack("!BBHHH", kind, 0, 0, 77, 3) + b"payload"
    packet = packets._icmp(CLIENT[family], SERVER[family], body)
    echo = packets.read_echo(packet)
    assert (echo.source, echo.destination, echo.number, echo.sequence, echo.payload) == (CLIENT[family], SERVER[family], 77, 3, b"payload")
    # What is asked outside has another number, by which its kernel knows the socket.
    assert echo.message == struct.pack("!BBHHH", kind, 0, 0, 0, 3) + b"payload"
    reply = struct.pack("!BBHHH", {4: 0, 6: 129}[family], 0, 1234, 9999, 3) + b"payload"
    answer = packets.echo_reply(SERVER[family], CLIENT[family], 77, reply)
    assert is_sound(answer)
    assert struct.unpack("!HH", answer[-11:-7]) == (77, 3)
    assert packets.echo_reply(SERVER[family], CLIENT[family], 77, body) is None


def test_nothing_else_is_a_ping():
    whole = packets._icmp(CLIENT[4], SERVER[4], struct.pack("!BBHHH", 8, 0, 0, 77, 3))
    for packet in (b"", whole[:27], bytes([0x55]) + whole[1:], write(opening(4)), write(opening(6)), whole[:20] + b"\x0d" + whole[21:]):
        assert packets.read_echo(packet) is None


def test_rules_can_be_sent():
    assert ruleset.requests(rules.RULES)
    assert ruleset.requests(rules.NEST_RULES)


def test_subnets_of_the_host_are_left_out_but_not_everything():
    def route(text, kind=RouteKind.SENT):
        return HostRoute(table=254, kind=kind, destination=ip_network(text), link=1, gateway=None)

    routes = [
        route("0.0.0.0/0"), route("::/0"), route("10.0.0.0/8"), route("192.168.1.0/24"), route("fe80::/64"), route("127.0.0.0/8", RouteKind.LOCAL),
        route("192.168.1.5/32", RouteKind.LOCAL), route("ff00::/8"), route("192.0.0.0/24"), route("2001:db8::/64"),
        route("172.16.0.0/12", RouteKind.REFUSED),
    ]  # fmt: skip
    assert subnets_of(routes) == set(map(ip_network, ("10.0.0.0/8", "192.168.1.0/24", "192.168.1.5/32", "2001:db8::/64")))


# --- what there is room for, and for whom ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptors", "room"),
    [(1 << 20, Room(16_384, 4096, 256)), (4096, Room(465, 508, 254)), (256, Room(25, 28, 14)), (64, Room(3, 4, 2)), (16, Room(1, 1, 1))],
)
def test_everything_has_some_of_few_descriptors(descriptors, room):
    assert room_for(descriptors) == room
    taken = room.connections * limits.WAY_OUT_DESCRIPTORS + room.flows * limits.WAY_OUT_FLOW_DESCRIPTORS + room.pings
    assert taken <= max(descriptors - limits.WAY_OUT_OWN_DESCRIPTORS, 9)


@pytest.fixture
def places():
    """Places for eight at a time, at the second `now[0]`."""
    now = [0.0]

    def give_way(key):
        made.given_way.append(key)
        made.ended(key)

    made = Places(8, give_way, lambda: now[0])
    made.now, made.given_way = now, []
    return made


def test_one_client_leaves_places_to_others(places):
    assert [places.take("greedy", number) for number in range(6)] == [True] * 4 + [False] * 2
    assert [places.take("other", f"other {number}") for number in range(4)] == [True] * 2 + [False] * 2
    assert places.take("third", "third")
    assert len(places) == 7
    places.ended(0)
    places.ended("third")
    assert places.take("greedy", "again") is False
    assert places.take("fourth", "fourth")


def test_what_a_client_uses_no_longer_gives_way_to_what_it_begins(places):
    for number in range(4):
        assert places.take("greedy", number)
    places.now[0] = limits.WAY_OUT_GIVES_WAY
    places.use(0)
    assert places.take("greedy", "new")
    assert places.given_way == [1]


def test_in_a_crowd_a_client_keeps_its_share_of_what_is_silent(places):
    for client, count in (("greedy", 4), ("other", 2), ("third", 1), ("fourth", 1)):
        assert all(places.take(client, f"{client} {number}") for number in range(count))
    places.now[0] = limits.WAY_OUT_GIVES_WAY
    assert not places.take("fifth", "fifth")
    assert places.take("greedy", "new")
    assert places.given_way == [f"greedy {number}" for number in range(4)]
    assert places.take("fifth", "fifth")


def test_what_the_way_out_tells_is_read_as_it_was():
    counts = [{kind: number + place for place, kind in enumerate(Kind)} for number in (1, 10, 20)]
    told = Report(*counts, client="10.0.0.2", kind=Kind.PINGS, at=1.5)
    assert report.decode(report.encode(told)) == told
    assert report.decode(b"{") is None
    assert report.decode(b"[]") is None
