"""IP addresses as users write them, and what is made of them. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address

from netcore.model import IPAddress, IPInterface, IPNetwork

_MAPPED = IPv6Network("::ffff:0:0/96")


def read(text: str) -> IPAddress:
    """Return the address that *text* means; ValueError if it is none.

    An IPv4-mapped IPv6 address is the IPv4 address in it (RFC 4291 section 2.5.5.2): no packet carries the mapped one.
    """
    return unmapped(ip_address(text))


def unmapped(address: IPAddress) -> IPAddress:
    """Return *address*, or the IPv4 address that is mapped in it."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def is_mapped(subnet: IPNetwork) -> bool:
    """Return whether *subnet* holds IPv4-mapped addresses only, so that no network can have it."""
    return isinstance(subnet, IPv6Network) and subnet.subnet_of(_MAPPED)


def with_prefix(address: IPAddress, length: int) -> IPInterface:
    """Return *address* in its subnet of prefix *length*. From numbers: by texts it takes four times as long."""
    if isinstance(address, IPv4Address):
        return IPv4Interface((int(address), length))
    return IPv6Interface((int(address), length))


def alone(address: IPAddress) -> IPNetwork:
    """Return the subnet that holds only *address*."""
    return IPv4Network(int(address)) if isinstance(address, IPv4Address) else IPv6Network(int(address))
