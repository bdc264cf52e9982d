"""How one file's tree goes over another's, and one service over that which it extends. Pure.

Mappings are merged key by key, lists are joined, anything else is replaced; `_SPECIAL` has the keys that differ. A list that names
things keeps one entry for each (`_IDENTITIES`), the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resolver.cli.compose.casts import text_of
from resolver.cli.compose.tree import ComposeError, Located, Path, Problem, Rules, change, position_at, position_of
from resolver.cli.compose.volumes import target_of

_Merge = Callable[[Any, Any, Path], Any]


class _Unlike(Exception):
    """What is merged is of different kinds."""

    def __init__(self, path: Path) -> None:
        self.path = path


def merge(base: Located, override: Located) -> Located:
    """Return *base* with what *override* says over it; *base* is changed. ComposeError if they can't be merged."""
    return _merged(base, override, _RULES, ())


def extend(base: Located, service: Located) -> Located:
    """Return the service *base* with what *service* says over it; *base* is changed. ComposeError if they can't be merged."""
    services = _RULES.below("services")
    assert services is not None
    return _merged(base, service, services.below("*"), ())


def _merged(base: Located, override: Located, rules: Rules[_Merge] | None, path: Path) -> Located:
    try:
        return _merge_mappings(base, override, rules, path)
    except _Unlike as error:
        where = position_at(override, error.path)
        raise ComposeError(Problem(where, f"{'.'.join(error.path)} is of another kind than what it overrides or extends")) from None


def _merge(base: Any, override: Any, rules: Rules[_Merge] | None, path: Path) -> Any:
    if rules is not None and rules.rule is not None:
        return rules.rule(base, override, path)
    if override is None:
        return base
    if isinstance(base, Located):
        if not isinstance(override, Located):
            raise _Unlike(path)
        return _merge_mappings(base, override, rules, path)
    if isinstance(base, list):
        if not isinstance(override, list):
            raise _Unlike(path)
        return base + override
    return override


def _merge_mappings(base: Located, override: Located, rules: Rules[_Merge] | None, path: Path) -> Located:
    for key, value in override.items():
        merged = _merge(base[key], value, rules and rules.below(key), (*path, key)) if key in base else value
        base.put(key, merged, position_of(override, key))
    return base


def _replace(_: Any, override: Any, __: Path) -> Any:
    return override


def _as_sequences(base: Any, override: Any, _: Path) -> Any:
    return [*_sequence(base), *_sequence(override)]


def _extra_hosts(base: Any, override: Any, _: Path) -> Any:
    known = _sequence(base)
    return [*known, *(host for host in _sequence(override) if host not in known)]


def _sequence(value: Any) -> list[Any]:
    """Return a mapping, a list or a text as a list; a mapping's entries become `KEY=value`."""
    if isinstance(value, dict):
        entries = []
        for key, inner in value.items():
            entries += [key] if inner is None else [f"{key}={text_of(one)}" for one in (inner if isinstance(inner, list) else [inner])]
        return sorted(entries)
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _mapping(value: Any, path: Path, default: Callable[[], Any]) -> Located:
    """Return a mapping, or a list of names as one; *default* makes the value of each."""
    if isinstance(value, Located):
        return value
    result = Located()
    if isinstance(value, list):
        for name in value:
            if not isinstance(name, str):
                raise _Unlike(path)
            result[name] = default()
    return result


def _named(base: Any, override: Any, path: Path) -> Any:
    return _merge_mappings(_mapping(base, path, _nothing), _mapping(override, path, _nothing), None, path)


def _nothing() -> None:
    return None


def _depends_on(base: Any, override: Any, path: Path) -> Any:
    return _merge_mappings(_mapping(base, path, _started), _mapping(override, path, _started), None, path)


def _started() -> Located:
    return Located({"condition": "service_started", "required": True})


def _build(base: Any, override: Any, path: Path) -> Any:
    def of(value: Any) -> Located:
        return Located({"context": value}) if isinstance(value, str) else value if isinstance(value, Located) else Located()

    return _merge_mappings(of(base), of(override), _BUILD, path)


def _logging(base: Any, override: Any, path: Path) -> Any:
    """Merge the options of the same driver only."""
    if not isinstance(base, Located) or not isinstance(override, Located):
        raise _Unlike(path)
    same = "driver" not in base or "driver" not in override or base["driver"] == override["driver"]
    return _merge_mappings(base, override, None, path) if same else override


