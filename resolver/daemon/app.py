"""Start and stop of the daemon: the one place where its parts are made and handed to each other.

Start order: capabilities → state directory → both halves → kernel and names as they were → admin socket → ready. A failure
at any point undoes the earlier ones and ends with one line.

    HttpApi ─▶ Admin ─▶ Operations ─▶ Controller (netcore) ◀─ DriftWatch (netcore) ─▶ ResolverComparison, OtherFirewalls
                 │          └───────▶ Owners, Events
                 └────▶ Lookup ────▶ Registry, DnsService ─▶ UpstreamPool (resolver)
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import uvloop

from netcore.controller import Controller
from netcore.controller.assembly import assemble
from netcore.controller.drift.watch import DriftWatch
from netcore.controller.recovery import recall, restore
from netcore.errors import NetcoreError, Unavailable
from netcore.keeper import descriptor_store
from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel import capabilities, claim, nft, process
from netcore.kernel.notifications import Notifications
from netcore.model import Sandbox
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from resolver import limits
from resolver.daemon import clustering, gateway_resolver, logs, outside, queries_in_hand, signals, startup
from resolver.daemon.config import DaemonConfig
from resolver.daemon.controller_settings import settings_of
from resolver.daemon.doctor_checks import make_doctor
from resolver.daemon.egress_look import EgressLook
from resolver.daemon.egress_start import follow_configuration, start_egress
from resolver.daemon.events import Events
from resolver.daemon.host_resolver import HostResolver
from resolver.daemon.host_side import HostSide
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.idle import wait_until_idle
from resolver.daemon.keeper_watch import KeeperWatch
from resolver.daemon.lost_holders import LostHolders
from resolver.daemon.operations import Operations
from resolver.daemon.other_firewalls import OtherFirewalls
from resolver.daemon.owners import Owners
from resolver.daemon.path_watch import PathWatch
from resolver.daemon.registry import Registry
from resolver.daemon.reload import Reload
from resolver.daemon.resolver_drift import ResolverComparison
from resolver.daemon.resolver_half import ResolverHalf
from resolver.daemon.restoration import Restoration
from resolver.daemon.runs import Runs
from resolver.daemon.static_names import StaticNames, load_static_names
from resolver.daemon.update_start import take_updates
from resolver.daemon.works import make_works
from resolver.daemon.writable_again import WritableAgain
from resolver.engine.cache import Cache, CacheSettings
from resolver.service import DnsService
from resolver.transport.in_hand import InHand, Unanswered
from resolver.transport.poller import Poller
from resolver.transport.upstream import OpenSocket, UpstreamPool
from resolver.wire import name as names

if TYPE_CHECKING:
    from resolver.daemon.admin_half import AdminHalf

log = logging.getLogger(__name__)
_T = TypeVar("_T")


def run(load: Callable[[], DaemonConfig], *, exit_when_idle: bool, start_due: Callable[[], None]) -> None:
    """Run the daemon until it is told to stop, or is idle; raises what kept it from starting.

    *load*: reads the configuration, now and when it is to be read again. *start_due*: has what restart policies start now started.
    """
    uvloop.run(_main(load, exit_when_idle=exit_when_idle, start_due=start_due))


async def _main(load: Callable[[], DaemonConfig], *, exit_when_idle: bool, start_due: Callable[[], None]) -> None:
    config = load()
    logs.configure(config.log_level)
    # First the limit: the right to raise it is given up.
    startup.raise_descriptor_limit()
    startup.check_capabilities()
    capabilities.give_up_the_rest()
    startup.set_umask()
    startup.shorten_thread_switches()
    stop, read_again, report = asyncio.Event(), asyncio.Event(), asyncio.Event()
    signals.handle(stop=stop.set, reload=read_again.set, report=report.set)
    async with AsyncExitStack() as stack:
        daemon = await _start(config, stack, stop, exits_when_idle=exit_when_idle, start_due=start_due)
        reload = Reload(config, load, daemon.configure)
        period = startup.watchdog_period()
        _in_background(stack, _at_each(read_again, reload.run), _at_each(report, daemon.log_status))
        if period is not None:
            _in_background(stack, startup.feed_watchdog(period))
        startup.collect_garbage_seldom()
        counts = daemon.operations.counts()
        log.info("daemon started run_dir=%s networks=%d sandboxes=%d", config.run_dir, counts.networks, counts.sandboxes)
        descriptor_store.notify("READY=1")
        if exit_when_idle:
            await wait_until_idle(stop, daemon.is_busy)
        else:
            await stop.wait()
        # From here on whoever asks for a change is sent to the next daemon: nothing of what is taken down now is used again.
        is_done = await daemon.admin.http_api.take_no_more_changes(limits.LAST_CHANGES)
        if exit_when_idle and is_done and not daemon.is_needed():
            await daemon.leave_nothing_behind()
        if not daemon.has_anything():
            await daemon.keeper.end()
        descriptor_store.notify("STOPPING=1")
        startup.end_within(limits.STOP_WITHIN)
        startup.collect_garbage_no_more()
        log.info("daemon stops")


@dataclass(frozen=True, slots=True)
class _Watches:
    """The parts that keep what exists as sandboxes need it, whatever other programs do."""

    others: OtherFirewalls
    drift: DriftWatch


@dataclass(frozen=True, slots=True)
class _RunningDaemon:
    """What the main routine needs of a daemon that runs."""

    operations: Operations
    owners: Owners
    admin: AdminHalf
    controller: Controller
    watches: _Watches
    registry: Registry
    keeper: KeeperWatch
    lost: LostHolders

    async def configure(self, config: DaemonConfig) -> None:
        """Follow another configuration, in what can change while the daemon runs."""
        logs.configure(config.log_level)
        self.admin.handlers.set_proxies(config.proxies)
        await self.controller.workers.run(lambda: self.controller.parts.files.spares.keep(config.spare))
        await follow_configuration(config, self.controller, self.registry)
        await self.registry.configure(config)

    async def log_status(self) -> None:
        """Write to the log what `berth status` shows."""
        log.info("status %s", msgspec.json.encode(await self.admin.health.status()).decode())

    def has_anything(self) -> bool:
        """Return whether there is a network or a sandbox that a later daemon goes on with."""
        counts = self.operations.counts()
        return counts.networks > 0 or counts.sandboxes > 0

    def is_busy(self) -> bool:
        """Return whether the daemon is needed, or a request is being answered."""
        return self.is_needed() or self.admin.http_api.requests_in_flight > 0

    def is_needed(self) -> bool:
        """Return whether a sandbox, an owner or a network that somebody asked for exists, or a sandbox is about to be started again."""
        is_used = self.operations.counts().sandboxes > 0 or self.operations.has_networks_of_users()
        return is_used or self.owners.is_busy() or self.lost.is_busy()

    async def leave_nothing_behind(self) -> None:
        """Remove the networks that nobody asked for, and with the last network all rules in firewalls."""
        try:
            await self.operations.remove_automatic_networks()
        except NetcoreError as error:
            # It may be that nothing can be recorded now; the next start has it again.
            log.error("a network that nobody is on is not removed reason=%s", error)
        if self.operations.counts().networks == 0:
            await self.watches.others.withdraw()
            await self.controller.remove_firewall()


async def _start(
    config: DaemonConfig, stack: AsyncExitStack, stop: asyncio.Event, *, exits_when_idle: bool, start_due: Callable[[], None]
) -> _RunningDaemon:
    startup.make_run_directory(config.run_dir)
    boot = process.boot_id()
    store = await open_store(config.state_dir, config.run_dir, startup.owner(config.run_dir))
    stack.push_async_callback(store.close)
    records = Records(store, boot)
    stack.push_async_callback(records.writes.close)
    settings = await settings_of(config)
    if settings.firewall:
        _claim_namespace(stack)
    kept = await _open_kept(config, stack)
    queries = await asyncio.to_thread(queries_in_hand.take_over, kept)

    edge = outside.edge_at(settings.edge)
    sockets = outside.Sockets(edge, lambda: controller)
    static_names = await load_static_names(store)
    resolver = _make_resolver(
        config, sockets.open, sockets.subscribe, lambda sandbox: controller.files_of(sandbox.id), kept, static_names, queries.here, stack
    )
    registry = resolver.registry
    controller = assemble(
        settings, records, registry, kept=kept, reserved=resolver.host.addresses, clock=_wall_clock, edge=edge, spare_parts=registry.spares
    )
    _connect(resolver, controller)
    stack.push_async_callback(controller.close)
    stack.push_async_callback(registry.resolvers.stop)
    take_updates(config, static_names, resolver, controller.state.networks.values, stack)
    host_side = HostSide(config, registry, controller.workers.run)
    stack.push_async_callback(host_side.close)
    events = Events(_wall_clock)
    watches = _make_watches(controller, registry, events, stack)
    runs = Runs(store, Path(config.state_dir, "sandboxes"), controller.workers.run, _wall_clock, keeps_stopped=exits_when_idle)
    await runs.load()
    lost = LostHolders(runs, start_due, _wall_clock)
    stack.callback(lost.close)
    works = make_works(
        config, controller, store, records, events, runs, lost, static_names,
        check_firewalls=watches.drift.check_others, firewall_warnings=watches.others.warnings,
    )  # fmt: skip
    await works.lasting.load()
    if settings.vtep is not None:
        controller.overlays.join(await clustering.make(config, settings.vtep, _wall_clock))
    egress_log, egress_records, look = start_egress(config, controller, registry, resolver.service, events, stack, _wall_clock, kept)
    restoration = Restoration(controller, registry, records)
    importing = await _restore(controller, resolver, host_side.resolver, records, events, kept, queries.left, restoration, look)
    restoration.start()
    host_side.block.start()
    stack.push_async_callback(restoration.close)
    keeper = await _watch_keeper(kept, stack)
    doctor, state_warnings = await make_doctor(config, controller, store, records, events, restoration, watches.drift)
    writable = WritableAgain(config.state_dir, controller, works.operations, restoration, events)
    stack.callback(writable.close)
    writable.follow(store)
    watches.drift.start()
    await watches.drift.check_others()
    resolver.host.follow(registry.host_changed)
    stack.callback(resolver.host.close)
    await works.go_on(stack)
    controller.parts.files.spares.keep(config.spare)
    half = await importing
    admin = await half.serve(
        config, resolver=resolver, controller=controller, operations=works.operations, lifecycle=works.lifecycle, runs=works.runs,
        automatic_networks=works.automatic_networks, owners=works.owners, static_names=static_names, events=events, doctor=doctor,
        host_side=host_side, state_warnings=lambda: (*state_warnings, *works.followers.warnings()),
        unwritable=lambda: store.unwritable, drift=watches.drift,
        firewall_warnings=watches.others.warnings, exits_when_idle=exits_when_idle,
        egress_log=egress_log, egress_records=egress_records, stop=stop.set, stack=stack,
    )  # fmt: skip
    return _RunningDaemon(works.operations, works.owners, admin, controller, watches, registry, keeper, lost)


async def _open_kept(config: DaemonConfig, stack: AsyncExitStack) -> KeptSockets:
    """Open what outlives the daemon: only the one that has the state may have its sockets."""
    kept = KeptSockets(config.run_dir, config.keep_sockets)
    await asyncio.to_thread(kept.open)
    stack.callback(kept.close)
    return kept


async def _watch_keeper(kept: KeptSockets, stack: AsyncExitStack) -> KeeperWatch:
    keeper = KeeperWatch(kept)
    stack.callback(keeper.close)
    await keeper.start()
    return keeper


def _claim_namespace(stack: AsyncExitStack) -> None:
    """Keep other daemons out of this namespace until *stack* closes. Without rules of ours there is nothing that they could empty."""
    try:
        nft.generation()
    except Unavailable as error:
        if error.capability != "nftables":
            raise
        raise Unavailable(error.capability, f'{error.reason}; or set firewall = "none" and add the rules yourself') from error
    claimed = claim.claim()
    if claimed is not None:
        stack.callback(claimed.close)


def _make_resolver(
    config: DaemonConfig,
    open_socket: OpenSocket,
    subscribe: Callable[[str | None], Awaitable[Notifications]],
    sandbox_directory: Callable[[Sandbox], Path],
    kept: KeptSockets,
    static_names: StaticNames,
    queries: InHand,
    stack: AsyncExitStack,
) -> ResolverHalf:
    loop = asyncio.get_running_loop()
    host = HostResolvConf(config.resolv_conf)
    poller = Poller(loop, queries)
    stack.callback(poller.close)
    loop_domain = names.join(names.from_text("_loop"), names.from_text(config.suffix))
    paths = PathWatch(subscribe, lambda sandbox_id: service.look_at_paths(sandbox_id))
    stack.callback(paths.close)
    pool = UpstreamPool(loop, poller, open_socket, time.monotonic, loop_domain=loop_domain, tls_ca=config.tls_ca, watcher=paths)
    stack.push_async_callback(pool.close)
    cache_settings = CacheSettings(
        size=config.cache_size, least_ttl=config.cache_min_ttl, most_ttl=config.cache_max_ttl, serve_stale=config.serve_stale
    )
    service = DnsService(pool, Cache(cache_settings), time.monotonic)
    stack.push_async_callback(service.close)
    registry = Registry(config, service, poller, host, sandbox_directory, kept, static_names.of)
    static_names.on_change = lambda network, changed: gateway_resolver.show_static_names(registry.gateway_of(network), changed)
    return ResolverHalf(host, poller, pool, service, registry)


def _connect(resolver: ResolverHalf, controller: Controller) -> None:
    """Give the resolver half the threads, and the watch over sockets, of the other half."""
    resolver.registry.kernel = controller.workers.run
    resolver.registry.follow_socket = controller.parts.sockets.follow
    resolver.poller.on_error = controller.parts.sockets.note


def _make_watches(controller: Controller, registry: Registry, events: Events, stack: AsyncExitStack) -> _Watches:
    state = controller.state
    others = OtherFirewalls(
        controller.workers.run, state.networks.values, state.indexes.known.routed_links.values, enabled=controller.settings.firewall
    )
    stack.push_async_callback(others.close)
    resolvers = ResolverComparison(controller, registry)
    drift = controller.watch_drift(
        lambda action, what: events.emit("drift", action, what), resolvers.open_namespace, [resolvers], others.check
    )
    stack.push_async_callback(drift.close)
    return _Watches(others, drift)


async def _restore(
    controller: Controller,
    resolver: ResolverHalf,
    host_resolver: HostResolver,
    records: Records,
    events: Events,
    kept: KeptSockets,
    unanswered: Sequence[Unanswered],
    restoration: Restoration,
    look: EgressLook,
) -> asyncio.Future[ModuleType]:
    """Bring back the networks and sandboxes of the last run, names before all else, and join the cluster.

    Returns the module of the admin half, which is being imported meanwhile: that takes as long as all else together.
    """
    controller.set_aside.on_event = events.emit
    recalled, registry = await recall(controller, records), resolver.registry
    state, resolvers = controller.state, registry.resolvers
    everyone = [sandbox for sandbox in state.sandboxes.values() if not sandbox.ended or state.stack_users(sandbox.id)]
    restoration.publish(everyone, recalled.everything.sandboxes)
    resolvers.expect(unanswered)
    # Who is on an overlay waits for the names that other hosts publish, so as not to be told that they don't exist.
    shared = [network for network in state.networks_here() if network.is_overlay]
    waiting = {sandbox.id: sandbox for network in shared for sandbox, _ in state.members(network.id)}
    await resolvers.go_on_at_gateways(network for network in state.networks_here() if not network.is_overlay)
    of_host = await host_resolver.start()
    if of_host is not None:
        resolvers.answer_again(of_host)
    await restoration.answer_all(sandbox for sandbox in everyone if sandbox.id not in waiting)
    log.info("names are answered sandboxes=%d", len(everyone) - len(waiting))
    if controller.settings.firewall:
        look.start()
    importing = asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "resolver.daemon.admin_half")
    if controller.cluster is not None:
        controller.cluster.open()
    survivors = await restore(controller, records, recalled, _wall_clock())
    try:
        await controller.networks.remove_unused_bridges()
    except NetcoreError as error:
        log.error("a network that nobody is on is not removed reason=%s", error)
    await controller.follow_cluster(events.emit)
    if controller.cluster is not None:
        await controller.overlays.caught_up()
    await restoration.answer_all(sandbox for sandbox in waiting.values() if sandbox.id in state.sandboxes)
    await resolvers.listen_at_gateways(state.networks_here())
    await restoration.serve_all(survivors)
    await asyncio.to_thread(kept.drop_unclaimed)
    await resolvers.check_redirects()

    async def on_settled() -> None:
        await resolver.service.look_at_ways_out()
        restoration.wake()

    controller.follow_host(lambda action, name: events.emit("host", action, name), on_settled)
    return importing


async def _at_each(event: asyncio.Event, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await event.wait()
        event.clear()
        try:
            await do()
        except Exception:
            log.exception("what a signal asked for failed")


def _in_background(stack: AsyncExitStack, *work: Coroutine[Any, Any, None]) -> None:
    """Do each *work* beside everything else until *stack* closes."""
    for task in [asyncio.create_task(coroutine) for coroutine in work]:
        stack.callback(task.cancel)


def _wall_clock() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)
