"""Records of earlier schema versions, brought to the form that this berth reads: one path for both stores. Pure.

The store of one host (SQLite) has one version for everything in it, and its records are rewritten when it is opened. Hosts
that share a store (etcd) may run different versions of berth, so each record there carries the version that it was written
with and is upgraded whenever it is read. What hosts of different versions do with each other: `netcore.cluster.cluster`.

To change the form of a record, raise SCHEMA_VERSION, add a step to `_STEPS`, and keep a record of the version before in
tests/loop/test_store.py. A new field that has a default needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SCHEMA_VERSION = 3
"""The version that this berth writes, and the newest one that it reads."""

FIRST_SHARED_VERSION = 2
"""The version of the records in etcd that carry none: berth 0.2.0 and earlier wrote them."""

Record = dict[str, Any]
"""A record as JSON has it."""

_COMMON_OPTIONS = (
    "mtu",
    "ifname_prefix",
    "announcements",
    "announcement_interval_ms",
    "ttl",
    "forward_single_label",
    "allow_rebinding",
    "forward",
)


def why_unreadable(schema: int) -> str | None:
    """Return why records of *schema* can't be read, naming both versions; None if they can."""
    if schema <= SCHEMA_VERSION:
        return None
    return (
        f"its records have schema version {schema}, written by a newer berth; this berth reads up to version {SCHEMA_VERSION}: upgrade it"
    )


def upgraded(schema: int, key: str, record: Record) -> Record:
    """Return *record*, which was stored at *key* with *schema*, in the form of SCHEMA_VERSION; *record* itself may be changed."""
    for version in range(schema + 1, SCHEMA_VERSION + 1):
        record = _STEPS[version](key.partition("/")[0], record)
    return record


def _to_2(kind: str, record: Record) -> Record:
    """Move the options that every driver has out of those of the bridge, and make the pools a list."""
    if kind == "network":
        network = record["network"]
        bridge = network.pop("bridge")
        network["common"] = {name: bridge.pop(name) for name in _COMMON_OPTIONS if name in bridge}
        network["driver_options"] = {"kind": "bridge", **bridge}
        network["pools"] = [pool for pool in (network.pop("pool4", None), network.pop("pool6", None)) if pool is not None]
    return record


def _to_3(kind: str, record: Record) -> Record:
    """Write null, not an empty text, for what is not there."""
    match kind:
        case "network":
            # In etcd a network stands by itself; on its own host it is part of a larger record.
            for pool in record.get("network", record)["pools"]:
                pool["identity"] = pool.get("identity") or None
        case "sandbox":
            sandbox = record["sandbox"]
            sandbox["shared_with"] = sandbox.get("shared_with") or None
        case "endpoints":
            for endpoint in (*record["endpoints"], *record.get("before", ())):
                answer = endpoint.get("answer")
                if answer is not None:
                    answer["link"] = answer["link"] or None
    return record


_STEPS: dict[int, Callable[[str, Record], Record]] = {2: _to_2, 3: _to_3}
"""Version → what brings a record of the version before it to it. Arguments: the first part of the key, the record."""
