"""What lists say of a sandbox: the cells of `berth ps`, Docker's fields for templates, and filters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resolver.cli import age
from resolver.cli.client import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL
from resolver.cli.filters import BadFilter, Test, has_label
from resolver.cli.output import port_texts, shown_id
from resolver.cli.table import tied

COLUMNS = ("SANDBOX ID", "NAME", "COMMAND", "STATUS", "AGE", "NETWORKS", "ADDRESSES", "PORTS")
FILTERS = ("id", "name", "label", "status", "health", "network", "publish", "expose", "exited", "before", "since")
SENSELESS = {
    "ancestor": "sandboxes have no images",
    "volume": "sandboxes have no volumes; their files are the host's",
    "isolation": "that is of Windows",
    "is-task": "there is no Swarm here",
}
HEALTHS = ("starting", "healthy", "unhealthy", "none")
STATES = ("running", "created", "waiting", "adopted", "exited", "restarting", "ended")
_DOCKER_STATUS = {"created": "Created", "waiting": "Created", "ended": "Exited"}
_DOCKER_STATE = {"waiting": "created", "ended": "exited"}
_DOCKER_STATES = ("removing", "paused", "dead")


def state(sandbox: Mapping[str, Any]) -> str:
    """Return one of `STATES`."""
    run = sandbox.get("run")
    if run is not None and run["state"] != "running":
        return str(run["state"])
    if sandbox["ended"]:
        return "ended"
    if sandbox["adopted"]:
        return "adopted"
    if sandbox.get("waits"):
        return "waiting"
    return "running" if sandbox["leader"] is not None else "created"


def is_stopped(sandbox: Mapping[str, Any]) -> bool:
    """Return whether the command of *sandbox* has ended."""
    run = sandbox.get("run")
    return run is not None and bool(run["state"] == "exited")


def status(sandbox: Mapping[str, Any], now: float) -> str:
    """Return what STATUS shows: one of `STATES`, but `Exited (3) 2 minutes ago` and `Restarting (1) 5 seconds ago` as Docker has it."""
    run = sandbox.get("run")
    match state(sandbox):
        case "exited" if run is not None:
            return f"Exited ({run['exit_code']}) {age.docker_words(now - run['ended'])} ago"
        case "restarting":
            return f"Restarting ({run['exit_code']}) {age.docker_words(now - run['started'])} ago" if run is not None else "restarting"
        case other:
            return f"{other}{_health(sandbox)}"


def _health(sandbox: Mapping[str, Any]) -> str:
    """Return what STATUS says of the health, ` (healthy)` and ` (health: starting)` as Docker has it, "" without a health check."""
    found = sandbox.get("health")
    return "" if found is None else " (health: starting)" if found == "starting" else f" ({found})"


def network_mode(sandbox: Mapping[str, Any]) -> str | None:
    """Return the mode of a sandbox without networks of its own, as `--network` names it, None for any other."""
    match sandbox["stack"]:
        case "host" | "none" as mode:
            return str(mode)
        case "container":
            return f"container:{sandbox['shared_with']}"
    return None


def ports_of(sandbox: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is published of all endpoints."""
    return [port for endpoint in sandbox["endpoints"] for port in endpoint["ports"]]


def cells(sandbox: Mapping[str, Any], command: str, now: float, *, whole: bool) -> tuple[str, ...]:
    """Return the row of `berth ps`. *now*: seconds since the epoch; *whole*: with the whole id."""
    return (
        shown_id(sandbox, whole=whole),
        sandbox["name"],
        command,
        tied(status(sandbox, now)),
        age.short(now - sandbox["created"]),
        network_mode(sandbox) or " ".join(sandbox["networks"]),
        " ".join(sandbox["addresses"]),
        " ".join(port_texts(ports_of(sandbox))),
    )


