"""The commands `berth host-dns`: the host's own name server is set up to ask berth for names of sandboxes, and back."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from resolver.cli.changed import Changed
from resolver.cli.client import NoDaemon, Refused, call
from resolver.cli.command_table import HOST_DNS_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import CONFIG, DIRECTORY, FORMAT
from resolver.cli.host_dns.setups import HEADER, SETUPS, TITLES, Block, OwnFile, Setup, Unusable
from resolver.cli.output import complain, print_json

if TYPE_CHECKING:
    from resolver.cli.host_dns.apply import Files
    from resolver.cli.host_dns.setups import Server
    from resolver.daemon.config import DaemonConfig

_KINDS = [kind for kind in SETUPS if kind != "hosts"]
_ROOT = option(
    "--root", type=DIRECTORY, metavar="DIRECTORY", default="/", show_default=True, help="Where the host's files are; for images."
)
_DRY_RUN = option("--dry-run", is_flag=True, help="Print what would be changed and change nothing.")
_NO_RESTART = option("--no-restart", is_flag=True, help="Only change the files; do not have the name server read them.")
_PROBE_TIMEOUT = 2.0


@group(rows=HOST_DNS_ROWS)
def host_dns() -> None:
    """Have this host find the names of sandboxes.

    The daemon answers them at the address of its setting host_listen. These commands have the host's own name server ask there for
    the names below berth.internal, and for no others.
    """


@command(examples=("berth host-dns enable --dry-run", "berth host-dns enable", "berth host-dns enable --hosts"))
@option("--by", "kind", type=click.Choice(_KINDS), help="What answers this host's programs (default: as /etc/resolv.conf says).")
@option("--hosts", is_flag=True, help="Write the names to /etc/hosts, where the daemon keeps them current.")
@CONFIG
@_ROOT
@_NO_RESTART
@_DRY_RUN
@FORMAT
def enable(kind: str | None, hosts: bool, config_path: str | None, root: str, no_restart: bool, dry_run: bool, form: str) -> int:
    """Have this host's name server ask berth for its names.

    Prints each file that it writes, with what it writes.
    """
    from resolver.cli.host_dns.apply import Files

    files = Files(root)
    if not dry_run:
        _check_rights(root)
    if hosts and kind:
        raise click.UsageError("--hosts and --by exclude each other")
    try:
        chosen, setup = _chosen("hosts" if hosts else kind, files, config_path)
    except Unusable as error:
        raise Refused(str(error)) from error
    changes = [change for change in setup.changes if not files.is_there(change)]
    with Changed(form) as changed:
        for change in changes:
            _show(change, changed)
            if not dry_run:
                with _refused(change.path):
                    files.make(change)
        if not changes:
            complain(f"{TITLES[chosen]} is set up already")
        _fill_hosts(files, setup, dry_run=dry_run)
        wanted = setup.commands if changes else ()
        return _have_it_read(wanted, TITLES[chosen], changed, is_elsewhere=root != "/" or no_restart, dry_run=dry_run)


@command(examples=("berth host-dns disable",))
@_ROOT
@_NO_RESTART
@_DRY_RUN
@FORMAT
def disable(root: str, no_restart: bool, dry_run: bool, form: str) -> int:
    """Take back what `enable` has changed.

    Every file is then as it was before, to the last octet.
    """
    from resolver.cli.host_dns.apply import Files
    from resolver.cli.host_dns.setups import Server

    if not dry_run:
        _check_rights(root)
    files = Files(root)
    found = list(files.found())
    with Changed(form) as changed:
        for _, path in found:
            changed.tell_as(f"take back {path}", change="take back", file=path)
            if not dry_run:
                with _refused(path):
                    files.take_back(path)
        if not found:
            complain("nothing is set up")
        failed = 0
        for kind in dict.fromkeys(kind for kind, _ in found):
            commands = SETUPS[kind](Server("127.0.0.153", 53, "berth.internal"), lambda _: None).commands
            failed |= _have_it_read(commands, TITLES[kind], changed, is_elsewhere=root != "/" or no_restart, dry_run=dry_run)
        return failed


@command(examples=("berth host-dns status",))
@CONFIG
@_ROOT
@FORMAT
def status(config_path: str | None, root: str, form: str) -> int:
    """Show what is set up, and whether it works.

    Exits with 0 if something is set up and the daemon answers, else with 1.
    """
    from resolver.cli.host_dns.apply import Files

    files = Files(root)
    found = list(files.found())
    config = _configured(config_path)
    daemon = _look_at_daemon(config) if config.host_listen else None
    try:
        asked, why_unknown = _detected(files), None
    except Unusable as error:
        asked, why_unknown = None, str(error)
    works = bool(found) and ((daemon is not None and daemon["answers"]) or all(kind == "hosts" for kind, _ in found))
    if form == "json":
        set_up = [{"by": kind, "file": path} for kind, path in found]
        print_json({"works": works, "set_up": set_up, "daemon": daemon, "programs_ask": asked, "programs_ask_unknown": why_unknown})
        return 0 if works else 1
    for kind, path in found:
        print(f"{TITLES[kind]}: set up by {path}")
    if not found:
        print("nothing is set up; `berth host-dns enable` does it")
    if daemon is None:
        print("the daemon does not answer the host: host_listen is not set")
    else:
        print(f"the daemon {'answers' if daemon['answers'] else 'does not answer'} at {daemon['address']} port {daemon['port']}")
    print(f"this host's programs ask {TITLES[asked]}" if asked is not None else why_unknown)
    return 0 if works else 1


def _check_rights(root: str) -> None:
    if root == "/" and os.geteuid() != 0:
        raise Refused("the files of this host are root's: use sudo; it is about root's daemon, as the host can't ask those of other users")


def _chosen(kind: str | None, files: Files, config_path: str | None) -> tuple[str, Setup]:
    """Return the kind of name server, and what it needs; Unusable if it can't be set up."""
    config = _configured(config_path)
    chosen = kind or _detected(files)
    return chosen, SETUPS[chosen](_server(config, needed=chosen != "hosts"), files.read)


