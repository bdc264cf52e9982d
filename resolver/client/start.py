"""`python -m resolver.client.start`: start the daemon that a command of berth would start, an ordinary user's in his nest."""

from __future__ import annotations

import os
import sys

from resolver.cli import without_daemon
from resolver.cli.client import Refused
from resolver.cli.connection import NoDaemon, connect, socket_path, uses_daemon_of_root
from resolver.rootless import entry


def _start() -> int:
    try:
        try:
            connect(socket_path(), reads_only=True).close()
        except NoDaemon:
            without_daemon.start_daemon()
    except Refused as error:
        sys.stderr.write(f"berth: {error}\n")
        return entry.FAILED
    return 0


def main() -> int:
    """Return 0 as soon as a daemon answers; otherwise the reason is on standard error."""
    return _start() if os.geteuid() == 0 or uses_daemon_of_root() else entry.run_inside(_start, starts=True)


if __name__ == "__main__":
    sys.exit(main())
