"""Our lines in a sandbox's hosts file, merged into what the file holds."""

from __future__ import annotations

import logging
import os

from netcore.desired import hostsfile
from netcore.desired.objects import HostsLines
from netcore.kernel import files
from netcore.kernel.handlers.handler import Handler
from netcore.kernel.inventory import Inventory
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions

log = logging.getLogger(__name__)


def _merge(path: str, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[()]:
    current = _current(path)
    if current is not None:
        files.write_in_place(path, hostsfile.merge_hosts(current, before, after))
    return ()


def _remove(_sessions: NetlinkSessions, hosts: HostsLines) -> tuple[()]:
    if os.path.exists(hosts.path):
        _merge(hosts.path, hosts.lines, ())
    return ()


def _current(path: str) -> str | None:
    """Return the text of the hosts file at *path*, "" if something else is there. None: it is too large and left alone."""
    try:
        return files.read_if_there(path)
    except files.TooLarge as error:
        log.warning("hosts file is left alone path=%s reason=%s", path, error)
        return None
    except files.NotRegular as error:
        log.warning("hosts file is made anew path=%s reason=%s", path, error)
        return ""


def _observe(_inventory: Inventory, hosts: HostsLines) -> bool:
    """Return whether some line of ours is there: single ones belong to the user who changes them (HO-12)."""
    present = set(files.read_regular(hosts.path).splitlines())
    return not hosts.lines or any(line in present for line in hosts.lines)


HOSTS_LINES: Handler[HostsLines, Request] = Handler(
    create=lambda _, hosts: _merge(hosts.path, (), hosts.lines),
    delete=_remove,
    replace=lambda _, before, after: _merge(after.path, before.lines, after.lines),
    observe=_observe,
)
