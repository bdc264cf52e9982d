"""What is said of an event: its line, Docker's fields for templates, and filters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli.filters import Test
from resolver.cli.go_maps import Texts

FILTERS = ("type", "event", "sandbox", "container", "network", "id", "cause")
SENSELESS = {
    "image": "there are no images",
    "volume": "there are no volumes",
    "plugin": "plugins have no events",
    "daemon": "use type=host, type=state or type=firewall",
    "label": "events have no labels; `berth events --project NAME` is about one Compose project",
    "scope": "events of other hosts have node=",
}
_DOCKER_TYPES = {"sandbox": "container", "endpoint": "network"}
_DOCKER_ACTIONS = {("sandbox", "stop"): "die", ("sandbox", "remove"): "destroy", ("network", "remove"): "destroy"}

_LEAST = 4
"""Characters of an id that are taken for one."""


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event as one line; the time in the zone of the reader."""
    shown = [f"{key}={value}" for key, value in _more(event).items()]
    return " ".join((_time(event["time"]), event["kind"], event["action"], event["name"], *shown))


def _more(event: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of an event beyond its words. An older daemon tells less."""
    identity, code = event.get("id") or "", event.get("exit_code")
    found = {"id": identity[:12], "network": event["network"], "node": event["node"], "cause": event.get("cause")}
    shown = {key: str(value).replace(" ", "-") for key, value in found.items() if value}
    # A sentence, so it stands last.
    detail = {"detail": event["detail"]} if event.get("detail") else {}
    return shown | ({} if code is None else {"exit_code": str(code)}) | detail


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")


def docker_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `docker events --format`, and those of the admin API by their own names."""
    kind, action, identity = event["kind"], event["action"], event.get("id") or ""
    attributes = {"name": event["name"], **{key: value for key, value in _more(event).items() if key != "id"}}
    if event.get("exit_code") is not None:
        attributes["exitCode"] = str(event["exit_code"])
    if kind == "endpoint":
        # For Docker a network is connected; which sandbox is on it now is an attribute.
        attributes |= {"name": event["network"], "container": identity, "sandbox": event["name"]}
        identity = event.get("network_id") or ""
    return {
        **event,
        "Type": _DOCKER_TYPES.get(kind, kind),
        "Action": _DOCKER_ACTIONS.get((kind, action), action),
        "Actor": {"ID": identity, "Attributes": Texts(attributes)},
        "ID": identity,
        "Status": _DOCKER_ACTIONS.get((kind, action), action),
        "From": "",
        "Scope": "local" if event["node"] is None else "swarm",
        "Time": int(event["time"]),
        "TimeNano": int(event["time"] * 1e9),
    }


def tests(event: Mapping[str, Any]) -> dict[str, Test]:
    """Return filter → test of *event*."""

    def is_sandbox(text: str) -> bool:
        named = event["kind"] in ("sandbox", "endpoint", "egress") and text == event["name"]
        return named or (event["kind"] == "sandbox" and _is_id(event, text))

    def is_network(text: str) -> bool:
        if event["kind"] == "network":
            return text == event["name"] or _is_id(event, text)
        return text == event["network"] or (len(text) >= _LEAST and (event.get("network_id") or "").startswith(text))

    return {
        "type": lambda text: text in (event["kind"], _DOCKER_TYPES.get(event["kind"])),
        "event": lambda text: (
            text in (event["action"], event["action"].partition(":")[0], _DOCKER_ACTIONS.get((event["kind"], event["action"])))
        ),
        "sandbox": is_sandbox,
        "container": is_sandbox,
        "network": is_network,
        "id": lambda text: _is_id(event, text),
        "cause": lambda text: text.replace("-", " ") == event.get("cause"),
    }


def _is_id(event: Mapping[str, Any], text: str) -> bool:
    return len(text) >= _LEAST and (event.get("id") or "").startswith(text)