def _detected(files: Files) -> str:
    from resolver.cli.host_dns.detect import detect

    return detect(files.read, files.link_of, files.list_directory)


def _configured(config_path: str | None) -> DaemonConfig:
    from resolver.daemon.config import load
    from resolver.errors import ConfigError

    try:
        return load(config_path, {})
    except ConfigError as error:
        raise Refused(str(error)) from error


def _server(config: DaemonConfig, *, needed: bool) -> Server:
    from resolver.cli.host_dns.setups import Server
    from resolver.daemon.config import parse_host_listen

    if not config.host_listen:
        if needed:
            advice = 'write host_listen = "127.0.0.153:53" to /etc/berth/berth.toml and restart the daemon'
            raise Refused(f"the daemon does not answer the host; {advice}, or use --hosts")
        return Server("", 53, config.suffix)
    return Server(*parse_host_listen(config.host_listen), config.suffix)


def _show(change: OwnFile | Block, changed: Changed) -> None:
    match change:
        case OwnFile():
            what = "write"
            lines: Sequence[str] = [HEADER, *change.text.splitlines()]
        case Block():
            what = "put first in" if change.at_start else "add to"
            lines = change.lines
    shown = lines or ["(the names, which the daemon keeps current)"]
    changed.tell_as("\n  ".join((f"{what} {change.path}:", *shown)), change=what, file=change.path, lines=[*lines])


def _fill_hosts(files: Files, setup: Setup, *, dry_run: bool) -> None:
    """Have the daemon write the names to the hosts file at once, if it runs; a daemon that starts does so by itself."""
    if dry_run or files.root != "/" or not any(change.path == "/etc/hosts" for change in setup.changes):
        return
    try:
        call("POST", "/v1/host-names/write", autostart=False)
    except NoDaemon:
        complain("no daemon runs; the next one writes the names")


@contextmanager
def _refused(path: str) -> Iterator[None]:
    """Say in one line why *path* can't be changed."""
    try:
        yield
    except PermissionError as error:
        raise Refused(f"{path}: {error.strerror}; use sudo") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; what comes after it is as it was") from error


def _have_it_read(commands: Sequence[Sequence[str]], title: str, changed: Changed, *, is_elsewhere: bool, dry_run: bool) -> int:
    """Run a command that has a name server read its configuration, or say that it has to; return the exit code."""
    from resolver.cli.host_dns import apply

    if not commands:
        return 0
    tried = [] if is_elsewhere else apply.runnable(commands)
    for words in tried:
        changed.tell_as(f"run {' '.join(words)}", change="run", command=[*words])
        said = None if dry_run else apply.run(words)
        if said is None:
            return 0
        complain(f"{' '.join(words)} failed: {said}")
    complain(f"{title} has to read its configuration again: {' '.join(commands[0])}")
    return 1 if tried else 0


def _look_at_daemon(config: DaemonConfig) -> dict[str, Any]:
    """Return where the daemon is to answer the host, and whether it does: the SOA of its domain is asked for."""
    from resolver.daemon.config import parse_host_listen
    from resolver.wire.name import from_text

    address, port = parse_host_listen(config.host_listen)
    query = b"be\1\0\0\1\0\0\0\0\0\0" + from_text(config.suffix) + b"\0\6\0\1"
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_PROBE_TIMEOUT)
        try:
            sock.connect((address, port))
            sock.send(query)
            is_answered = sock.recv(512)[:4] == b"be\x85\x80"
        except OSError:
            is_answered = False
    return {"address": address, "port": port, "answers": is_answered}
