"""A service of a reading as a value. Pure.

A key that is an option of `berth run` too is a row of `sandbox_options` and is taken as it is read, unless Compose writes it in a
form of its own (`_FORMS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from resolver.cli.compose import isolation
from resolver.cli.compose.durations import nanoseconds_of
from resolver.cli.compose.networks import egress_of, routes_of
from resolver.cli.compose.project import Condition, Dependency, HealthCheck, Restart, RestartWhen, Service, ServiceNetwork, field_of
from resolver.cli.compose.shapes import Record, boolean
from resolver.cli.sandbox_options import OPTIONS, Kind, Option

_PREFIX = "networks."
_SERVICE_OPTIONS = tuple(
    option for option in OPTIONS if option.compose and not option.compose.startswith(_PREFIX) and option.compose != "env_file"
)
_NETWORK_OPTIONS = tuple(option for option in OPTIONS if option.compose and option.compose.startswith(_PREFIX))
_DEFAULT_GRACE = 10.0

SERVICE_KEYS = {option.compose for option in _SERVICE_OPTIONS if option.compose} | {
    "attach", "build", "command", "container_name", "depends_on", "deploy", "entrypoint", "external_links", "image", "mac_address",
    "network_mode", "profiles", "scale", "stop_grace_period", "stop_signal",
}  # fmt: skip
"""The keys of a service that are about what berth does."""


def service_of(name: str, service: Record, enabled: Mapping[str, Record]) -> Service:
    """Return the service *name*; ValueError for what berth can't make of it. *enabled*: all services that are switched on."""
    has_image = bool(service.get("image") or service.get("build"))
    return Service(
        name=name,
        network_mode=service.get("network_mode") or None,
        command=() if has_image else (*(service.get("entrypoint") or ()), *(service.get("command") or ())),
        entrypoint=() if has_image else tuple(service.get("entrypoint") or ()),
        has_image=has_image,
        attach=service.get("attach") is not False,
        container_name=service.get("container_name") or None,
        depends_on=_dependencies(service, enabled),
        external_links=tuple(service.get("external_links") or ()),
        replicas=replicas_of(service),
        profiles=tuple(service.get("profiles") or ()),
        restart=_restart(service),
        health=_health(service.get("healthcheck") or {}),
        stop_grace=_seconds(service.get("stop_grace_period"), _DEFAULT_GRACE),
        stop_signal=service.get("stop_signal") or "SIGTERM",
        **{field_of(option): _value(service, option) for option in _SERVICE_OPTIONS},
    )


def replicas_of(service: Mapping[str, Any]) -> int:
    """Return how many sandboxes a service has."""
    scale = service.get("scale")
    replicas = (service.get("deploy") or {}).get("replicas")
    given = replicas if scale is None else scale
    return 1 if given is None else int(given)


def _value(record: Record, option: Option) -> Any:
    """Return the value of *option* in *record*, a service or one of its networks."""
    assert option.compose is not None
    if option.compose in _FORMS:
        return _FORMS[option.compose](record)
    key = option.compose.rpartition(".")[2]
    given = record.extensions.get(key) if key.startswith("x-") else record.get(key)
    match option.kind:
        case Kind.TEXT | Kind.OPTIONAL:
            return given or None
        case Kind.LIST | Kind.LINKS | Kind.NETWORKS:
            return tuple(given or ())
        case Kind.PAIRS:
            return given or {}
        case Kind.NUMBER | Kind.DECIMAL | Kind.DURATION:
            return given or 0
        case Kind.SIZE:
            return int(given or 0)
        case Kind.FLAG:
            return _flag(key, given)


def _flag(key: str, given: Any) -> bool:
    try:
        return boolean(given)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _dependencies(service: Record, enabled: Mapping[str, Record]) -> tuple[Dependency, ...]:
    given: Mapping[str, Any] = service.get("depends_on") or {}
    return tuple(
        Dependency(
            service=other,
            condition=Condition(dependency.get("condition") or "service_started"),
            restart=bool(dependency.get("restart")),
            required=bool(dependency.get("required", True)),
        )
        for other, dependency in given.items()
        if other in enabled
    )


