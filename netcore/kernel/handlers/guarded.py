"""Guarded links: elements of the guard table, which only the socket that owns it can change."""

from __future__ import annotations

from netcore.desired.objects import GuardedLink
from netcore.kernel.handlers.handler import Handler, set_again
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _guard(sessions: NetlinkSessions, guarded: GuardedLink) -> tuple[()]:
    sessions.guard.add(guarded.ifname)
    return ()


def _unguard(sessions: NetlinkSessions, guarded: GuardedLink) -> tuple[()]:
    sessions.guard.remove(guarded.ifname)
    return ()


GUARDED_LINK: Handler[GuardedLink, Request] = Handler(create=_guard, delete=_unguard, observe=set_again)
