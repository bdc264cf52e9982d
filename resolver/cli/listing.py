"""How a list is printed: as a table, as JSON, as a template says, or its ids only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from resolver.cli.client import Refused
from resolver.cli.output import print_json, print_table
from resolver.printable import printable

if TYPE_CHECKING:
    from resolver.cli.templates.nodes import Node


class BadFormat(Refused):
    """What `--format` says can't be done. Its text is for the user."""


class Listing(NamedTuple):
    """What is to be listed. *things*: as the API has them. *id_of*: what `--quiet` prints.

    *cells*, *fields*: of one thing, for the table and for templates; *headings*: of fields in a table that a template asks for.
    *cut*, *keep*: columns, see `table.lay_out`.
    """

    things: Sequence[dict[str, Any]]
    columns: Sequence[str]
    cells: Callable[[dict[str, Any]], Sequence[str]]
    fields: Callable[[dict[str, Any]], dict[str, Any]]
    id_of: Callable[[dict[str, Any]], str]
    headings: Mapping[str, str]
    cut: Collection[str] = ()
    keep: Sequence[str] = ()


def print_listing(listing: Listing, form: str, *, quiet: bool = False, whole: bool = False) -> None:
    """Print *listing* in the *form* table, json or a template; BadFormat says what is wrong with it. *whole*: cut nothing."""
    if form == "json":
        print_json(listing.things)
    elif quiet:
        for thing in listing.things:
            print(listing.id_of(thing))
    elif form == "table":
        print_table(listing.columns, [listing.cells(thing) for thing in listing.things], cut=listing.cut, keep=listing.keep, whole=whole)
    else:
        print_by_template(form, map(listing.fields, listing.things), listing.headings, whole=whole)


def check_format(form: str) -> None:
    """Raise BadFormat if *form* is neither table nor json nor a template that can be read."""
    if form in ("table", "json"):
        return
    if "{{" not in form:
        raise BadFormat(f"--format {form}: it is table, json or a template such as '{{{{.ID}}}}'")
    _template(form)


@cache
def _template(form: str) -> tuple[Node, ...]:
    """Return what the template *form* means. Remembered: it is asked for before there is anything to print, and for each event."""
    from resolver.cli.templates import BadTemplate, parse

    try:
        return parse(form.removeprefix("table "))
    except BadTemplate as error:
        raise BadFormat(f"--format: {error}") from error


def print_by_template(form: str, things: Iterable[Any], headings: Mapping[str, str] | None = None, *, whole: bool = False) -> None:
    """Print each of *things* by the template *form*; `table …` gives columns, separated by tabs."""
    check_format(form)
    from resolver.cli.templates import BadTemplate, render
    from resolver.cli.templates.render import fields_of

    is_table = form.startswith("table ")
    nodes = _template(form)
    try:
        lines = [render(nodes, thing) for thing in things]
    except BadTemplate as error:
        raise BadFormat(f"--format: {error}") from error
    if not is_table:
        for line in lines:
            print("\n".join(map(printable, line.split("\n"))))
        return
    names = [(headings or {}).get(name, name.upper()) for name in fields_of(nodes)]
    rows = [line.split("\t") for line in lines]
    columns = max([len(names), *map(len, rows)])
    print_table(_filled(names, columns), [_filled(row, columns) for row in rows], whole=whole)


def _filled(row: Sequence[str], columns: int) -> list[str]:
    return [*row, *[""] * (columns - len(row))]
