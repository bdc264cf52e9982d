"""A network of a reading as the body of a request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli.compose.project import NetworkSpec
from resolver.cli.compose.shapes import Record, pairs
from resolver.cli.record_line import record_of


def network_of(key: str, network: Record) -> NetworkSpec:
    """Return the network *key*; ValueError for what berth can't make of it."""
    if network.get("external"):
        return NetworkSpec(key=key, name=network["name"], external=True)
    return NetworkSpec(key=key, name=network["name"], body=_body(network))


def _body(network: Record) -> dict[str, Any]:
    """Return the body of `POST /v1/networks` that *network* means, without the name."""
    ipam: Mapping[str, Any] = network.get("ipam") or {}
    pools: list[Mapping[str, Any]] = ipam.get("config") or []
    subnets = [pool["subnet"] for pool in pools if pool.get("subnet")]
    ipv6 = network.get("enable_ipv6")
    if ipv6 is None and any(":" in subnet for subnet in subnets):
        ipv6 = True
    driver = ipam.get("driver") or "default"
    return {
        "driver": network.get("driver") or "bridge",
        "internal": bool(network.get("internal")),
        "ipv4": network.get("enable_ipv4"),
        "ipv6": ipv6,
        "options": network.get("driver_opts") or {},
        "labels": network.get("labels") or {},
        "routes": routes_of(network),
        **({"records": records} if (records := _records_of(network)) else {}),
        **({"egress": [*egress_of(network)]} if egress_of(network) else {}),
        "subnets": subnets,
        "ip_ranges": [pool["ip_range"] for pool in pools if pool.get("ip_range")],
        "gateways": [pool["gateway"] for pool in pools if pool.get("gateway")],
        "auxiliary": {name: address for pool in pools for name, address in (pool.get("aux_addresses") or {}).items()},
        "ipam_driver": driver,
        # Compose hands options to a plugin only; the allocator of berth's own has none, as Docker's has none.
        "ipam_options": (ipam.get("options") or {}) if driver != "default" else {},
    }


def _records_of(network: Record) -> list[dict[str, Any]]:
    """Return `x-records` of *network*: a list of lines as of `berth network create --record`."""
    given = network.extensions.get("x-records") or []
    if not isinstance(given, list) or not all(isinstance(line, str) for line in given):
        raise ValueError("x-records must be a list of lines like 'printer A 192.168.1.20'")
    try:
        return [record_of(line) for line in given]
    except ValueError as error:
        raise ValueError(f"x-records {error}") from error


def egress_of(record: Record) -> tuple[str, ...]:
    """Return `x-egress` of a service or a network: a list of rules, or one text with commas between them."""
    if "x-egress" not in record.extensions:
        return ()
    given = record.extensions["x-egress"]
    rules = [given] if isinstance(given, str) else given
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, str) and rule.strip() for rule in rules):
        raise ValueError("x-egress must be a list of rules, as in [packages.example.org, network:back]; for own networks alone write none")
    return tuple(rules)


def routes_of(record: Record) -> tuple[str, ...]:
    """Return `x-routes` of *record*: a mapping of destination to next hop, or a list of `DESTINATION=VIA`."""
    given = record.extensions.get("x-routes")
    if given is None:
        return ()
    if not isinstance(given, dict | list):
        raise ValueError("x-routes must be a mapping of destinations to next hops, or a list of DESTINATION=VIA")
    return tuple(f"{destination}={via}" for destination, via in pairs(given).items())
