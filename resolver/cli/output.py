"""Printing for people and for programs: tables and JSON."""

from __future__ import annotations

import sys

from resolver.light import TYPE_CHECKING
from resolver.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any


def print_json(value: Any) -> None:
    """Print *value* as indented JSON."""
    import json

    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, cut: Collection[str] = (), keep: Sequence[str] = (), whole: bool = False
) -> None:
    """Print a table, as wide as the terminal. *cut*, *keep*: see `lay_out`; *whole*: one line for each row, however long."""
    # `run` and `exec` print none.
    from resolver.cli import terminal
    from resolver.cli.table import lay_out

    cells = [[printable(cell) for cell in row] for row in rows]
    heading, *lines = lay_out(columns, cells, None if whole else terminal.width(), cut, keep)
    print(terminal.styled(heading, "bold"))
    for line in lines:
        print(line)


def complain(text: object) -> None:
    """Print an error or a warning, whose lines may hold text of others."""
    lines = "\n".join(map(printable, str(text).split("\n")))
    print(f"berth: {lines}", file=sys.stderr)


def shown_id(thing: Mapping[str, Any], *, whole: bool) -> str:
    """Return the id of *thing* as lists have it: its first 12 digits, or all of them."""
    identity: str = thing["id"]
    return identity if whole else identity[:12]


def counted(number: int, noun: str) -> str:
    """Return "1 network", "2 networks", "2 sandboxes"."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {plural}"


def print_plan(plan: dict[str, Any], *, is_json: bool = False) -> None:
    """Print the steps of a dry run, as JSON or one on a line; that there are none is said on standard error then."""
    if is_json:
        print_json(plan)
        return
    if plan["steps"]:
        print("\n".join(map(printable, plan["steps"])))
    else:
        complain("nothing in the kernel would change")
    print_warnings(plan)


def print_steps(steps: Sequence[str], *, is_json: bool) -> None:
    """Print what a command would do, a line each, or as JSON in the form of a dry run of the admin API."""
    if is_json:
        print_json({"steps": steps, "warnings": []})
        return
    for step in steps:
        print(step)


def print_warnings(response: dict[str, Any]) -> None:
    """Print the warnings of a response, each on a line of standard error."""
    for warning in response["warnings"]:
        complain(f"warning: {warning}")


def port_texts(ports: Sequence[dict[str, Any]]) -> list[str]:
    """Return published ports as `0.0.0.0:8080->80/tcp`, those that are only exposed as `80/tcp`.

    A port that is published at every IPv4 address and at every IPv6 address is one.
    """
    return list(dict.fromkeys(_port_text({**port, "host_address": "0.0.0.0"} if _has_twin(port, ports) else port) for port in ports))


def _has_twin(port: dict[str, Any], ports: Sequence[dict[str, Any]]) -> bool:
    return port["host_address"] == "::" and {**port, "host_address": "0.0.0.0"} in ports


def _port_text(port: dict[str, Any]) -> str:
    if not port["host_port"]:
        return f"{port['sandbox_port']}/{port['protocol']}"
    return f"{host_address(port)}->{port['sandbox_port']}/{port['protocol']}"


def host_address(port: dict[str, Any]) -> str:
    """Return where on the host a port is published, `0.0.0.0:8080`."""
    address = f"[{port['host_address']}]" if ":" in port["host_address"] else port["host_address"]
    return f"{address}:{port['host_port']}"
