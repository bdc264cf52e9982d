"""What a guest is told by DHCP: its own address, whatever it asks for; and the frames in which that goes."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.internet_checksum import checksum
from netcore.taps import dhcp_message, frames, router_advertisement
from netcore.taps.dhcp_message import Kind, Message, Option
from netcore.taps.dhcp_server import LEASE, Binding, reply
from netcore.taps.router_advertisement import Advertisement
from tests.support import frames as by_hand

MAC, BRIDGE = bytes.fromhex("02420a000002"), bytes.fromhex("024200000001")
OWN, GATEWAY = IPv4Address("10.5.0.2"), IPv4Address("10.5.0.1")
BINDING = Binding(
    hardware_address=MAC,
    interface=IPv4Interface("10.5.0.2/24"),
    server=GATEWAY,
    router=GATEWAY,
    name_servers=(GATEWAY,),
    mtu=1400,
    name="vm1",
)


def asked(kind, *, client="0.0.0.0", **options):
    return Message(kind, 7, MAC, client=IPv4Address(client), options={Option[name]: value for name, value in options.items()})


def address(told, option):
    return told.address(option)


def test_an_offer_has_everything():
    told = reply(asked(Kind.DISCOVER, CLIENT_ID=b"\1" + MAC), BINDING)
    assert (told.kind, told.yours, told.transaction) == (Kind.OFFER, OWN, 7)
    assert address(told, Option.SERVER_ID) == address(told, Option.ROUTER) == address(told, Option.DNS_SERVERS) == GATEWAY
    assert address(told, Option.SUBNET_MASK) == IPv4Address("255.255.255.0")
    assert struct.unpack("!I", told.options[Option.LEASE_TIME]) == (LEASE,)
    assert struct.unpack("!H", told.options[Option.INTERFACE_MTU]) == (1400,)
    assert told.options[Option.HOST_NAME] == b"vm1"
    assert told.options[Option.CLIENT_ID] == b"\1" + MAC


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (asked(Kind.REQUEST, REQUESTED_ADDRESS=OWN.packed, SERVER_ID=GATEWAY.packed), Kind.ACK),
        # After a restart of the guest, and when it renews.
        (asked(Kind.REQUEST, REQUESTED_ADDRESS=OWN.packed), Kind.ACK),
        (asked(Kind.REQUEST, client="10.5.0.2"), Kind.ACK),
        (asked(Kind.REQUEST, REQUESTED_ADDRESS=IPv4Address("10.5.0.9").packed), Kind.NAK),
        (asked(Kind.REQUEST), Kind.NAK),
        (asked(Kind.REQUEST, REQUESTED_ADDRESS=OWN.packed, SERVER_ID=IPv4Address("10.5.0.99").packed), None),
        (asked(Kind.DECLINE, REQUESTED_ADDRESS=OWN.packed), None),
        (asked(Kind.RELEASE, client="10.5.0.2"), None),
        (asked(Kind.INFORM, client="10.5.0.2"), Kind.ACK),
        (asked(Kind.INFORM, client="10.5.0.3"), None),
    ],
)
def test_the_answer_to_each_kind(message, kind):
    told = reply(message, BINDING)
    assert (told and told.kind) == kind
    if kind is Kind.ACK:
        assert told.yours == (OWN if message.kind is Kind.REQUEST else IPv4Address(0))
        assert (Option.LEASE_TIME in told.options) == (message.kind is Kind.REQUEST)


def test_nobody_else_is_answered():
    assert reply(replace(asked(Kind.DISCOVER), hardware_address=BRIDGE), BINDING) is None


def test_what_is_not_there_is_not_told():
    told = reply(asked(Kind.DISCOVER), replace(BINDING, router=None, name_servers=(), name=""))
    assert not {Option.ROUTER, Option.DNS_SERVERS, Option.HOST_NAME} & told.options.keys()


def question(message=None, *, mac=MAC, port=67, source="0.0.0.0"):
    payload = dhcp_message.encode(message or asked(Kind.DISCOVER))
    packet = by_hand.ipv4(source, "255.255.255.255", by_hand.UDP, by_hand.udp(68, port, payload))
    return by_hand.ethernet(by_hand.BROADCAST, mac.hex(":"), by_hand.IPV4, packet)


def solicitation(mac=MAC, hops=255):
    packet = by_hand.icmpv6("fe80::1", "ff02::2", router_advertisement.SOLICITATION, bytes(4), hops=hops)
    return by_hand.ethernet("33:33:00:00:00:02", mac.hex(":"), by_hand.IPV6, packet)


def test_questions_are_read():
    assert frames.read(question(), MAC) == asked(Kind.DISCOVER)
    assert frames.read(solicitation(), MAC) == frames.Solicitation(IPv6Address("fe80::1"))


@pytest.mark.parametrize(
    "frame",
    [
        question(mac=BRIDGE), solicitation(mac=BRIDGE), question(port=68), solicitation(hops=64),
        question(replace(asked(Kind.DISCOVER), kind=Kind.OFFER)), question()[:60], solicitation()[:50], b"",
        by_hand.ethernet(by_hand.BROADCAST, MAC.hex(":"), by_hand.IPV4,
                         by_hand.ipv4("0.0.0.0", "255.255.255.255", by_hand.UDP, by_hand.udp(68, 67, b""), fragment=0x2000)),
    ],
)  # fmt: skip
def test_what_is_no_question(frame):
    assert frames.read(frame, MAC) is None


@given(st.binary(max_size=400))
def test_any_frame_is_read(octets):
    frames.read(octets, MAC)
    frames.read(MAC + MAC + b"\x08\x00" + octets, MAC)
    frames.read(MAC + MAC + b"\x86\xdd" + octets, MAC)


@pytest.mark.parametrize(
    ("message", "to", "to_mac"),
    [
        (asked(Kind.DISCOVER), OWN, MAC),
        (replace(asked(Kind.DISCOVER), flags=0x8000), IPv4Address("255.255.255.255"), b"\xff" * 6),
        (asked(Kind.REQUEST, client="10.5.0.2"), OWN, MAC),
        (asked(Kind.REQUEST, client="10.5.0.9"), IPv4Address("255.255.255.255"), b"\xff" * 6),
    ],
)
def test_where_a_reply_goes_to(message, to, to_mac):
    frame = frames.dhcp_frame(reply(message, BINDING), source=GATEWAY, mac=BRIDGE)
    assert (frame[:6], frame[6:12], IPv4Address(frame[30:34])) == (to_mac, BRIDGE, to)
    assert checksum(frame[14:34]) == 0
    assert struct.unpack("!HHH", frame[34:40]) == (67, 68, len(frame) - 34)


def test_an_advertisement_can_be_checked():
    said = Advertisement(link_address=BRIDGE, prefix=IPv6Network("fd00:5::/64"), mtu=1400, router_lifetime=9000, lifetime=600)
    message = router_advertisement.encode(said)
    frame = frames.advertisement_frame(message, source=IPv6Address("fe80::1"), mac=BRIDGE)
    packet = frame[14:]
    assert (frame[:6], packet[7]) == (bytes.fromhex("333300000001"), 255)
    assert checksum(packet[8:40] + struct.pack("!II", len(message), 58) + packet[40:]) == 0


class _Filter:
    """Runs classic BPF as the kernel does, as far as this program needs it."""

    def __init__(self, program):
        self.steps = [struct.unpack_from("@HBBI", program, at) for at in range(0, len(program), 8)]

    def lets_through(self, frame, *, outgoing=False):
        accumulator = index = at = 0
        while True:
            code, then, otherwise, value = self.steps[at]
            at += 1
            try:
                match code:
                    case 0x20:
                        accumulator = 4 if outgoing else 0
                    case 0x28:
                        (accumulator,) = struct.unpack_from("!H", frame, value)
                    case 0x30:
                        accumulator = frame[value]
                    case 0x48:
                        (accumulator,) = struct.unpack_from("!H", frame, index + value)
                    case 0xB1:
                        index = (frame[value] & 0xF) * 4
                    case 0x15:
                        at += then if accumulator == value else otherwise
                    case 0x45:
                        at += then if accumulator & value else otherwise
                    case 0x06:
                        return bool(value)
            except (struct.error, IndexError):
                return False


def test_the_kernel_is_asked_for_questions_alone():
    program = _Filter(frames.FILTER)
    assert program.lets_through(question())
    assert program.lets_through(solicitation())
    for frame in (question(), solicitation()):
        assert not program.lets_through(frame, outgoing=True)
    assert not program.lets_through(question(port=53))
    ping = by_hand.ethernet(by_hand.BROADCAST, MAC.hex(":"), by_hand.IPV6, by_hand.icmpv6("fe80::1", "ff02::1", 128, bytes(4)))
    arp = by_hand.ethernet(
        by_hand.BROADCAST, MAC.hex(":"), by_hand.ARP, by_hand.arp(1, MAC.hex(":"), "10.5.0.2", BRIDGE.hex(":"), "10.5.0.1")
    )
    for frame in (ping, arp, b"", b"\0" * 14):
        assert not program.lets_through(frame)