def docker_fields(sandbox: Mapping[str, Any], command: str, now: float, *, whole: bool) -> dict[str, Any]:
    """Return the fields of `docker ps --format`. Those about images and files are empty, as sandboxes have none."""
    since = age.docker_words(now - sandbox["created"])
    found, run = state(sandbox), sandbox.get("run")
    up = since if run is None else age.docker_words(now - run["started"])
    return {
        "ID": shown_id(sandbox, whole=whole),
        "Names": sandbox["name"],
        "Image": "",
        "Command": f'"{command}"',
        "CreatedAt": age.moment(sandbox["created"]),
        "RunningFor": f"{since} ago",
        "State": "running" if found == "adopted" else _DOCKER_STATE.get(found, found),
        "Status": f"Up {up}{_health(sandbox)}" if found in ("running", "adopted") else _DOCKER_STATUS.get(found) or status(sandbox, now),
        "Ports": ", ".join(port_texts(ports_of(sandbox))),
        "Networks": network_mode(sandbox) or ",".join(sandbox["networks"]),
        "Labels": ",".join(f"{key}={value}" for key, value in sandbox["labels"].items()),
        "Label": dict(sandbox["labels"]),
        "Mounts": "",
        "LocalVolumes": "0",
        "Size": "0B",
        "Service": sandbox["labels"].get(SERVICE_LABEL) or sandbox["labels"].get(ONE_OFF_LABEL, ""),
        "Project": sandbox["labels"].get(PROJECT_LABEL, ""),
        "Addresses": ",".join(sandbox["addresses"]),
        "Pid": sandbox["pid"],
    }


HEADINGS = {
    "ID": "SANDBOX ID", "Names": "NAMES", "CreatedAt": "CREATED AT", "RunningFor": "CREATED", "LocalVolumes": "LOCAL VOLUMES",
}  # fmt: skip
"""Docker's headings of a `table` template, where they are not the field in capitals."""


def tests(sandbox: Mapping[str, Any], all_of_them: Iterable[Mapping[str, Any]]) -> dict[str, Test]:
    """Return filter → test of *sandbox*. *all_of_them*: among them those that `before` and `since` name."""

    def created(reference: str) -> float:
        for other in all_of_them:
            if other["name"] == reference or other["id"].startswith(reference):
                when: float = other["created"]
                return when
        raise BadFilter(f"there is no sandbox {reference}")

    return {
        "id": sandbox["id"].startswith,
        "name": lambda text: _found(text, sandbox["name"]),
        "label": lambda text: has_label(sandbox["labels"], text),
        "status": lambda text: _has_state(sandbox, text),
        "health": lambda text: _has_health(sandbox, text),
        "network": lambda text: text == network_mode(sandbox) or any(_is_on(endpoint, text) for endpoint in sandbox["endpoints"]),
        "publish": lambda text: _has_port(text, ports_of(sandbox), "host_port"),
        "expose": lambda text: _has_port(text, ports_of(sandbox), "sandbox_port"),
        "exited": lambda text: _has_exited(sandbox, text),
        "before": lambda text: bool(sandbox["created"] < created(text)),
        "since": lambda text: bool(sandbox["created"] > created(text)),
    }


def _found(pattern: str, name: str) -> bool:
    """Return whether *pattern* is somewhere in *name*; a leading slash is Docker's."""
    import re

    try:
        return re.search(pattern.replace("^/", "^").removeprefix("/"), name) is not None
    except re.error as error:
        raise BadFilter(f"--filter name={pattern}: {error}") from error


def _is_on(endpoint: Mapping[str, Any], network: str) -> bool:
    return network == endpoint["network"] or (len(network) >= 12 and endpoint["network_id"].startswith(network))


def _has_state(sandbox: Mapping[str, Any], text: str) -> bool:
    if text not in (*STATES, *_DOCKER_STATES):
        raise BadFilter(f"--filter status={text}: it is one of {', '.join(STATES)}")
    found = state(sandbox)
    return text == found or (text == "running" and found == "adopted") or _DOCKER_STATE.get(found) == text


def _has_health(sandbox: Mapping[str, Any], text: str) -> bool:
    if text not in HEALTHS:
        raise BadFilter(f"--filter health={text}: it is one of {', '.join(HEALTHS)}")
    return text == (sandbox.get("health") or "none")


def _has_exited(sandbox: Mapping[str, Any], text: str) -> bool:
    if not text.isdigit():
        raise BadFilter(f"--filter exited={text}: it should be an exit code")
    run = sandbox.get("run")
    return run is not None and run["state"] == "exited" and run["exit_code"] == int(text)


def _has_port(text: str, ports: Iterable[Mapping[str, Any]], field: str) -> bool:
    from resolver.numbers import whole_number

    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    least, most = whole_number(first, 0, 65_535), whole_number(last or first, 0, 65_535)
    if least is None or most is None:
        raise BadFilter(f"port {text!r}: it should be like 80, 80/udp or 8000-8010")
    asked = range(least, most + 1)
    return any(port[field] and port[field] in asked and protocol in ("", port["protocol"]) for port in ports)
