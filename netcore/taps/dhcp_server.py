"""What a guest that asks by DHCPv4 is answered: its one address, whatever it would like (RFC 2131). Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from netcore.taps.dhcp_message import UNSPECIFIED, Kind, Message, Option

LEASE = 3600
"""Seconds. The address stays as long as the tap does; this is how soon a guest notices that the tap is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What one guest is told. *server*: who says so, an address of the network. *router* None: the network leads nowhere."""

    hardware_address: bytes
    interface: IPv4Interface
    server: IPv4Address
    router: IPv4Address | None
    name_servers: Sequence[IPv4Address]
    mtu: int
    name: str


def reply(asked: Message, binding: Binding) -> Message | None:
    """Return the answer to *asked*, None if there is none: it is of somebody else, or for another server."""
    if asked.hardware_address != binding.hardware_address:
        return None
    named = asked.address(Option.SERVER_ID)
    match asked.kind:
        case Kind.DISCOVER:
            return _tell(Kind.OFFER, asked, binding)
        case Kind.REQUEST if named in (None, binding.server):
            # RFC 2131 section 4.3.2: the address is in the option, or, of one who renews, in the header.
            wanted = asked.address(Option.REQUESTED_ADDRESS) or asked.client
            return _tell(Kind.ACK, asked, binding) if wanted == binding.interface.ip else _refuse(asked, binding)
        case Kind.INFORM if asked.client == binding.interface.ip:
            return _tell(Kind.ACK, asked, binding)
        case _:
            return None


def _tell(kind: Kind, asked: Message, binding: Binding) -> Message:
    options: dict[int, bytes] = {Option.SERVER_ID: binding.server.packed}
    gives = asked.kind is not Kind.INFORM
    if gives:
        options[Option.LEASE_TIME] = struct.pack("!I", LEASE)
    options[Option.SUBNET_MASK] = binding.interface.netmask.packed
    if binding.router is not None:
        options[Option.ROUTER] = binding.router.packed
    if binding.name_servers:
        options[Option.DNS_SERVERS] = b"".join(address.packed for address in binding.name_servers)
    if binding.name:
        options[Option.HOST_NAME] = binding.name.encode("ascii", "ignore")[:63]
    options[Option.INTERFACE_MTU] = struct.pack("!H", min(binding.mtu, 0xFFFF))
    return Message(
        kind, asked.transaction, asked.hardware_address, asked.flags,
        client=asked.client if asked.kind is not Kind.DISCOVER else UNSPECIFIED,
        yours=binding.interface.ip if gives else UNSPECIFIED,
        options=_with_client_id(options, asked),
    )  # fmt: skip


def _refuse(asked: Message, binding: Binding) -> Message:
    options: dict[int, bytes] = {Option.SERVER_ID: binding.server.packed}
    return Message(Kind.NAK, asked.transaction, asked.hardware_address, asked.flags, options=_with_client_id(options, asked))


def _with_client_id(options: dict[int, bytes], asked: Message) -> dict[int, bytes]:
    """RFC 6842: who is known by a client identifier gets it back."""
    identifier = asked.options.get(Option.CLIENT_ID, b"")
    return {**options, Option.CLIENT_ID: identifier} if 0 < len(identifier) <= 64 else options