def _pools(base: Any, override: Any, path: Path) -> Any:
    """Merge the entries of `ipam.config` that have the same subnet."""
    if not isinstance(base, list) or not isinstance(override, list):
        raise _Unlike(path)
    result: list[Any] = []

    def place(entry: Any) -> int | None:
        return next((i for i, known in enumerate(result) if known.get("subnet") == entry.get("subnet")), None)

    for old in base:
        for new in override:
            if not isinstance(old, Located) or not isinstance(new, Located):
                raise _Unlike(path)
            if new.get("subnet") != old.get("subnet") and place(new) is None:
                result.append(new)
                continue
            merged = _merge_mappings(old, new, None, path)
            index = place(merged)
            if index is None:
                result.append(merged)
            else:
                result[index] = merged
    return result


_BUILD: Rules[_Merge] = Rules({**dict.fromkeys(("args", "additional_contexts", "labels"), _as_sequences), "extra_hosts": _extra_hosts})
_SPECIAL: dict[str, _Merge] = {
    "networks.*.ipam.config": _pools,
    "networks.*.labels": _as_sequences,
    "volumes.*.labels": _as_sequences,
    "services.*.build": _build,
    "services.*.depends_on": _depends_on,
    "services.*.networks": _named,
    "services.*.models": _named,
    "services.*.logging": _logging,
    "services.*.extra_hosts": _extra_hosts,
    **{f"services.*.{key}": _replace for key in ("command", "entrypoint", "healthcheck.test", "ulimits.*")},
    **{
        f"services.*.{key}": _as_sequences
        for key in ("annotations", "deploy.labels", "dns", "dns_opt", "dns_search", "env_file", "label_file", "environment", "labels",
                    "volumes.*.volume.labels", "sysctls", "tmpfs")
    },
}  # fmt: skip
_RULES: Rules[_Merge] = Rules(_SPECIAL)


# --- lists that name things ----------------------------------------------------------------------------------------


def without_repetitions(tree: Located) -> Located:
    """Return *tree* with one entry, the last, for each thing that a list names; it stands where the first stood. *tree* is changed."""
    change(tree, _ONCE)
    return tree


def _once(identity: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def keep(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        entries: dict[Any, Any] = {}
        for entry in value:
            # Nothing was validated yet: an identity may be of any kind.
            entries[repr(identity(entry))] = entry
        return list(entries.values())

    return keep


def _key(entry: Any) -> Any:
    return entry.partition("=")[0] if isinstance(entry, str) else repr(entry)


def _text(entry: Any) -> Any:
    return str(entry) if isinstance(entry, int | str) else repr(entry)


def _path(entry: Any) -> Any:
    return entry.get("path") if isinstance(entry, dict) else entry


def _mount(default: str) -> Callable[[Any], Any]:
    def identity(entry: Any) -> Any:
        if isinstance(entry, dict):
            return entry.get("target", f"{default}/{entry.get('source')}")
        return f"{default}/{entry}"

    return identity


def _volume(entry: Any) -> Any:
    return target_of(entry) if isinstance(entry, str) else entry.get("target") if isinstance(entry, dict) else repr(entry)


def _device(entry: Any) -> Any:
    if isinstance(entry, str):
        parts = entry.split(":")
        return parts[0] if len(parts) == 1 else parts[1]
    return entry.get("target") if isinstance(entry, dict) else repr(entry)


def _port(entry: Any) -> Any:
    if isinstance(entry, dict):
        keys = ("host_ip", "published", "target", "protocol")
        host, published, target, protocol = (
            entry.get(key, default) for key, default in zip(keys, ("0.0.0.0", None, None, "tcp"), strict=True)
        )
        return host, type(published), published, target, protocol
    return _text(entry)


_IDENTITIES: dict[str, Callable[[Any], Any]] = {
    "networks.*.labels": _key,
    "networks.*.ipam.options": _key,
    **{
        f"services.*.{key}": _key
        for key in ("annotations", "build.args", "build.additional_contexts", "build.platform", "build.tags", "build.labels", "cap_add",
                    "cap_drop", "deploy.labels", "dns", "dns_opt", "dns_search", "environment", "labels", "links", "networks.*.aliases",
                    "networks.*.link_local_ips", "profiles", "sysctls", "tmpfs")
    },
    "services.*.devices": _device,
    "services.*.configs": _mount(""),
    "services.*.secrets": _mount("/run/secrets"),
    "services.*.env_file": _path,
    "services.*.expose": _text,
    "services.*.ports": _port,
    "services.*.volumes": _volume,
}  # fmt: skip
_ONCE: Rules[Callable[[Any], Any]] = Rules({path: _once(identity) for path, identity in _IDENTITIES.items()})
