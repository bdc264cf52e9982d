"""Sysctls are written during the visit that opens their namespace's socket; those that were there before are put back."""

from __future__ import annotations

from netcore.desired.objects import Sysctl
from netcore.kernel import sysctl
from netcore.kernel.handlers.handler import Handler, nothing
from netcore.kernel.inventory import Inventory
from netcore.kernel.netlink import Request
from netcore.kernel.sessions import NetlinkSessions


def _put_back(sessions: NetlinkSessions, gone: Sysctl) -> tuple[()]:
    original = gone.original
    if original is not None:
        sessions.rtnetlink(gone.sandbox_id, lambda: sysctl.restore(gone.path, gone.value, original))
    return ()


def _observe(inventory: Inventory, wanted: Sysctl) -> bool:
    value = inventory.sysctl(wanted.sandbox_id, wanted.path)
    # The kernel puts tabs between several numbers.
    return value.split() == wanted.value.split() if value is not None else wanted.optional


SYSCTL: Handler[Sysctl, Request] = Handler(
    create=nothing,
    delete=_put_back,
    observe=_observe,
    visit=lambda wanted: sysctl.write(wanted.path, wanted.value, optional=wanted.optional, dispensable=wanted.dispensable),
)
