"""The command upgrade: what a restart with this very berth will do to the state and the sandboxes of this host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resolver.cli.client import Refused, connect, exchange
from resolver.cli.commands.declare import command, option
from resolver.cli.commands.options import CONFIG, FORMAT, RUN_DIR, STATE_DIR
from resolver.cli.output import complain, counted, print_json

if TYPE_CHECKING:
    from resolver.daemon.config import DaemonConfig


@command(examples=("berth upgrade --check",))
@option("--check", is_flag=True, help="Look, and change nothing.")
@CONFIG
@STATE_DIR
@RUN_DIR
@FORMAT
def upgrade(*, check: bool, config_path: str | None, state_dir: str | None, run_dir: str | None, form: str) -> int:
    """Say what a restart with this berth will do.

    Run it with the new version before it takes the place of the old one. It says whether this version can read the state of
    this host and of the cluster, which version runs, and whether queries wait for the restart or are refused meanwhile. Exit
    code 1: do not restart yet. The upgrade itself is to install the new version and to restart the daemon.
    """
    if not check:
        raise click.UsageError("give --check; to upgrade, install the new version and restart the daemon")
    from resolver.daemon.config import load
    from resolver.errors import ConfigError

    try:
        config = load(config_path, {"state_dir": state_dir, "run_dir": run_dir})
    except ConfigError as error:
        complain(error)
        return 1
    if form == "json":
        findings = list(_findings(config))
        may_restart = not any(is_obstacle for _, is_obstacle in findings)
        print_json({"may_restart": may_restart, "findings": [{"text": text, "obstacle": is_obstacle} for text, is_obstacle in findings]})
        return 0 if may_restart else 1
    obstacles = 0
    for line, is_obstacle in _findings(config):
        print(f"{'NO: ' if is_obstacle else ''}{line}")
        obstacles += is_obstacle
    print("do not restart with this version yet" if obstacles else "a restart with this version can be made")
    return 1 if obstacles else 0


def _findings(config: DaemonConfig) -> Iterator[tuple[str, bool]]:
    """Yield what there is to say, and whether it is a reason not to restart."""
    from resolver.daemon.startup import version

    yield f"this berth: {version()}", False
    yield from _state(config.state_dir)
    if config.store:
        yield _cluster(config)
    yield _daemon(config.run_dir)
    yield _sockets(config)


def _state(directory: str) -> Iterator[tuple[str, bool]]:
    import sqlite3

    from netcore.store import earlier_schema, last_copy
    from netcore.store.upgrade import SCHEMA_VERSION

    where = f"state in {directory}"
    copied = "; a start uses the last copy of it" if last_copy.read(str(Path(directory, last_copy.COPY))) else ""
    try:
        found = earlier_schema.look(directory)
    except (sqlite3.Error, OSError, ValueError) as error:
        yield f"{where}: it can't be read: {error}{copied}", True
        return
    if found.schema is None:
        yield f"{where}: there is none{copied}", False
        return
    content = f"{where}: schema version {found.schema}, {counted(found.networks, 'network')}, {counted(found.sandboxes, 'sandbox')}"
    if not found.problems:
        copy = Path(directory, earlier_schema.copy_name(found.schema))
        change = f"; it will be brought to version {SCHEMA_VERSION}, and a copy kept as {copy}"
        yield f"{content}{change if found.schema < SCHEMA_VERSION else '; it is read as it is'}", False
    for problem in found.problems:
        yield f"{content}; {problem}", True


def _cluster(config: DaemonConfig) -> tuple[str, bool]:
    import asyncio

    from netcore.cluster.state import SCHEMA_KEY
    from netcore.errors import NetcoreError
    from netcore.store import etcd
    from netcore.store.protocol import only
    from netcore.store.upgrade import why_unreadable
    from resolver.daemon.clustering import etcd_settings

    async def ask() -> bytes | None:
        store = await etcd.open_etcd(etcd_settings(config))
        try:
            item = (await store.load(only(SCHEMA_KEY))).items.get(SCHEMA_KEY)
        finally:
            await store.close()
        return None if item is None else item.value

    try:
        value = asyncio.run(ask())
    except (NetcoreError, OSError) as error:
        return f"cluster: it could not be asked: {error}", False
    try:
        schema = int(value) if value is not None else None
    except ValueError:
        return f"cluster: its schema version can't be read ({value!r:.80}); it is written anew", False
    reason = why_unreadable(schema) if schema is not None else None
    if reason is not None:
        return f"cluster: {reason}", True
    return f"cluster: schema version {schema or 'none yet'}; hosts with an older one stop following this host", False


def _daemon(run_directory: str) -> tuple[str, bool]:
    try:
        with contextlib.closing(connect(f"{run_directory}/berth.sock", reads_only=True)) as sock:
            report = exchange(sock, "GET", "/v1/status")
    except Refused as error:
        return f"daemon: {error}", False
    return f"daemon: berth {report['version']} runs, pid {report['pid']}, {counted(report['sandboxes'], 'sandbox')}", False


def _sockets(config: DaemonConfig) -> tuple[str, bool]:
    from netcore.keeper import connection, program

    if not config.keep_sockets:
        return "sockets: not kept (keep_sockets is 0); queries are refused until the new daemon answers", False
    found = connection.find(config.run_dir)
    if found is None:
        return "sockets: nobody keeps any; queries are refused until the new daemon answers", False
    greeting = found.greeting
    found.close()
    follows = "" if greeting.version == program.VERSION else ", which another one follows"
    kept = f"{greeting.kept} kept by pid {greeting.pid}{follows} for {greeting.hold} s"
    return f"sockets: {kept}; queries and relayed connections wait for the new daemon", False
