"""Guarded links and ports: elements of the guard tables, which only the socket that owns them can change."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.desired.objects import GuardedLink, GuardedPort, KernelObject
from netcore.kernel.guard import Group, Guard
from netcore.kernel.handlers.handler import Handler, set_again
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _guard(sessions: NetlinkSessions, guarded: GuardedLink) -> tuple[()]:
    sessions.guard.add(guarded.ifname)
    return ()


def _unguard(sessions: NetlinkSessions, guarded: GuardedLink) -> tuple[()]:
    sessions.guard.remove(guarded.ifname)
    return ()


def _group(guarded: GuardedPort) -> Group:
    return Group.SEPARATE_PORTS if guarded.separate else Group.CONFINED_PORTS


def _guard_port(sessions: NetlinkSessions, guarded: GuardedPort) -> tuple[()]:
    sessions.guard.add(guarded.ifname, _group(guarded))
    return ()


def _unguard_port(sessions: NetlinkSessions, guarded: GuardedPort) -> tuple[()]:
    sessions.guard.remove(guarded.ifname, _group(guarded))
    return ()


def write_ports(guard: Guard, wanted: Iterable[KernelObject]) -> None:
    """Make the tables of ports anew, with exactly those of *wanted*."""
    ports = [each for each in wanted if isinstance(each, GuardedPort)]
    for group in (Group.CONFINED_PORTS, Group.SEPARATE_PORTS):
        guard.write([port.ifname for port in ports if _group(port) is group], group)


GUARDED_LINK: Handler[GuardedLink, Request] = Handler(create=_guard, delete=_unguard, observe=set_again)
GUARDED_PORT: Handler[GuardedPort, Request] = Handler(create=_guard_port, delete=_unguard_port, observe=set_again)
