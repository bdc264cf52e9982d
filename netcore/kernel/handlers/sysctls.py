"""Sysctls are written during the visit that opens their namespace's socket, and never taken back."""

from __future__ import annotations

from netcore.desired.objects import Sysctl
from netcore.kernel import sysctl
from netcore.kernel.handlers.handler import Handler, nothing, set_again
from netcore.kernel.netlink import Request

SYSCTL: Handler[Sysctl, Request] = Handler(
    create=nothing,
    delete=nothing,
    observe=set_again,
    visit=lambda wanted: sysctl.write(wanted.path, wanted.value, optional=wanted.optional),
)