RESTARTS = {"none": RestartWhen.NEVER, "any": RestartWhen.ALWAYS, **{when.value: when for when in RestartWhen}}


def _restart(service: Record) -> Restart:
    """Return the policy of `deploy.restart_policy`, else that of `restart`; a word that Docker does not know is none, as in Compose."""
    policy = (service.get("deploy") or {}).get("restart_policy")
    if policy is not None:
        return Restart(when=RESTARTS.get(policy.get("condition", ""), RestartWhen.NEVER), attempts=policy.get("max_attempts") or 0)
    word, _, attempts = (service.get("restart") or "no").partition(":")
    return Restart(when=RESTARTS.get(word, RestartWhen.NEVER), attempts=int(attempts) if attempts.isascii() and attempts.isdigit() else 0)


def _health(check: Mapping[str, Any]) -> HealthCheck | None:
    kind, *words = check.get("test") or [""]
    if check.get("disable") or kind not in ("CMD", "CMD-SHELL") or not words:
        return None
    interval = _seconds(check.get("interval"), 30.0) or 30.0
    return HealthCheck(
        command=tuple(words),
        in_shell=kind == "CMD-SHELL",
        interval=interval,
        timeout=_seconds(check.get("timeout"), 30.0) or 30.0,
        retries=check.get("retries") or 3,
        start_period=_seconds(check.get("start_period"), 0.0),
        start_interval=_seconds(check.get("start_interval"), 5.0) or 5.0,
    )


def _seconds(duration: str | None, default: float) -> float:
    return default if duration is None else nanoseconds_of(duration) / 1e9


# --- forms of Compose's own ---------------------------------------------------------------------------------------


def _networks(service: Record) -> tuple[ServiceNetwork, ...]:
    given: Mapping[str, Record | None] = service.get("networks") or {}
    result = [_endpoint(key, endpoint if endpoint is not None else Record({})) for key, endpoint in given.items()]
    # Compose connects in the order of `priority`, highest first, and among equals in that of the names.
    result.sort(key=lambda network: (-network.priority, network.network))
    shared_mac = service.get("mac_address") or None
    if shared_mac and result and not result[0].mac_address:
        result[0] = replace(result[0], mac_address=shared_mac)
    return tuple(result)


def _endpoint(key: str, endpoint: Record) -> ServiceNetwork:
    options = {field_of(option): _value(endpoint, option) for option in _NETWORK_OPTIONS}
    return ServiceNetwork(network=key, priority=endpoint.get("priority") or 0, **options)


def _sysctls(service: Record) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in (service.get("sysctls") or {}).items())


def _environment(service: Record) -> dict[str, str | None]:
    return service.get("environment") or {}


def _extra_hosts(service: Record) -> tuple[str, ...]:
    return tuple(line.replace("=", ":", 1) for line in service.get("extra_hosts") or ())


def _ports(service: Record) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_port, service.get("ports") or ())))


def _port(port: Record) -> str:
    """Return *port* as `--publish` takes it, with the services that its name and protocol stand for."""
    published, address = port.get("published") or "", port.get("host_ip") or ""
    if ":" in address:
        address = f"[{address}]"
    host = f"{address}:{published}:" if address else f"{published}:" if published else ""
    # What kubernetes.io/h2c and the like mean is behind the slash.
    services = (port.get("name") or "", (port.get("app_protocol") or "").rpartition("/")[2])
    names = ",".join(filter(None, services))
    return f"{names}{'=' * bool(names)}{host}{port['target']}/{port.get('protocol') or 'tcp'}"


_FORMS: dict[str, Callable[[Record], Any]] = {
    "networks": _networks,
    "sysctls": _sysctls,
    "environment": _environment,
    "extra_hosts": _extra_hosts,
    "ports": _ports,
    "networks.x-routes": routes_of,
    "x-egress": egress_of,
    "mem_limit": isolation.memory,
    "cpus": isolation.cpus,
    "pids_limit": isolation.pids,
    "ulimits": isolation.ulimits,
    "volumes": isolation.volumes,
    "tmpfs": isolation.tmpfs,
}
"""Compose key, as in `Option.compose` → what reads it, where its form is not that of the option's kind."""
