"""Start what works beside egress rules: the log of refusals, the look at names, the asking again of names that are open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from netcore.controller import Controller
from netcore.controller.firewall_rewrite import follow_egress
from netcore.keeper.kept_sockets import KeptSockets
from resolver.daemon.config import DaemonConfig
from resolver.daemon.egress_log import EgressLog
from resolver.daemon.egress_look import EgressLook
from resolver.daemon.egress_records import EgressRecords
from resolver.daemon.egress_refresh import EgressRefresh
from resolver.daemon.events import Events
from resolver.daemon.registry import Registry
from resolver.service import DnsService


def start_egress(
    config: DaemonConfig,
    controller: Controller,
    registry: Registry,
    service: DnsService,
    events: Events,
    stack: AsyncExitStack,
    wall_clock: Callable[[], float],
    kept: KeptSockets,
) -> tuple[EgressLog, EgressRecords, EgressLook]:
    """Start it all; *stack* ends it. *wall_clock*: seconds since 1970.

    Return where refusals are told, what was recorded, and the look, which begins when the sandboxes of the last run are known.
    """
    states = registry.egress
    stack.callback(states.close)
    egress_log = EgressLog(controller.state, states, events, wall_clock)
    stack.callback(egress_log.close)
    records = EgressRecords(Path(config.state_dir, "egress-learned"), controller.state)
    stack.callback(records.close)
    egress_log.on_learned = records.put
    if controller.settings.firewall:
        egress_log.start()
    look = EgressLook(states, egress_log, kept, Path(config.run_dir))
    stack.callback(look.close)
    refresh = EgressRefresh(states, service, registry.client_by_id)
    stack.callback(refresh.close)
    refresh.start()
    return egress_log, records, look


async def follow_configuration(config: DaemonConfig, controller: Controller, registry: Registry) -> None:
    """Have the egress rules of *config* hold, if they are others: what they don't allow any more is cut when this returns."""
    settings = replace(config.egress, nat64=config.nat64_prefixes)
    if settings == controller.state.facts.egress:
        return

    def rebuild_names() -> None:
        registry.egress.configure(settings)
        registry.rebuild_all()

    await follow_egress(controller, settings, rebuild_names)
