"""DHCPv4 messages to and from bytes (RFC 2131, options of RFC 2132 and 3397). Pure.

Only Ethernet clients are spoken to. What a guest sends is not trusted: `decode` answers None to whatever is not a
whole, well-formed request.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
COOKIE = b"\x63\x82\x53\x63"
BOOT_REQUEST, BOOT_REPLY, ETHERNET, ADDRESS_LENGTH = 1, 2, 1, 6
BROADCAST_FLAG = 0x8000
SMALLEST = 300  # bytes; BOOTP relays and old clients drop shorter messages (RFC 1542, section 2.1)
UNSPECIFIED = IPv4Address(0)


class Kind(enum.IntEnum):
    """The message types (RFC 2132, section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(enum.IntEnum):
    """The options that are read or written (RFC 2132, section 3 to 9; search list: RFC 3397)."""

    PAD = 0
    SUBNET_MASK = 1
    ROUTER = 3
    DNS_SERVERS = 6
    HOST_NAME = 12
    DOMAIN_NAME = 15
    INTERFACE_MTU = 26
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    CLIENT_ID = 61
    DOMAIN_SEARCH = 119
    END = 255


@dataclass(frozen=True)
class Message:
    """One message. `hardware_address` is 6 bytes; `options` holds each option's whole value, by its number, without the type."""

    kind: Kind
    transaction: int
    hardware_address: bytes
    flags: int = 0
    client: IPv4Address = UNSPECIFIED
    yours: IPv4Address = UNSPECIFIED
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def is_reply(self) -> bool:
        return self.kind in (Kind.OFFER, Kind.ACK, Kind.NAK)

    def address(self, option: Option) -> IPv4Address | None:
        """The value of an option that is one address; None if it is missing or has another length."""
        value = self.options.get(option, b"")
        return IPv4Address(value) if len(value) == 4 else None


def encode(message: Message) -> bytes:
    """The message as the payload of a UDP datagram. Values over 255 bytes are split (RFC 3396)."""
    head = FIXED.pack(
        BOOT_REPLY if message.is_reply else BOOT_REQUEST, ETHERNET, ADDRESS_LENGTH, 0, message.transaction, 0, message.flags,
        message.client.packed, message.yours.packed, UNSPECIFIED.packed, UNSPECIFIED.packed,
        message.hardware_address, b"", b"", COOKIE,
    )  # fmt: skip
    body = bytearray((Option.MESSAGE_TYPE, 1, message.kind))
    for number, value in message.options.items():
        for start in range(0, max(len(value), 1), 255):
            part = value[start : start + 255]
            body += bytes((number, len(part))) + part
    body.append(Option.END)
    return (head + bytes(body)).ljust(SMALLEST, b"\0")


def decode(data: bytes) -> Message | None:
    """The message that *data* is; None if it is not one that an Ethernet client or a server may send."""
    if len(data) < FIXED.size:
        return None
    operation, hardware, length, _, transaction, _, flags, client, yours, _, _, address, name, file, cookie = FIXED.unpack_from(data)
    if (hardware, length, cookie) != (ETHERNET, ADDRESS_LENGTH, COOKIE):
        return None
    options: dict[int, bytes] = {}
    if not _read(data[FIXED.size :], options):
        return None
    overload = options.pop(Option.OVERLOAD, b"\0")
    if len(overload) != 1:
        return None
    for bit, area in ((1, file), (2, name)):  # in this order: RFC 3396, section 5
        if overload[0] & bit and not _read(area, options):
            return None
    kind = options.pop(Option.MESSAGE_TYPE, b"")
    if len(kind) != 1 or kind[0] not in set(Kind):
        return None
    message = Message(Kind(kind[0]), transaction, address[:6], flags, IPv4Address(client), IPv4Address(yours), options)
    return message if operation == (BOOT_REPLY if message.is_reply else BOOT_REQUEST) else None


def _read(area: bytes, options: dict[int, bytes]) -> bool:
    """Adds the options of *area* to *options*; parts of one option are joined. False if one runs past the end."""
    at = 0
    while at < len(area):
        number = area[at]
        at += 1
        if number == Option.END:
            break
        if number == Option.PAD:
            continue
        if at >= len(area) or at + 1 + area[at] > len(area):
            return False
        options[number] = options.get(number, b"") + area[at + 1 : at + 1 + area[at]]
        at += 1 + area[at]
    return True
