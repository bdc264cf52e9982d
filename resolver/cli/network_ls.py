"""`berth network ls`. Standard library only, so that it is there at once."""

from __future__ import annotations

from resolver.cli import network_fields
from resolver.cli.client import call
from resolver.cli.filters import BadFilter, matches, read_filters
from resolver.cli.list_options import of_list
from resolver.cli.listing import BadFormat, Listing, check_format, print_listing
from resolver.cli.outcome import outcome, usage_error
from resolver.cli.output import shown_id
from resolver.cli.sandbox_parser import arguments_of

NAME = "network ls"


def main(arguments: list[str]) -> int:
    """Run `berth network ls` *arguments* and return the exit code."""
    return outcome(lambda: _network_ls(arguments))


def _network_ls(arguments: list[str]) -> int:
    values, operands = arguments_of(NAME, arguments, of_list(NAME))
    if operands:
        usage_error(NAME, f"{operands[0]!r} is not an option; --filter name={operands[0]} shows networks by name")
    whole = values.get("no_trunc", False)
    try:
        filters = read_filters(values.get("filter", ()), network_fields.FILTERS)
        check_format(values.get("format", "table"))
        listing = Listing(
            things=[network for network in call("GET", "/v1/networks") if matches(filters, network_fields.tests(network))],
            columns=network_fields.COLUMNS,
            cells=lambda network: network_fields.cells(network, whole=whole),
            fields=lambda network: network_fields.docker_fields(network, whole=whole),
            id_of=lambda network: shown_id(network, whole=whole),
            headings=network_fields.HEADINGS,
        )
        print_listing(listing, values.get("format", "table"), quiet=values.get("quiet", False), whole=whole)
    except (BadFilter, BadFormat) as error:
        usage_error(NAME, error)
    return 0
