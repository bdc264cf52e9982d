"""What encrypts traffic between hosts: IPsec ESP (RFC 4303)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from netcore.desired.objects.kind import Key, Kind, Lane, Order, Subsystem
from netcore.model import IPAddress

_XFRM = Lane(Subsystem.XFRM)


@dataclass(frozen=True, slots=True, kw_only=True)
class EspState(Kind):
    """An IPsec security association between hosts. *key_material*: 20 octets as hexadecimal digits, never shown."""

    source: IPAddress
    target: IPAddress
    spi: int
    key_material: str
    request_id: int
    order: ClassVar[Order] = Order.ESP_STATE
    lane: ClassVar[Lane] = _XFRM

    @property
    def key(self) -> Key:
        return ("esp", str(self.source), str(self.target), str(self.spi))

    def describe(self) -> str:
        return f"esp state {self.source} to {self.target} spi {self.spi:#x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EspPolicy(Kind):
    """UDP from *source* to *port* of *target* goes, or comes, by ESP only."""

    source: IPAddress
    target: IPAddress
    port: int
    outgoing: bool
    request_id: int
    order: ClassVar[Order] = Order.ESP_POLICY
    lane: ClassVar[Lane] = _XFRM

    @property
    def key(self) -> Key:
        return ("esp-policy", str(self.outgoing), str(self.source), str(self.target), str(self.port))

    def describe(self) -> str:
        return f"esp policy {'out' if self.outgoing else 'in'} {self.source} to {self.target} udp dport {self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EspBlock(Kind):
    """UDP between *own* and *port* of any other host goes, or comes, only where an `EspPolicy` lets it."""

    own: IPAddress
    port: int
    outgoing: bool
    order: ClassVar[Order] = Order.ESP_POLICY
    lane: ClassVar[Lane] = _XFRM

    @property
    def key(self) -> Key:
        return ("esp-block", str(self.outgoing), str(self.own), str(self.port))

    def describe(self) -> str:
        return f"esp block {'out' if self.outgoing else 'in'} {self.own} udp dport {self.port}"


Esp = EspState | EspPolicy | EspBlock
"""What encrypts traffic between hosts."""
