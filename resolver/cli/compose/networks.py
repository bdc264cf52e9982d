"""The keys of a network. Pure."""

from __future__ import annotations

from typing import Any

from resolver.cli.compose.project import NetworkSpec
from resolver.cli.compose.services import read_routes
from resolver.cli.compose.values import Values
from resolver.cli.compose.yaml12 import Located

NETWORK_KEYS = {"driver", "driver_opts", "ipam", "internal", "enable_ipv4", "enable_ipv6", "labels", "external", "name", "attachable"}
IPAM_KEYS = {"driver", "config", "options"}
IPAM_CONFIG_KEYS = {"subnet", "ip_range", "gateway", "aux_addresses"}


def read_networks(values: Values, raw: Located, project: str) -> list[NetworkSpec]:
    """Return the networks of a file; what is wrong with them is in the problems of *values*."""
    return [_network(values, key, value, raw.lines[key], project) for key, value in raw.items()]


def _network(values: Values, key: str, value: Any, line: int, project: str) -> NetworkSpec:
    where = f"networks.{key}"
    raw = values.mapping(value, line, where)
    values.check_keys(raw, NETWORK_KEYS, where)
    external = raw.get("external")
    if external:
        # Old files write external: {name: …}.
        named = external if isinstance(external, Located) else raw
        return NetworkSpec(key=key, name=values.text(named, "name") or key, external=True)
    name = values.text(raw, "name") or f"{project}_{key}"
    return NetworkSpec(key=key, name=name, body=_body(values, raw, where))


def _body(values: Values, raw: Located, where: str) -> dict[str, Any]:
    """Return the body of `POST /v1/networks` that *raw* means, without the name."""
    body: dict[str, Any] = {
        "driver": values.text(raw, "driver") or "bridge",
        "internal": bool(values.boolean(raw, "internal")),
        "ipv4": values.boolean(raw, "enable_ipv4"),
        "ipv6": values.boolean(raw, "enable_ipv6"),
        "options": values.full_pairs(raw, "driver_opts"),
        "labels": values.full_pairs(raw, "labels"),
        "routes": read_routes(values, raw),
        **_ipam(values, raw, where),
    }
    if body["ipv6"] is None and any(":" in subnet for subnet in body["subnets"]):
        body["ipv6"] = True
    return body


def _ipam(values: Values, raw: Located, where: str) -> dict[str, Any]:
    ipam = values.mapping(raw.get("ipam"), raw.lines.get("ipam", 1), f"{where}.ipam")
    values.check_keys(ipam, IPAM_KEYS, f"{where}.ipam")
    driver, options = values.text(ipam, "driver") or "default", values.full_pairs(ipam, "options")
    if options and driver == "default":
        values.problem(ipam.lines["options"], f"{where}.ipam.options: the default IPAM driver has no options")
    pools: dict[str, list[str]] = {"subnets": [], "ip_ranges": [], "gateways": []}
    auxiliary: dict[str, str] = {}
    configs = ipam.get("config")
    for entry in configs if isinstance(configs, list) else []:
        config = values.mapping(entry, ipam.lines["config"], f"{where}.ipam.config")
        values.check_keys(config, IPAM_CONFIG_KEYS, f"{where}.ipam.config")
        for key, texts in zip(("subnet", "ip_range", "gateway"), pools.values(), strict=True):
            text = values.text(config, key)
            if text is not None:
                texts.append(text)
        auxiliary |= values.full_pairs(config, "aux_addresses")
    return {**pools, "auxiliary": auxiliary, "ipam_driver": driver, "ipam_options": options}
