"""What the way out tells the daemon of itself, by a file: how much it carries, and what it has refused. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What is carried."""

    CONNECTIONS = "connections"
    FLOWS = "flows"
    PINGS = "pings"


class Report(NamedTuple):
    """*most*: as many as there is room for at once. *refused*: since the way out began.

    *client*, *kind*, *at*: whose was refused last, what it was, and when, in seconds of the monotonic clock.
    """

    carried: Mapping[Kind, int]
    most: Mapping[Kind, int]
    refused: Mapping[Kind, int]
    client: str
    kind: Kind
    at: float


def encode(report: Report) -> bytes:
    """Return *report* as it is written."""
    counts = {name: {kind.value: count for kind, count in getattr(report, name).items()} for name in ("carried", "most", "refused")}
    return json.dumps({**counts, "client": report.client, "kind": report.kind.value, "at": report.at}).encode()


def decode(octets: bytes) -> Report | None:
    """Return what was written; None for anything else."""
    try:
        told = json.loads(octets)
        carried, most, refused = ({kind: int(told[name][kind.value]) for kind in Kind} for name in ("carried", "most", "refused"))
        return Report(carried, most, refused, str(told["client"]), Kind(told["kind"]), float(told["at"]))
    except (ValueError, KeyError, TypeError):
        return None
