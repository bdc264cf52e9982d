"""`berth ps`. Standard library only, so that it is there at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resolver.cli import proc, sandbox_fields, terminal
from resolver.cli.client import SERVICE_LABEL, call, sandboxes_path
from resolver.cli.filters import BadFilter, matches, read_filters
from resolver.cli.list_options import of_list
from resolver.cli.listing import BadFormat, Listing, check_format, print_listing
from resolver.cli.outcome import outcome, usage_error
from resolver.cli.output import shown_id
from resolver.cli.sandbox_parser import arguments_of

_WIDE = 100
_LEFT_OUT = {False: ("SANDBOX ID", "COMMAND"), True: ("SANDBOX ID",)}
"""Whether `--all` was given → what a terminal narrower than `_WIDE` has no room for beside ports: names mean the same as ids."""
_MEAN_STOPPED = ("status", "exited", "before", "since")
"""Filters that are about sandboxes that are stopped too."""
Sandboxes = list[dict[str, Any]]


def main(arguments: list[str]) -> int:
    """Run `berth ps` *arguments* and return the exit code."""
    return outcome(lambda: _ps(arguments))


def _ps(arguments: list[str]) -> int:
    values, operands = arguments_of("ps", arguments, of_list("ps"))
    if operands:
        usage_error("ps", f"{operands[0]!r} is not an option; --filter name={operands[0]} shows sandboxes by name")
    try:
        check(values)
        show(chosen(call("GET", path(values)), values), values)
    except (BadFilter, BadFormat) as error:
        usage_error("ps", error)
    return 0


def check(values: Mapping[str, Any]) -> None:
    """Raise BadFilter or BadFormat for what is wrong with the options *values* whatever there is."""
    check_format(values.get("format", "table"))
    from resolver.numbers import whole_number

    last = values.get("last", "1")
    if whole_number(last, 1, 1_000_000_000) is None:
        raise BadFilter(f"--last {last}: it should be a number from 1 on")
    _filters(values)


def path(values: Mapping[str, Any]) -> str:
    """Return the request for what the options *values* are about: as with Docker, some mean those that are stopped too."""
    with_stopped = any(values.get(name) for name in ("all", "latest", "last"))
    with_stopped = with_stopped or any(text.partition("=")[0] in _MEAN_STOPPED for text in values.get("filter", ()))
    return sandboxes_path(stopped=with_stopped)


def _filters(values: Mapping[str, Any]) -> dict[str, list[str]]:
    return read_filters(values.get("filter", ()), sandbox_fields.FILTERS, sandbox_fields.SENSELESS)


def chosen(sandboxes: Sandboxes, values: Mapping[str, Any]) -> Sandboxes:
    """Return those of *sandboxes* that the options *values* mean; BadFilter says what is wrong with a value of a filter."""
    filters = _filters(values)
    found = [sandbox for sandbox in sandboxes if matches(filters, sandbox_fields.tests(sandbox, sandboxes))]
    last = "1" if values.get("latest") else values.get("last")
    return found if last is None else sorted(found, key=lambda sandbox: sandbox["created"], reverse=True)[: int(last)]


def show(
    sandboxes: Sequence[dict[str, Any]], values: Mapping[str, Any], more: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
) -> None:
    """Print *sandboxes* as the options *values* ask for; BadFormat says what is wrong with `--format`. *more*: fields for templates."""
    if values.get("services"):
        for name in dict.fromkeys(sandbox["labels"].get(SERVICE_LABEL) for sandbox in sandboxes):
            if name:
                print(name)
        return
    now, whole = time.time(), values.get("no_trunc", False)  # noqa: TID251 (this is where the clock is read)
    columns = None if whole else terminal.width()
    narrow = columns is not None and columns < _WIDE
    left_out = _LEFT_OUT[values.get("all", False)] if narrow else ()
    shown = [at for at, column in enumerate(sandbox_fields.COLUMNS) if column not in left_out]

    def cells(sandbox: Mapping[str, Any]) -> list[str]:
        row = sandbox_fields.cells(sandbox, proc.command_of(sandbox), now, whole=whole)
        return [row[at] for at in shown]

    listing = Listing(
        things=sandboxes,
        columns=[sandbox_fields.COLUMNS[at] for at in shown],
        cells=cells,
        fields=lambda sandbox: {
            **sandbox_fields.docker_fields(sandbox, proc.command_of(sandbox), now, whole=whole),
            **(more(sandbox) if more is not None else {}),
        },
        id_of=lambda sandbox: shown_id(sandbox, whole=whole),
        headings=sandbox_fields.HEADINGS,
        cut=("COMMAND",),
        keep=("STATUS", "NAME", "ADDRESSES", "PORTS"),
    )
    print_listing(listing, values.get("format", "table"), quiet=values.get("quiet", False), whole=whole)
