"""Our lines in a sandbox's hosts file, merged into what the file holds."""

from __future__ import annotations

from netcore.desired import hostsfile
from netcore.desired.objects import HostsLines
from netcore.kernel import files
from netcore.kernel.handlers.handler import Handler, set_again
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _merge(path: str, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[()]:
    files.write_in_place(path, hostsfile.merge_hosts(files.read_if_there(path), before, after))
    return ()


def _remove(_sessions: NetlinkSessions, hosts: HostsLines) -> tuple[()]:
    try:
        current = files.read(hosts.path)
    except FileNotFoundError:
        return ()
    files.write_in_place(hosts.path, hostsfile.merge_hosts(current, hosts.lines, ()))
    return ()


HOSTS_LINES: Handler[HostsLines, Request] = Handler(
    create=lambda _, hosts: _merge(hosts.path, (), hosts.lines),
    delete=_remove,
    replace=lambda _, before, after: _merge(after.path, before.lines, after.lines),
    observe=set_again,
)
