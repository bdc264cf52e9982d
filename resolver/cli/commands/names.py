"""Commands on names: resolve, cache."""

from __future__ import annotations

import sys

import click

from resolver.cli.client import call, find_sandbox, segment
from resolver.cli.command_table import CACHE_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import FORMAT, SANDBOX
from resolver.cli.output import complain, print_json, print_table
from resolver.printable import printable


@command(examples=("berth resolve web --from api --explain",))
@click.argument("name")
@option("-t", "--type", "rtype", default="A", show_default=True, metavar="TYPE", help="Record type; an address is looked up as PTR.")
@option("--from", "sandbox", type=SANDBOX, metavar="SANDBOX", help="Query as this sandbox does; without it as somebody on every network.")
@option("--explain", is_flag=True, help="Explain how the response came about.")
@FORMAT
def resolve(name: str, rtype: str, sandbox: str | None, explain: bool, form: str) -> int:
    """Look up a name as a sandbox would.

    Exits with 0 if there is a record, else with 1.
    """
    asking = find_sandbox(sandbox)["id"] if sandbox else None
    response = call("POST", "/v1/resolve", {"name": name, "type": rtype, "sandbox": asking}, autostart=False)
    if form == "json":
        print_json(response)
    else:
        for record in response["records"]:
            print("\t".join(printable(str(record[field])) for field in ("name", "ttl", "type", "data")))
        if not response["records"]:
            print(f"{response['name']}\t{response['type']}\t{response['rcode']}: {response.get('reason') or 'no records'}")
            if sandbox is None:
                complain("asked as somebody on every network; `--from SANDBOX` asks as a sandbox does")
        if explain:
            for line in response["explanation"]:
                print(f"  {printable(line)}")
    return 0 if response["records"] else 1


@group(rows=CACHE_ROWS, examples=("berth cache ls example.org", "berth cache flush"))
def cache() -> None:
    """Show or clear the DNS cache."""


@command("ls", examples=("berth cache ls example.org",))
@click.argument("name", required=False)
@option("--limit", type=int, default=1000, show_default=True, metavar="NUMBER", help="List at most this many, the most used first.")
@FORMAT
def cache_ls(name: str | None, limit: int, form: str) -> None:
    """List cached responses.

    Those for NAME and the names below it, or all.
    """
    listing = call("GET", f"/v1/cache?limit={limit}{f'&name={segment(name)}' if name else ''}")
    if form == "json":
        print_json(listing)
        return
    rows = [
        (
            entry["name"],
            entry["type"],
            entry["flags"],
            entry["rcode"],
            "stale" if entry["stale"] else str(entry["ttl"]),
            str(entry["hits"]),
            " ".join(entry["upstreams"]),
        )
        for entry in listing["entries"]
    ]
    print_table(("NAME", "TYPE", "FLAGS", "RCODE", "TTL", "HITS", "UPSTREAMS"), rows)
    if listing["found"] > len(rows):
        print(f"berth: {listing['found'] - len(rows)} more; give a name, or --limit", file=sys.stderr)


@command("flush", examples=("berth cache flush example.org",))
@click.argument("name", required=False)
@FORMAT
def cache_flush(name: str | None, form: str) -> None:
    """Clear cached responses.

    Those for NAME and the names below it, or all. Prints how many.
    """
    flushed = call("POST", "/v1/cache/flush", {"name": name}, autostart=False)
    if form == "json":
        print_json(flushed)
    else:
        print(flushed["removed"])
