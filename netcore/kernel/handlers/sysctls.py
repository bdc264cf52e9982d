"""Sysctls are written during the visit that opens their namespace's socket; those that were there before are put back."""

from __future__ import annotations

from netcore.desired.objects import Sysctl
from netcore.kernel import sysctl
from netcore.kernel.handlers.handler import Handler, nothing, set_again
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _put_back(sessions: NetlinkSessions, gone: Sysctl) -> tuple[()]:
    original = gone.original
    if original is not None:
        sessions.rtnetlink(gone.sandbox_id, lambda: sysctl.restore(gone.path, gone.value, original))
    return ()


SYSCTL: Handler[Sysctl, Request] = Handler(
    create=nothing,
    delete=_put_back,
    observe=set_again,
    visit=lambda wanted: sysctl.write(wanted.path, wanted.value, optional=wanted.optional, dispensable=wanted.dispensable),
)
