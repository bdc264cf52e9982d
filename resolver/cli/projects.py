"""`berth compose ls` and `berth compose ps`: Compose projects, and the sandboxes of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from resolver.cli import ps as sandbox_list
from resolver.cli.client import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, call, sandboxes_path
from resolver.cli.filters import BadFilter, matches, read_filters
from resolver.cli.list_options import of_list
from resolver.cli.listing import BadFormat, Listing, check_format, print_listing
from resolver.cli.outcome import usage_error
from resolver.cli.sandbox_fields import is_stopped, ports_of, state
from resolver.cli.sandbox_parser import parse_all

_LS, _PS = "compose ls", "compose ps"
COLUMNS = ("NAME", "STATUS", "NETWORKS")


def ls(arguments: list[str]) -> int:
    """Run `berth compose ls` *arguments*."""
    values, operands = parse_all(_LS, arguments, of_list(_LS))
    if operands:
        usage_error(_LS, f"{operands[0]!r} is not an option; --filter name={operands[0]} shows projects by name")
    try:
        filters = read_filters(values.get("filter", ()), ("name",))
        check_format(values.get("format", "table"))
        projects = existing(stopped=values.get("all", False))
        listing = Listing(
            things=[project for project in projects if matches(filters, {"name": lambda text, p=project: text in p["Name"]})],  # type: ignore[misc]
            columns=COLUMNS,
            cells=lambda project: (project["Name"], project["Status"], " ".join(project["Networks"])),
            fields=lambda project: project,
            id_of=lambda project: str(project["Name"]),
            headings={},
        )
        print_listing(listing, values.get("format", "table"), quiet=values.get("quiet", False))
    except (BadFilter, BadFormat) as error:
        usage_error(_LS, error)
    return 0


def existing(*, stopped: bool) -> list[dict[str, Any]]:
    """Return the projects of which there is anything: Name, Status, Networks.

    Status is Compose's, `running(3)`, or `no sandboxes` if only networks are left. *stopped*: what is stopped, too.
    """
    everything: list[dict[str, Any]] = call("GET", sandboxes_path(stopped=True))
    networks: list[dict[str, Any]] = call("GET", "/v1/networks")
    sandboxes = [sandbox for sandbox in everything if stopped or not is_stopped(sandbox)]
    # As Compose does: a project of which everything is stopped is left out, and one of which only networks are left is not.
    stopped_ones = {_project(sandbox) for sandbox in everything} - {_project(sandbox) for sandbox in sandboxes}
    networks = [network for network in networks if _project(network) not in stopped_ones]
    names = sorted({thing["labels"][PROJECT_LABEL] for thing in (*sandboxes, *networks) if PROJECT_LABEL in thing["labels"]})
    found = []
    for name in names:
        states = [state(sandbox) for sandbox in sandboxes if sandbox["labels"].get(PROJECT_LABEL) == name]
        found.append(
            {
                "Name": name,
                "Status": ", ".join(f"{kind}({states.count(kind)})" for kind in dict.fromkeys(states)) or "no sandboxes",
                "Networks": [network["name"] for network in networks if network["labels"].get(PROJECT_LABEL) == name],
            }
        )
    return found


def _project(thing: Mapping[str, Any]) -> str | None:
    label: str | None = thing["labels"].get(PROJECT_LABEL)
    return label


def ps(
    project: str,
    arguments: list[str],
    services: Callable[[Sequence[str]], object] | None = None,
    known: Callable[[], Collection[str]] | None = None,
) -> int:
    """Run `berth compose ps` *arguments* for the project called *project*.

    *services*: raises Refused if one of those that are named is not there; *known*: only of these services.
    """
    values, named = parse_all(_PS, arguments, of_list(_PS))
    values.setdefault("filter", []).extend(f"status={status}" for status in values.get("status", ()))
    try:
        sandbox_list.check(values)
    except (BadFilter, BadFormat) as error:
        usage_error(_PS, error)
    members = of_project(call("GET", sandbox_list.path(values)), project)
    if services is not None:
        services(named)
    if known is not None:
        members = [sandbox for sandbox in members if sandbox["labels"].get(SERVICE_LABEL) in known()]
    label = _service_or_one_off if values.get("all", False) else _service
    wanted = [sandbox for sandbox in members if label(sandbox) in named or (not named and (label(sandbox) or not is_one_off(sandbox)))]
    try:
        sandbox_list.show(sandbox_list.chosen(wanted, values), values, more=compose_fields)
    except (BadFilter, BadFormat) as error:
        usage_error(_PS, error)
    return 0


def is_one_off(sandbox: Mapping[str, Any]) -> bool:
    """Return whether `berth compose run` has made it: most commands on a project without names of services pass it by, as Compose's do."""
    return ONE_OFF_LABEL in sandbox["labels"]


def _service(sandbox: Mapping[str, Any]) -> str | None:
    label: str | None = sandbox["labels"].get(SERVICE_LABEL)
    return label


def _service_or_one_off(sandbox: Mapping[str, Any]) -> str | None:
    label: str | None = sandbox["labels"].get(ONE_OFF_LABEL)
    return label or _service(sandbox)


def of_project(sandboxes: list[dict[str, Any]], project: str) -> list[dict[str, Any]]:
    """Return the sandboxes of the project called *project*; none if it is not up."""
    return [sandbox for sandbox in sandboxes if sandbox["labels"].get(PROJECT_LABEL) == project]


def compose_fields(sandbox: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that `docker compose ps --format` has beside those of `docker ps --format`."""
    run = sandbox.get("run")
    return {
        "Name": sandbox["name"],
        "Created": int(sandbox["created"]),
        "ExitCode": run["exit_code"] or 0 if run is not None and run["state"] == "exited" else 0,
        "Health": sandbox.get("health") or "",
        "Publishers": [
            {
                "URL": port["host_address"] if port["host_port"] else "",
                "TargetPort": port["sandbox_port"],
                "PublishedPort": port["host_port"],
                "Protocol": port["protocol"],
            }
            for port in ports_of(sandbox)
        ],
    }
