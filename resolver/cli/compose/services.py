"""The keys of a service. Pure.

A key that is an option of `berth run` too is a row of `sandbox_options` and is read by its kind, unless Compose writes it in a
form of its own (`_FORMS`). A key that is not about networking is ignored; any other is refused with its line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resolver.cli.compose.project import Service, ServiceNetwork, field_of
from resolver.cli.compose.values import Values, as_text
from resolver.cli.compose.yaml12 import Located
from resolver.cli.sandbox_options import OPTIONS, Kind, Option

_PREFIX = "networks."
_SERVICE_OPTIONS = tuple(option for option in OPTIONS if option.compose and not option.compose.startswith(_PREFIX))
_NETWORK_OPTIONS = tuple(option for option in OPTIONS if option.compose and option.compose.startswith(_PREFIX))

SERVICE_KEYS = {option.compose for option in _SERVICE_OPTIONS if option.compose} | {
    "network_mode", "container_name", "command", "entrypoint", "depends_on", "scale", "deploy", "profiles", "image", "build",
    "stop_grace_period", "stop_signal", "mac_address",
}  # fmt: skip
IGNORED_KEYS = {
    "annotations", "attach", "blkio_config", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "configs", "cpu_count",
    "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset",
    "credential_spec", "develop", "device_cgroup_rules", "devices", "gpus", "group_add", "healthcheck", "init", "ipc",
    "isolation", "logging", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "oom_kill_disable",
    "oom_score_adj", "pid", "pids_limit", "platform", "post_start", "pre_stop", "privileged", "provider", "pull_policy",
    "read_only", "restart", "runtime", "secrets", "security_opt", "shm_size", "stdin_open", "storage_opt",
    "tmpfs", "tty", "ulimits", "user", "userns_mode", "uts", "volumes", "volumes_from", "label_file", "extends",
}  # fmt: skip
NETWORK_KEYS = {option.compose.removeprefix(_PREFIX) for option in _NETWORK_OPTIONS if option.compose} | {"priority"}
_PORT_KEYS = {"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"}


def read_service(values: Values, name: str, raw: Located, line: int) -> Service:
    """Return the service *name*; what is wrong with it is in the problems of *values*."""
    values.check_keys(raw, SERVICE_KEYS, f"services.{name}", IGNORED_KEYS)
    mode = _network_mode(values, raw, name)
    command = (*values.words(raw, "entrypoint"), *values.words(raw, "command"))
    has_image = "image" in raw or "build" in raw
    if not command and not has_image:
        values.problem(line, f"services.{name} has neither command nor image; give it a command to run")
    options = {field_of(option): _value(values, raw, option, name) for option in _SERVICE_OPTIONS}
    if mode:
        options["networks"] = ()
    return Service(
        name=name,
        network_mode=mode,
        command=() if has_image else command,
        has_image=has_image,
        container_name=values.text(raw, "container_name"),
        depends_on=_dependencies(values, raw, mode),
        replicas=_replicas(values, raw, name, line),
        profiles=values.texts(raw, "profiles"),
        stop_grace=values.duration(raw, "stop_grace_period", 10.0),
        stop_signal=values.text(raw, "stop_signal") or "SIGTERM",
        **options,
    )


def _value(values: Values, raw: Located, option: Option, service: str) -> Any:
    """Return the value of *option* in *raw*, a mapping of a service or of one of its networks."""
    key = (option.compose or "").rpartition(".")[2]
    if option.compose in _FORMS:
        return _FORMS[option.compose](values, raw, service)
    match option.kind:
        case Kind.TEXT:
            return values.text(raw, key)
        case Kind.LIST | Kind.LINKS | Kind.NETWORKS:
            return values.texts(raw, key)
        case Kind.PAIRS:
            return values.full_pairs(raw, key)
        case Kind.NUMBER:
            return values.number(raw, key)
        case Kind.FLAG:
            return bool(values.boolean(raw, key))


def _network_mode(values: Values, raw: Located, name: str) -> str | None:
    mode = values.text(raw, "network_mode")
    if mode is None:
        return None
    line = raw.lines["network_mode"]
    if raw.get("networks"):
        values.problem(line, f"services.{name}: network_mode and networks exclude each other")
    kind, _, target = mode.partition(":")
    if mode not in ("host", "none", "bridge") and not (kind in ("service", "container") and target):
        values.problem(line, f"services.{name}.network_mode {mode} is not one of bridge, host, none, service:NAME, container:NAME")
    return mode


def _dependencies(values: Values, raw: Located, mode: str | None) -> tuple[str, ...]:
    """Return the services that must be up before this one; that whose network stack it shares is one of them."""
    given = raw.get("depends_on")
    names = tuple(given) if isinstance(given, Located) else values.texts(raw, "depends_on")
    return (*names, mode.removeprefix("service:")) if mode and mode.startswith("service:") else names


def _replicas(values: Values, raw: Located, name: str, line: int) -> int:
    deploy = values.mapping(raw.get("deploy"), raw.lines.get("deploy", line), f"services.{name}.deploy")
    replicas = values.number(raw, "scale", values.number(deploy, "replicas", 1))
    if raw.get("container_name") and replicas > 1:
        values.problem(raw.lines["container_name"], f"services.{name}: container_name allows one replica only")
    return replicas


# --- forms of Compose's own ---------------------------------------------------------------------------------------


def _networks(values: Values, raw: Located, name: str) -> tuple[ServiceNetwork, ...]:
    given = raw.get("networks")
    # A MAC address of the whole service is that of its first network.
    shared_mac = values.text(raw, "mac_address")
    if given is None:
        return (ServiceNetwork(network="default", mac_address=shared_mac),)
    if isinstance(given, list):
        keys = values.texts(raw, "networks")
        return tuple(ServiceNetwork(network=key, mac_address=shared_mac if i == 0 else None) for i, key in enumerate(keys))
    networks = values.mapping(given, raw.lines["networks"], f"services.{name}.networks")
    result: list[ServiceNetwork] = []
    for key, value in networks.items():
        where = f"services.{name}.networks.{key}"
        endpoint = values.mapping(value, networks.lines[key], where)
        values.check_keys(endpoint, NETWORK_KEYS, where)
        options = {field_of(option): _value(values, endpoint, option, name) for option in _NETWORK_OPTIONS}
        if not result:
            options["mac_address"] = options["mac_address"] or shared_mac
        result.append(ServiceNetwork(network=key, priority=values.number(endpoint, "priority"), **options))
    # Compose connects in the order of `priority`, highest first; the order of the file decides among equals.
    return tuple(sorted(result, key=lambda network: -network.priority))


def _sysctls(values: Values, raw: Located, _: str) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in values.full_pairs(raw, "sysctls").items())


def _environment(values: Values, raw: Located, _: str) -> dict[str, str | None]:
    return values.pairs(raw, "environment")


def _env_file(values: Values, raw: Located, _: str) -> tuple[tuple[str, bool], ...]:
    given = raw.get("env_file")
    files = given if isinstance(given, list) else [] if given is None else [given]
    result: list[tuple[str, bool]] = []
    for file in files:
        if isinstance(file, Located):
            result.append((values.text(file, "path") or "", values.boolean(file, "required") is not False))
        else:
            result.append((as_text(file), True))
    return tuple(result)


def _extra_hosts(values: Values, raw: Located, _: str) -> tuple[str, ...]:
    given = raw.get("extra_hosts")
    if not isinstance(given, Located):
        return values.texts(raw, "extra_hosts")
    lines: list[str] = []
    for name, addresses in given.items():
        lines += [f"{name}:{as_text(address)}" for address in (addresses if isinstance(addresses, list) else [addresses])]
    return tuple(lines)


def _ports(values: Values, raw: Located, name: str) -> tuple[str, ...]:
    given = raw.get("ports")
    if given is None:
        return ()
    if not isinstance(given, list):
        values.problem(raw.lines["ports"], f"services.{name}.ports must be a list")
        return ()
    return tuple(_port(values, port, raw.lines["ports"], name) for port in given)


def _port(values: Values, port: Any, line: int, name: str) -> str:
    if not isinstance(port, Located):
        return as_text(port)
    values.check_keys(port, _PORT_KEYS, f"services.{name}.ports")
    target, published, address = values.text(port, "target"), values.text(port, "published"), values.text(port, "host_ip")
    if target is None:
        values.problem(line, f"services.{name}.ports: an entry has no target")
    if address and ":" in address:
        address = f"[{address.strip('[]')}]"
    host = f"{address}:{published or ''}:" if address else f"{published}:" if published else ""
    # What kubernetes.io/h2c and the like mean is behind the slash.
    services = (values.text(port, "name") or "", (values.text(port, "app_protocol") or "").rpartition("/")[2])
    names = ",".join(filter(None, services))
    return f"{names}{'=' * bool(names)}{host}{target}/{values.text(port, 'protocol') or 'tcp'}"


def _routes(values: Values, raw: Located, _: str) -> tuple[str, ...]:
    return read_routes(values, raw)


def read_routes(values: Values, raw: Located) -> tuple[str, ...]:
    """Return `x-routes` of *raw*: a mapping of destination to next hop, or a list of `DESTINATION=VIA`."""
    return tuple(f"{destination}={via}" for destination, via in values.full_pairs(raw, "x-routes").items())


_FORMS: dict[str, Callable[[Values, Located, str], Any]] = {
    "networks": _networks,
    "sysctls": _sysctls,
    "environment": _environment,
    "env_file": _env_file,
    "extra_hosts": _extra_hosts,
    "ports": _ports,
    "networks.x-routes": _routes,
}
"""Compose key, as in `Option.compose` → what reads it, where its form is not that of the option's kind."""
