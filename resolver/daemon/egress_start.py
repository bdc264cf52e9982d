"""Start what tells of egress rules and keeps them up: the log of refusals, and the asking again of names that are open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from netcore.controller import Controller
from resolver.daemon.egress_log import EgressLog
from resolver.daemon.egress_refresh import EgressRefresh
from resolver.daemon.events import Events
from resolver.daemon.registry import Registry
from resolver.service import DnsService


def start_egress(
    controller: Controller,
    registry: Registry,
    service: DnsService,
    events: Events,
    stack: AsyncExitStack,
    wall_clock: Callable[[], float],
) -> EgressLog:
    """Start it all; *stack* ends it. Return where refusals are told. *wall_clock*: seconds since 1970."""
    states = registry.egress
    stack.callback(states.close)
    egress_log = EgressLog(controller.state, states, events, wall_clock)
    stack.callback(egress_log.close)
    if controller.settings.firewall:
        egress_log.start()
    refresh = EgressRefresh(states, service, registry.client_by_id)
    stack.callback(refresh.close)
    refresh.start()
    return egress_log
