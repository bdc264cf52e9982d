"""What lists say of a network: the cells of `berth network ls`, Docker's fields for templates, and filters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli import age
from resolver.cli.filters import Test, has_label, truth
from resolver.cli.output import shown_id

COLUMNS = ("NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNETS", "")
FILTERS = ("name", "id", "driver", "scope", "internal", "dangling", "type", "label")
HEADINGS = {"ID": "NETWORK ID", "CreatedAt": "CREATED AT"}
_PREDEFINED = ("bridge", "berth_gwbridge")
"""Networks that berth makes when they are needed, and that can't be removed by hand."""


def cells(network: Mapping[str, Any], *, whole: bool) -> tuple[str, ...]:
    """Return the row of `berth network ls`. *whole*: with the whole id."""
    return (
        shown_id(network, whole=whole),
        network["name"],
        network["driver"],
        network["scope"],
        " ".join(pool["subnet"] for pool in network["pools"]),
        "internal" if network["internal"] else "",
    )


def docker_fields(network: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return the fields of `docker network ls --format`, and Subnets."""
    return {
        "ID": shown_id(network, whole=whole),
        "Name": network["name"],
        "Driver": network["driver"],
        "Scope": network["scope"],
        "IPv4": str(network["ipv4"]).lower(),
        "IPv6": str(network["ipv6"]).lower(),
        "Internal": str(network["internal"]).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in network["labels"].items()),
        "Label": dict(network["labels"]),
        "CreatedAt": age.moment(network["created"]),
        "Subnets": ",".join(pool["subnet"] for pool in network["pools"]),
    }


def tests(network: Mapping[str, Any]) -> dict[str, Test]:
    """Return filter → test of *network*."""
    return {
        "name": lambda text: text in network["name"],
        "id": network["id"].startswith,
        "driver": network["driver"].__eq__,
        "scope": network["scope"].__eq__,
        "internal": lambda text: network["internal"] is truth(text),
        "dangling": lambda text: (not network["members"]) is truth(text),
        "type": lambda text: text == ("builtin" if network["name"] in _PREDEFINED else "custom"),
        "label": lambda text: has_label(network["labels"], text),
    }
