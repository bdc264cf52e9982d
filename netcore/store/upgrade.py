"""Records of earlier versions of the store, brought to the form that is read now. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

_COMMON = (
    "mtu",
    "ifname_prefix",
    "announcements",
    "announcement_interval_ms",
    "ttl",
    "forward_single_label",
    "allow_rebinding",
    "forward",
)


def upgraded(schema: int, key: str, value: bytes) -> bytes:
    """Return the record *value* of *key*, written with *schema*, as one of the newest schema."""
    if schema < 2 and key.startswith("network/"):
        return _network_of_two(value)
    return value


def _network_of_two(value: bytes) -> bytes:
    """Schema 2: what is said of every driver stands apart, and pools are a list."""
    record: dict[str, Any] = msgspec.json.decode(value)
    network = record["network"]
    bridge = network.pop("bridge")
    network["common"] = {name: bridge.pop(name) for name in _COMMON if name in bridge}
    network["driver_options"] = {"kind": "bridge", **bridge}
    network["pools"] = [pool for pool in (network.pop("pool4", None), network.pop("pool6", None)) if pool is not None]
    return msgspec.json.encode(record)
