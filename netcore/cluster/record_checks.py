"""What a record of another host must be like to be of use: whoever can write to etcd can write anything. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from netcore.errors import InvalidRequest
from netcore.model import IPAddress, Network
from netcore.parse.names import check_object_name

_NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_identity(said: object, key_says: str) -> None:
    """Raise ValueError if a record is of something else than its key says."""
    if str(said) != key_says:
        raise ValueError(f"it is of another one, {str(said)!r:.80}")


def check_shared(network: Network) -> None:
    """Raise ValueError if *network* is none that hosts share, or has a name that no network can have."""
    try:
        check_object_name("network", network.name)
    except InvalidRequest as error:
        raise ValueError(str(error)) from error
    if not network.is_overlay:
        raise ValueError(f"a network of driver {network.driver!r:.80} is not shared by hosts")


def check_vtep(address: IPAddress) -> None:
    """Raise ValueError if no host can receive at *address*."""
    if address.is_multicast or address.is_unspecified or address.is_loopback or address == ip_address("255.255.255.255"):
        raise ValueError(f"no host receives at {address}")


def check_endpoint_addresses(network: Network, addresses: Iterable[str]) -> None:
    """Raise ValueError if one of *addresses* is none of *network*, or is kept for something else there."""
    for text in addresses:
        address = ip_address(text)
        pool = next((pool for pool in network.pools if address in pool.subnet), None)
        if pool is None:
            raise ValueError(f"{text} is in no subnet of network {network.name}")
        ends = (pool.subnet.network_address, *((pool.subnet.broadcast_address,) if address.version == 4 else ()))
        if address in pool.reserved() or (address in ends and pool.subnet.num_addresses > 2):
            raise ValueError(f"{text} is no address of an endpoint of network {network.name}")


def holder_in(value: bytes) -> str | None:
    """Return the id of the node that the record of an address names, None if its value can't be a node's id: nobody holds it then."""
    text = value.decode(errors="replace")
    return text if _NODE_ID.fullmatch(text) else None


def checked_holder(value: bytes) -> str:
    """Return what `holder_in` returns; ValueError if that is None."""
    holder = holder_in(value)
    if holder is None:
        raise ValueError(f"{value!r:.80} is the id of no node")
    return holder
