"""The short forms of a tree written out in their long form, and what is left out set to its default. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from resolver.cli.compose.casts import text_of
from resolver.cli.compose.documents import Budget
from resolver.cli.compose.ports import count_of, ports_of
from resolver.cli.compose.tree import ComposeError, Located, Problem, Rules, change, changed, position_of
from resolver.cli.compose.volumes import volume_of

_Rule = Callable[[Any], Any]


_VALUES_OF_PORT = 5


def make_canonical(tree: Located, budget: Budget, warn: Callable[[str], None]) -> None:
    """Write the short forms in *tree* out; ComposeError for one that is malformed. *warn*: is told of deprecated forms."""
    for service in (tree.get("services") or {}).values():
        if isinstance(service, Located):
            ranges = [entry for entry in service.get("ports") or () if isinstance(entry, str) and "-" in entry]
            budget.spend(_VALUES_OF_PORT * sum(map(count_of, ranges)), position_of(service, "ports"))
    change(tree, _LONG)
    for kind in ("networks", "volumes", "secrets", "configs"):
        for key, value in (tree.get(kind) or {}).items():
            _name_external(tree, kind, key, value, warn)
    for service in (tree.get("services") or {}).values():
        if isinstance(service, Located) and isinstance(service.get("dns"), list):
            service["dns"] = [server for server in service["dns"] if server not in (None, "")]


def set_defaults(tree: Located) -> None:
    """Set in *tree*, which is canonical, what is left out and has a default."""
    change(tree, _DEFAULTS)


def check(tree: Located) -> None:
    """Raise ComposeError for values in *tree*, which is canonical, that each by itself are impossible."""
    change(tree, _CHECKS)


def _name_external(tree: Located, kind: str, key: str, value: Any, warn: Callable[[str], None]) -> None:
    """Write `external: {name: …}`, the form of old files, as `external: true` and a name."""
    if not isinstance(value, Located) or not isinstance(value.get("external"), dict):
        return
    named = value["external"].get("name")
    value["external"] = True
    if named is None:
        return
    warn(f"{kind}.{key}: external.name is deprecated: write name: {named} and external: true")
    if value.get("name", named) != named:
        problem = f"{kind}.{key} has two names, {value['name']} and in external {named}: write only name"
        raise ComposeError(Problem(tree[kind].positions.get(key), problem))
    value["name"] = named


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _mapping_of_names(value: Any) -> Any:
    return Located(dict.fromkeys(value)) if isinstance(value, list) else value


def _pairs(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    result = Located()
    for entry in value:
        key, equals, text = entry.partition("=")
        if not equals:
            raise ValueError(f"{entry!r} must be of the form KEY=VALUE")
        result[key] = text
    return result


def _depends_on(value: Any) -> Any:
    if isinstance(value, list):
        return Located({name: Located({"condition": "service_started", "required": True}) for name in value})
    for entry in value.values():
        entry.setdefault("condition", "service_started")
        entry.setdefault("required", True)
    return value


def _env_file(value: Any) -> Any:
    files = _list(value)
    return [_env_file_entry(entry) for entry in files]


def _env_file_entry(entry: Any) -> Located:
    if isinstance(entry, str):
        return Located({"path": entry, "required": True})
    entry.setdefault("required", True)
    return entry  # type: ignore[no-any-return]


def _ports(value: Any) -> Any:
    ports: list[Any] = []
    for entry in value:
        match entry:
            case bool() | float():
                raise ValueError(f"{text_of(entry)} is no port")
            case int() | str():
                ports += ports_of(str(entry))
            case _:
                ports.append(entry)
    return ports


def _volume(value: Any) -> Any:
    return volume_of(value) if isinstance(value, str) else value


def _device(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = value.split(":")
    if len(parts) > 3:
        raise ValueError(f"{value!r} has too many colons for a device: write source, target and permissions")
    source, target, permissions = (*parts, *("", "", "rwm")[len(parts) :])
    return Located({"source": source, "target": target or source, "permissions": permissions})


def _mount(value: Any) -> Any:
    return Located({"source": value}) if isinstance(value, str) else value


def _ssh(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    result = Located()
    for entry in value:
        key, equals, path = entry.partition("=")
        if not equals and key != "default":
            raise ValueError(f"{entry!r} must be default or ID=PATH")
        result[key] = path if equals else None
    return result


def _context(value: Any) -> Any:
    return Located({"context": value}) if isinstance(value, str) else changed(value, _BUILD)


def _service_reference(value: Any) -> Any:
    return Located({"service": value}) if isinstance(value, str) else value


def _gpus(value: Any) -> Any:
    return [Located({"count": "all"})] if isinstance(value, str) else value


def _path(value: Any) -> Any:
    return Located({"path": value}) if isinstance(value, str) else value


def _ulimit(value: Any) -> Any:
    if isinstance(value, dict) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError(f"{text_of(value)} is no whole number")


_BUILD: Rules[_Rule] = Rules(
    {"secrets.*": _mount, "provenance": text_of, "sbom": text_of, "additional_contexts": _pairs, "ssh": _ssh, "ulimits.*": _ulimit}
)
_LONG: Rules[_Rule] = Rules(
    {
        "services.*.build": _context,
        "services.*.depends_on": _depends_on,
        "services.*.env_file": _env_file,
        "services.*.label_file": _list,
        "services.*.extends": _service_reference,
        "services.*.gpus": _gpus,
        "services.*.networks": _mapping_of_names,
        "services.*.models": _mapping_of_names,
        "services.*.volumes.*": _volume,
        "services.*.dns": _list,
        "services.*.devices.*": _device,
        "services.*.secrets.*": _mount,
        "services.*.configs.*": _mount,
        "services.*.ports": _ports,
        "services.*.ulimits.*": _ulimit,
        "services.*.develop.watch.*.ignore": _list,
        "services.*.develop.watch.*.include": _list,
        "include.*": _path,
    }
)


def _default_context(value: Any) -> Any:
    value.setdefault("context", ".")
    return value


def _default_secret(value: Any) -> Any:
    value.setdefault("target", f"/run/secrets/{value.get('source')}")
    return value


def _default_port(value: Any) -> Any:
    value.setdefault("protocol", "tcp")
    value.setdefault("mode", "ingress")
    return value


def _default_device(value: Any) -> Any:
    if "count" not in value and "device_ids" not in value:
        value["count"] = "all"
    return value


_DEFAULTS: Rules[_Rule] = Rules(
    {
        "services.*.build": _default_context,
        "services.*.secrets.*": _default_secret,
        "services.*.ports.*": _default_port,
        "services.*.deploy.resources.reservations.devices.*": _default_device,
        "services.*.gpus.*": _default_device,
    }
)


def _check_volume(value: Any) -> Any:
    if value and value.get("external") is True:
        extra = next((key for key in value if key not in ("name", "external") and not key.startswith("x-")), None)
        if extra is not None:
            raise ValueError(f"external and {extra} exclude each other")
    return value


def _check_content(*keys: str) -> _Rule:
    def run(value: Any) -> Any:
        given = [key for key in keys if key in (value or {})]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        if not given and not {"driver", "external"} & set(value or {}):
            raise ValueError(f"one of {', '.join(keys)} must be given")
        return value

    return run


def _check_port(value: Any) -> Any:
    if "target" not in value:
        raise ValueError("an entry has no target")
    if "host_ip" in value:
        try:
            ipaddress.ip_address(value["host_ip"])
        except ValueError:
            raise ValueError(f"host_ip {value['host_ip']!r} is no IP address") from None
    return value


def _check_device(value: Any) -> Any:
    if "count" in value and "device_ids" in value:
        raise ValueError("count and device_ids exclude each other")
    return value


_CHECKS: Rules[_Rule] = Rules(
    {
        "volumes.*": _check_volume,
        "configs.*": _check_content("file", "environment", "content"),
        "secrets.*": _check_content("file", "environment"),
        "services.*.ports.*": _check_port,
        "services.*.deploy.resources.reservations.devices.*": _check_device,
        "services.*.gpus.*": _check_device,
    }
)
