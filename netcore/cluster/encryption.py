"""Encryption between hosts: which ESP states and policies follow from a key that all hosts know. Pure.

Each direction between two hosts has a key and an SPI of its own, derived from the shared secret, so that the secret is all that
hosts have to agree on. A host accepts what is encrypted with any known key, and sends with the newest one once all others had time
to learn it.
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
_SECRET_OCTETS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A secret of all hosts, 32 octets as hexadecimal digits; the higher *number* is the newer.

    *made*: seconds since the epoch; 0: it was made by berth 0.3.0 or earlier, which did not say.
    """

    number: int
    secret: str
    made: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError if nothing can be derived from it: whoever can write to etcd can write anything."""
        if not 0 < self.number < 1 << 64:
            raise ValueError(f"{self.number} is no number of a key")
        if len(bytes.fromhex(self.secret)) != _SECRET_OCTETS:
            raise ValueError(f"a secret has {_SECRET_OCTETS} octets")


@dataclass(frozen=True, slots=True)
class Rotation:
    """What is to be done about the keys. *make*: the number of the next key, None if it is not time yet. *delete*: numbers."""

    make: int | None
    delete: tuple[int, ...]


class KeyAges:
    """When this host first saw each key: what it sends with follows from that.

    *now*: of one monotonic clock, in seconds. *keys*: all that hosts know now, by number.
    """

    def __init__(self) -> None:
        self._first_seen: dict[int, float] = {}

    def sending_key(self, keys: Mapping[int, Key], now: float) -> Key | None:
        """Return the key to send with; None if there is no key."""
        for number in keys:
            self._first_seen.setdefault(number, now)
        return sending_key([*keys.values()], self._first_seen, now)

    def rotation(self, keys: Mapping[int, Key], now: float, wall: float) -> Rotation:
        """Return which key to make and which to delete: those that no host sends with any more. One host does this for all.

        *wall*: seconds since the epoch. The time at which a key was made is kept with it, so restarts of hosts delay nothing.
        """
        current = self.sending_key(keys, now)
        if current is None:
            return Rotation(None, ())
        newest = max(keys)
        # A time so far ahead can't be true: the clock of the host that made the key was wrong.
        is_time = current.number == newest and abs(wall - keys[newest].made) >= limits.KEY_LIFE
        return Rotation(newest + 1 if is_time else None, tuple(number for number in keys if number < newest - 1))


def derive(key: Key, source: IPAddress, target: IPAddress) -> tuple[int, bytes]:
    """Return (SPI, 20 octets of key and salt) of the direction from *source* to *target*."""
    label = b"berth esp 1" + key.number.to_bytes(8, "big") + source.packed + target.packed
    digest = hmac.new(bytes.fromhex(key.secret), label, hashlib.sha256).digest()
    return max(_LEAST_SPI, int.from_bytes(digest[:4], "big")), digest[4:24]


def sending_key(keys: Sequence[Key], first_seen: Mapping[int, float], now: float) -> Key | None:
    """Return the key to send with: the newest that all hosts had `limits.KEY_SETTLE` seconds to learn, else the oldest."""
    known = sorted(keys, key=lambda key: key.number)
    settled = [key for key in known if now - first_seen.get(key.number, now) >= limits.KEY_SETTLE]
    return settled[-1] if settled else known[0] if known else None


def objects(own: IPAddress, peers: Mapping[int, Iterable[IPAddress]], keys: Sequence[Key], current: Key | None) -> tuple[KernelObject, ...]:
    """Return what must exist so that VXLAN with *peers* (port → hosts) is encrypted both ways. *current*: the key to send with.

    At these ports nothing in clear is sent to any host or accepted from any, whether it is known or not.
    """
    result: list[KernelObject] = [EspBlock(own=own, port=port, outgoing=outgoing) for port in sorted(peers) for outgoing in (True, False)]
    ports_by_peer: dict[IPAddress, set[int]] = {}
    for port, hosts in peers.items():
        for host in hosts:
            ports_by_peer.setdefault(host, set()).add(port)
    for peer, ports in ports_by_peer.items():
        for key in keys:
            spi, secret = derive(key, peer, own)
            result.append(EspState(source=peer, target=own, spi=spi, key_material=secret.hex(), request_id=REQUEST_ID))
        if current is not None:
            spi, secret = derive(current, own, peer)
            result.append(EspState(source=own, target=peer, spi=spi, key_material=secret.hex(), request_id=REQUEST_ID))
        for port in sorted(ports):
            result.append(EspPolicy(source=own, target=peer, port=port, outgoing=True, request_id=REQUEST_ID))
            result.append(EspPolicy(source=peer, target=own, port=port, outgoing=False, request_id=REQUEST_ID))
    return tuple(result)
