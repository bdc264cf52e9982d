"""Encryption between hosts: which ESP states and policies follow from a key that all hosts know. Pure.

Each direction between two hosts has a key and an SPI of its own, derived from the shared secret, so that nothing but the secret is
ever agreed on. A host takes in what any known key encrypts, and sends with the newest one once all others had time to learn it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netcore import limits
from netcore.desired.objects import EspBlock, EspPolicy, EspState, KernelObject
from netcore.model import IPAddress

REQUEST_ID = 0x6274
"""Ties our policies to our states."""

_LEAST_SPI = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A secret of all hosts, 32 octets as hexadecimal digits; the higher *number* is the newer."""

    number: int
    secret: str


def derive(key: Key, source: IPAddress, target: IPAddress) -> tuple[int, bytes]:
    """Return (SPI, 20 octets of key and salt) of the direction from *source* to *target*."""
    label = b"berth esp 1" + key.number.to_bytes(8, "big") + source.packed + target.packed
    digest = hmac.new(bytes.fromhex(key.secret), label, hashlib.sha256).digest()
    return max(_LEAST_SPI, int.from_bytes(digest[:4], "big")), digest[4:24]


def sending(keys: Sequence[Key], first_seen: Mapping[int, float], now: float) -> Key | None:
    """Return the key to send with: the newest that all hosts had `limits.KEY_SETTLE` seconds to learn, else the oldest."""
    known = sorted(keys, key=lambda item: item.number)
    settled = [item for item in known if now - first_seen.get(item.number, now) >= limits.KEY_SETTLE]
    return settled[-1] if settled else known[0] if known else None


def objects(own: IPAddress, peers: Mapping[int, Iterable[IPAddress]], keys: Sequence[Key], sender: Key | None) -> tuple[KernelObject, ...]:
    """Return what must exist so that VXLAN with *peers* (port → hosts) is encrypted, both ways.

    At these ports nothing in clear is sent to anyone or taken from anyone, known or not.
    """
    result: list[KernelObject] = [EspBlock(own=own, port=port, outgoing=outgoing) for port in sorted(peers) for outgoing in (True, False)]
    served_ports: dict[IPAddress, set[int]] = {}
    for port, hosts in peers.items():
        for host in hosts:
            served_ports.setdefault(host, set()).add(port)
    for peer, ports in served_ports.items():
        for key in keys:
            spi, secret = derive(key, peer, own)
            result.append(EspState(source=peer, target=own, spi=spi, key_material=secret.hex(), request_id=REQUEST_ID))
        if sender is not None:
            spi, secret = derive(sender, own, peer)
            result.append(EspState(source=own, target=peer, spi=spi, key_material=secret.hex(), request_id=REQUEST_ID))
        for port in sorted(ports):
            result.append(EspPolicy(source=own, target=peer, port=port, outgoing=True, request_id=REQUEST_ID))
            result.append(EspPolicy(source=peer, target=own, port=port, outgoing=False, request_id=REQUEST_ID))
    return tuple(result)
