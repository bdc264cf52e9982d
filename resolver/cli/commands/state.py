"""The commands backup and restore: the state of this host in one file. They work on the state directory, not through the daemon."""

from __future__ import annotations

import click

from resolver.cli.commands.declare import command
from resolver.cli.commands.options import CONFIG, FILE, STATE_DIR
from resolver.cli.output import complain


@command(examples=("berth backup /var/backups/berth.db",))
@click.argument("file", type=FILE)
@CONFIG
@STATE_DIR
def backup(file: str, config_path: str | None, state_dir: str | None) -> int:
    """Write the state of this host to FILE.

    The daemon may run meanwhile. Overlay networks are in etcd, which has backups of its own.
    """
    from netcore.errors import NetcoreError
    from netcore.store.backup import back_up

    try:
        back_up(_state_directory(config_path, state_dir), file)
    except NetcoreError as error:
        complain(error)
        return 1
    return 0


@command(examples=("berth restore /var/backups/berth.db",))
@click.argument("file", type=FILE)
@CONFIG
@STATE_DIR
def restore(file: str, config_path: str | None, state_dir: str | None) -> int:
    """Put the state in FILE in the place of this host's.

    No daemon may run. The state that was there is kept beside it. Start the daemon afterwards: it makes the networks; what
    `berth doctor` then finds was made after the backup.
    """
    from netcore.errors import NetcoreError
    from netcore.store import backup as backups

    try:
        kept = backups.restore(_state_directory(config_path, state_dir), file)
    except NetcoreError as error:
        complain(error)
        return 1
    if kept is not None:
        complain(f"the state that was there is kept as {kept}")
    return 0


def _state_directory(config_path: str | None, state_dir: str | None) -> str:
    from resolver.cli.client import Refused
    from resolver.daemon.config import load
    from resolver.errors import ConfigError

    try:
        return load(config_path, {"state_dir": state_dir}).state_dir
    except ConfigError as error:
        raise Refused(str(error)) from error
