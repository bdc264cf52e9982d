"""Start of the admin API: its parts are made and handed to each other here.

A module of its own, because aiohttp takes longer to import than everything that answers names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from netcore.controller import Controller
from netcore.controller.drift.watch import DriftWatch
from resolver.daemon import admin, admin_listeners, metrics, startup
from resolver.daemon.admission import Admission
from resolver.daemon.automatic_networks import AutomaticNetworks
from resolver.daemon.config import DaemonConfig
from resolver.daemon.doctor import Doctor
from resolver.daemon.dropped import DroppedPackets
from resolver.daemon.dry_run import DryRun
from resolver.daemon.egress_log import EgressLog
from resolver.daemon.egress_operations import EgressOperations
from resolver.daemon.egress_records import EgressRecords
from resolver.daemon.events import Events
from resolver.daemon.health import Health
from resolver.daemon.host_side import HostSide
from resolver.daemon.http_api import HttpApi
from resolver.daemon.lifecycle import Lifecycle
from resolver.daemon.lookup import Lookup
from resolver.daemon.operations import Operations
from resolver.daemon.owners import Owners
from resolver.daemon.record_operations import RecordOperations
from resolver.daemon.resolver_half import ResolverHalf
from resolver.daemon.runs import Runs
from resolver.daemon.static_names import StaticNames
from resolver.daemon.way_out import WayOut


@dataclass(frozen=True, slots=True)
class AdminHalf:
    """The server, what it calls, and what the daemon says of itself."""

    http_api: HttpApi
    handlers: admin.Admin
    health: Health


async def serve(
    config: DaemonConfig,
    *,
    resolver: ResolverHalf,
    controller: Controller,
    operations: Operations,
    lifecycle: Lifecycle,
    runs: Runs,
    automatic_networks: AutomaticNetworks,
    owners: Owners,
    static_names: StaticNames,
    host_side: HostSide,
    events: Events,
    doctor: Doctor,
    state_warnings: Callable[[], tuple[str, ...]],
    unwritable: Callable[[], str | None],
    drift: DriftWatch,
    firewall_warnings: Callable[[], tuple[str, ...]],
    exits_when_idle: bool,
    egress_log: EgressLog,
    egress_records: EgressRecords,
    stop: Callable[[], None],
    stack: AsyncExitStack,
) -> AdminHalf:
    """Serve the admin API until *stack* closes. *state_warnings*: what must be said of the state. *unwritable*: see `SqliteStore`."""
    lookup = Lookup(resolver.registry, resolver.service, resolver.pool, resolver.host)
    dropped = DroppedPackets(run_blocking=controller.workers.run, state=controller.state, enabled=controller.settings.firewall)
    way_out = WayOut(config.run_dir, controller, time.monotonic)
    health = Health(
        version=startup.version(), firewall=config.firewall, exits_when_idle=exits_when_idle, operations=operations,
        registry=resolver.registry, lookup=lookup, host=resolver.host, dropped=dropped, firewall_warnings=firewall_warnings,
        host_warnings=lambda: (
            *state_warnings(), *host_side.warnings(), *controller.host_warnings(), *drift.warnings(), *way_out.warnings(),
        ),
        unwritable=unwritable, guard=lambda: controller.protection().value,
        spares=lambda: controller.parts.files.spares.ready, clock=time.monotonic,
    )  # fmt: skip
    sources = metrics.MetricSources(
        controller=controller, registry=resolver.registry, service=resolver.service, pool=resolver.pool, dropped=dropped,
        repairs=drift.repairs, refusals=egress_log.refusals, is_writable=lambda: unwritable() is None, way_out=way_out,
        clock=time.monotonic,
    )  # fmt: skip
    handlers = admin.Admin(
        operations=operations, lifecycle=lifecycle, runs=runs,
        egress=EgressOperations(controller, resolver.registry.egress, egress_log, egress_records, events, runs),
        dry_run=DryRun(controller, automatic_networks), owners=owners, lookup=lookup,
        records=RecordOperations(static_names, config.suffix), hosts_block=host_side.block, events=events, health=health, doctor=doctor,
        render_metrics=lambda: metrics.render_now(sources), proxies=config.proxies, stop=stop,
    )  # fmt: skip
    http_api = HttpApi(admin.ROUTES, handlers, resolver.poller.answer_waiting)
    await admin_listeners.serve(
        http_api.application, config, Admission(time.monotonic), stack, has_anything=bool(controller.state.networks)
    )
    # Listeners for events are ended first: the socket's connections are waited for.
    stack.callback(events.close)
    health.is_ready = True
    return AdminHalf(http_api, handlers, health)
