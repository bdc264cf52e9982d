"""What the user should know of a project that can be read: each thing that it asks for and does not get. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from resolver.cli.compose.isolation import has_volumes_of_its_own
from resolver.cli.compose.project import Condition
from resolver.cli.compose.services import RESTARTS, SERVICE_KEYS
from resolver.cli.compose.shapes import Record

_SECURITY = {
    "device_cgroup_rules": "processes may use the devices that who runs berth may use",
    "isolation": "processes run on the host's kernel as all others do",
    "runtime": "commands are started by berth, on the host's kernel, by no other runtime",
    "userns_mode": "no user namespace is made or left by it",
}
"""Keys that someone relies on for safety, and what is the case instead."""
_SHARED = {
    "cgroup": "each service has a cgroup namespace of its own",
    "ipc": "each service has an IPC namespace of its own",
    "pid": "processes have their own process ids, or see those of the host",
    "uts": "the host name is the sandbox's own",
}
_LIMITS = ("blkio_config", "cpu_percent", "cpu_quota", "cpuset", "memswap_limit", "oom_kill_disable", "storage_opt")
_OF_A_TERMINAL = ("stdin_open", "tty")
_TOP_LEVEL = ("volumes", "configs", "secrets", "models")


def notes_of(model: Record, services: Mapping[str, Record]) -> tuple[str, ...]:
    """Return lines about *services*, those of *model* that are switched on; what matters most comes first."""
    loud = [*_SECURITY, *_SHARED]
    lines = [_line(key, services, consequence) for key, consequence in (_SECURITY | _SHARED).items() if _having(services, key)]
    for text, concerns in _SPECIAL:
        names = [name for name, service in services.items() if concerns(service)]
        if names:
            lines.append(f"{text} of {_listed(names)}")
    limits = [key for key in _LIMITS if _having(services, key)]
    if limits:
        names = list(dict.fromkeys(name for key in limits for name in _having(services, key)))
        text = "nothing is limited by that; mem_limit, cpus, pids_limit and ulimits are, and deploy.resources.limits"
        lines.append(f"{', '.join(limits)} of {_listed(names)}: {text}")
    unwaited = _unwaited(services)
    if unwaited:
        text = "what runs in a service with an image is somebody else's, so its health or its end is not waited for: that"
        lines.append(f"{text} of {_listed(unwaited)}")
    quiet = {
        key
        for service in services.values()
        for key, value in service.items()
        if value not in (None, "", 0, [], {}) and (_is_run_elsewhere(service) or key not in _OF_A_TERMINAL)
    }
    elsewhere = {"volumes" for service in services.values() if _is_run_elsewhere(service) and service.get("volumes")}
    of_all = {key for key in _TOP_LEVEL if model.get(key)}
    ignored = sorted((quiet - SERVICE_KEYS - set(loud) - set(_LIMITS) - _SAID) | elsewhere | of_all)
    return (*lines, *([f"ignored, not about networking: {', '.join(ignored)}"] if ignored else []))


def _line(key: str, services: Mapping[str, Record], consequence: str) -> str:
    return f"{key} of {_listed(_having(services, key))} is not honoured: {consequence}"


def _having(services: Mapping[str, Record], key: str) -> list[str]:
    return [name for name, service in services.items() if service.get(key)]


def _listed(names: list[str]) -> str:
    most = 5
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"service{'s' if len(names) > 1 else ''} {', '.join(names[:most])}{more}"


def _unwaited(services: Mapping[str, Record]) -> list[str]:
    """Return the services with an image for whose health or end others ask to wait."""
    wanted = {
        other
        for service in services.values()
        for other, dependency in (service.get("depends_on") or {}).items()
        if dependency.get("condition") not in (None, Condition.STARTED.value)
    }
    return [name for name, service in services.items() if name in wanted and _is_run_elsewhere(service)]


def _restart_word_is_unknown(service: Record) -> bool:
    return (service.get("restart") or "no").partition(":")[0] not in RESTARTS


def _wants_a_terminal(service: Record) -> bool:
    return not _is_run_elsewhere(service) and any(service.get(key) for key in _OF_A_TERMINAL)


def _is_run_elsewhere(service: Record) -> bool:
    return bool(service.get("image") or service.get("build"))


def _checks_health_elsewhere(service: Record) -> bool:
    check = service.get("healthcheck") or {}
    return _is_run_elsewhere(service) and bool(check) and not check.get("disable") and check.get("test") != ["NONE"]


def _has_volumes_of_its_own(service: Record) -> bool:
    return not _is_run_elsewhere(service) and has_volumes_of_its_own(service)


_ABOUT_PROCESSES = (
    "user", "group_add", "cap_add", "cap_drop", "privileged", "security_opt", "read_only", "tmpfs", "shm_size", "mem_limit", "cpus",
    "pids_limit", "ulimits",
)  # fmt: skip


def _asks_elsewhere(service: Record) -> bool:
    return _is_run_elsewhere(service) and any(service.get(key) for key in _ABOUT_PROCESSES)


_SPECIAL: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    ("provider: nothing is run for it, start yourself what it stands for: that", lambda service: bool(service.get("provider"))),
    ("use_api_socket: there is no socket of Docker to hand over: that", lambda service: bool(service.get("use_api_socket"))),
    ("volumes: only files and directories of the host are bound, there are no volumes with names: that", _has_volumes_of_its_own),
    ("user, capabilities, files and bounds of processes are for who runs the image to see to: those", _asks_elsewhere),
    ("restart: not a word that Docker knows, which counts as no: that", _restart_word_is_unknown),
    ("tty, stdin_open: what `up` starts has no terminal, and nothing to read (`berth compose run` has both): that", _wants_a_terminal),
    ("healthcheck is for who runs the image, nothing else asks for the health: that", _checks_health_elsewhere),
)
"""What is said, before ` of service …`, and of which services."""
_SAID = {"init", "provider", "use_api_socket", "restart", "healthcheck"}
