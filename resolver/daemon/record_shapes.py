"""The shapes of the admin API for DNS records. Pure."""

from __future__ import annotations

import msgspec


class RecordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A static DNS record of a network: its data in presentation format. *ttl* in seconds; null: that of the network."""

    name: str
    type: str
    data: str
    ttl: int | None = None


class RecordView(msgspec.Struct, frozen=True):
    """One DNS record, its data in presentation format."""

    name: str
    ttl: int
    type: str
    data: str
