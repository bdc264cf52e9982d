"""Guarded links and ports: elements of the guard tables, which only the socket that owns them can change."""

from __future__ import annotations

from netcore.desired.objects import GuardedLink, GuardedPort
from netcore.kernel.guard import PORTS
from netcore.kernel.handlers.handler import Handler, set_again
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _guard(sessions: NetlinkSessions, guarded: GuardedLink) -> tuple[()]:
    sessions.guard.add(guarded.ifname)
    return ()


def _unguard(sessions: NetlinkSessions, guarded: GuardedLink) -> tuple[()]:
    sessions.guard.remove(guarded.ifname)
    return ()


def _guard_port(sessions: NetlinkSessions, guarded: GuardedPort) -> tuple[()]:
    sessions.guard.add(guarded.ifname, PORTS)
    return ()


def _unguard_port(sessions: NetlinkSessions, guarded: GuardedPort) -> tuple[()]:
    sessions.guard.remove(guarded.ifname, PORTS)
    return ()


GUARDED_LINK: Handler[GuardedLink, Request] = Handler(create=_guard, delete=_unguard, observe=set_again)
GUARDED_PORT: Handler[GuardedPort, Request] = Handler(create=_guard_port, delete=_unguard_port, observe=set_again)
