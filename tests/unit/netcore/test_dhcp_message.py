"""DHCPv4 messages: what is written is read again, and nothing that a guest sends breaks the reader."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from netcore.taps.dhcp_message import COOKIE, FIXED, Kind, Message, Option, decode, encode

MAC = bytes.fromhex("02420a000002")
RESERVED = {Option.PAD, Option.OVERLOAD, Option.MESSAGE_TYPE, Option.END}
NUMBERS = st.integers(1, 254).filter(lambda number: number not in RESERVED)
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
MESSAGES = st.builds(
    Message, st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(min_size=6, max_size=6), st.sampled_from([0, 0x8000]),
    ADDRESSES, ADDRESSES, st.dictionaries(NUMBERS, st.binary(max_size=600), max_size=6),
)  # fmt: skip


@given(MESSAGES)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=700))
def test_any_bytes_are_answered(data: bytes) -> None:
    decode(data)


@given(st.binary(max_size=200), st.binary(max_size=192))
def test_any_options_are_answered(options: bytes, areas: bytes) -> None:
    head = encode(Message(Kind.DISCOVER, 7, MAC))[: FIXED.size]
    decode(head[:44] + areas.ljust(192, b"\0") + COOKIE + options)


def test_an_offer_has_the_bytes_of_the_standard() -> None:
    offer = Message(Kind.OFFER, 0x01020304, MAC, yours=IPv4Address("10.0.0.2"), options={Option.SERVER_ID: bytes((10, 0, 0, 1))})
    data = encode(offer)
    assert data[:8] == bytes((2, 1, 6, 0, 1, 2, 3, 4))
    assert data[16:20] == bytes((10, 0, 0, 2))
    assert data[28:34] == MAC
    assert data[236:251] == COOKIE + bytes((53, 1, 2, 54, 4, 10, 0, 0, 1, 255, 0))
    assert len(data) == 300


def test_options_in_the_fields_of_file_and_name_are_read() -> None:
    head = encode(Message(Kind.REQUEST, 7, MAC))[: FIXED.size]
    name, file = bytes((50, 2, 0, 9, 255)).ljust(64, b"\0"), bytes((50, 2, 10, 0, 255)).ljust(128, b"\0")
    message = decode(head[:44] + name + file + COOKIE + bytes((53, 1, 3, 52, 1, 3, 255)))
    assert message is not None
    assert message.address(Option.REQUESTED_ADDRESS) == IPv4Address("10.0.0.9")


def test_what_is_not_a_whole_message_is_refused() -> None:
    data = encode(Message(Kind.DISCOVER, 7, MAC))
    assert decode(data[:239]) is None
    assert decode(data[:240]) is None  # without a type: BOOTP
    assert decode(bytes((2,)) + data[1:]) is None  # a reply that says it is a discover
    assert decode(data[:2] + bytes((7,)) + data[3:]) is None  # not Ethernet
    assert decode(data[:240] + bytes((53, 1, 1, 50, 4, 10))) is None  # an option past the end
    assert decode(data[:240] + bytes((53, 1, 9, 255))) is None  # a type that does not exist


def test_an_address_of_another_length_is_none() -> None:
    message = Message(Kind.REQUEST, 7, MAC, options={Option.REQUESTED_ADDRESS: b"\1\2\3"})
    assert message.address(Option.REQUESTED_ADDRESS) is None
    assert replace(message, options={}).address(Option.SERVER_ID) is None
