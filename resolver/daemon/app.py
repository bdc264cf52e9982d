"""Start and stop of the daemon. Start order: configuration → capabilities → state directory → kernel and names as they
were → admin socket → ready. A failure at any point undoes the earlier ones and ends with one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import grp
import importlib.metadata
import logging
import os
import resource
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from aiohttp import web

from netcore.controller import Controller
from netcore.controller.assembly import assemble
from netcore.controller.recovery import restore, serve
from netcore.controller.settings import Settings
from netcore.errors import Conflict, NotFound, Unavailable
from netcore.kernel import netns, nft, process
from netcore.model import NetnsPath, Sandbox, SandboxId
from netcore.plan import ipam
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from resolver import limits
from resolver.daemon import clustering, convert
from resolver.daemon.admin import Admin
from resolver.daemon.config import DaemonConfig
from resolver.daemon.events import Events
from resolver.daemon.hostfile import HostResolvConf
from resolver.daemon.keeper import Keeper
from resolver.daemon.lookup import Lookup
from resolver.daemon.other_firewalls import OtherFirewalls
from resolver.daemon.registry import Registry
from resolver.engine.cache import Cache, CacheSettings
from resolver.service import DnsService
from resolver.transport.poller import Poller
from resolver.transport.upstream import UpstreamPool
from resolver.transport.upstream_socket import open_datagram
from resolver.wire import name as names
from resolver.zone.upstream import Upstream

log = logging.getLogger(__name__)

_SWITCH_INTERVAL = 0.0002
_COLLECT_AFTER = 20_000
_NET_ADMIN, _NET_RAW, _SYS_ADMIN = 12, 13, 21
_CAPABILITIES = {_NET_ADMIN: "CAP_NET_ADMIN", _NET_RAW: "CAP_NET_RAW", _SYS_ADMIN: "CAP_SYS_ADMIN"}


def version() -> str:
    """Return the version of berth that runs."""
    try:
        return importlib.metadata.version("berth-net")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def run(config: DaemonConfig, *, exit_when_idle: bool) -> None:
    """Run the daemon until it is told to stop, or is idle; raises what kept it from starting."""
    uvloop.run(_main(config, exit_when_idle=exit_when_idle))


async def _main(config: DaemonConfig, *, exit_when_idle: bool) -> None:
    check_capabilities()
    _raise_descriptor_limit()
    # Worker threads must not keep the interpreter from the loop for the usual 5 ms: names are answered there.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        daemon = await _start(config, stack)
        _calm_the_collector()
        log.info("daemon started run_dir=%s networks=%d sandboxes=%d", config.run_dir, *daemon.counts())
        notify("READY=1")
        if exit_when_idle:
            await daemon.until_idle(stop)
        else:
            await stop.wait()
        notify("STOPPING=1")
        log.info("daemon stops")


class _Daemon:
    """What runs, for the main routine."""

    def __init__(self, controller: Controller, keeper: Keeper, admin: Admin, foreign: OtherFirewalls) -> None:
        self._controller = controller
        self._keeper = keeper
        self._admin = admin
        self._foreign = foreign

    def counts(self) -> tuple[int, int]:
        return len(self._controller.state.networks), len(self._controller.state.sandboxes)

    async def until_idle(self, stop: asyncio.Event) -> None:
        """Return when nothing has an owner any more and nobody asks, or when told to stop; tidy up in the first case."""
        quiet = 0.0
        while quiet < limits.EXIT_WHEN_IDLE:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.25)
                return
            busy = self._keeper.is_busy() or self._admin.busy or self._controller.state.sandboxes
            quiet = 0.0 if busy else quiet + 0.25
        await self._controller.networks.remove_unused_bridges()
        for network in list(self._controller.state.networks.values()):
            if dict(network.labels).get("berth.auto") == "true":
                await self._controller.networks.remove(network.id)
        if not self._controller.state.networks:
            await self._foreign.withdraw()
            if self._controller.settings.firewall:
                await self._controller.workers.run(lambda: nft.apply_text(_REMOVE_TABLES))


_REMOVE_TABLES = "".join(f"table {family} berth {{\n}}\ndelete table {family} berth\n" for family in ("inet", "bridge"))


async def _start(config: DaemonConfig, stack: AsyncExitStack) -> _Daemon:
    Path(config.run_dir).mkdir(mode=0o755, parents=True, exist_ok=True)
    boot = process.boot_id()
    store = await open_store(config.state_dir)
    stack.push_async_callback(store.close)
    records = Records(store, boot)
    host = HostResolvConf(config.resolv_conf)
    settings = Settings(
        run_directory=config.run_dir,
        netns_directory=config.netns_dir,
        pools4=tuple(item for item in config.default_address_pools if item[0].version == 4) or ipam.DEFAULT_POOLS4,
        pools6=tuple(item for item in config.default_address_pools if item[0].version == 6) or (ipam.ula_pool(_host_id(config)),),
        firewall=config.firewall == "nftables",
        uplinks=config.uplinks,
        vtep=await asyncio.to_thread(clustering.find_vtep, config),
    )
    if settings.firewall and not nft.have_nftables():
        raise Unavailable("nftables", 'install libnftables1, or set firewall = "none" and add the rules yourself')
    loop = asyncio.get_running_loop()

    async def open_socket(sandbox_id: str, upstream: Upstream, kind: int) -> socket.socket:
        if not sandbox_id:
            return open_datagram(upstream, kind)
        return await controller.workers.run(lambda: _open_inside(controller.netns_path(SandboxId(sandbox_id)), upstream, kind))

    poller = Poller(loop)
    stack.callback(poller.close)
    loop_domain = names.join(names.from_text("_loop"), names.from_text(config.suffix))
    pool = UpstreamPool(loop, poller, open_socket, time.monotonic, loop_domain=loop_domain, tls_ca=config.tls_ca)
    stack.push_async_callback(pool.close)
    service = DnsService(pool, Cache(_cache_settings(config)), time.monotonic)
    stack.push_async_callback(service.close)
    registry = Registry(config, service, poller, host, lambda sandbox: controller.files_of(sandbox.id))
    controller = assemble(settings, records, registry, reserved=registry.reserved, clock=_wall_clock)
    registry.kernel = controller.workers.run
    stack.push_async_callback(controller.close)
    stack.push_async_callback(registry.shutdown)
    events = Events(_wall_clock)
    foreign = OtherFirewalls(controller)
    keeper = Keeper(controller, lambda kind, identity: _forget(admin, kind, identity))
    admin = Admin(
        version=version(),
        controller=controller,
        registry=registry,
        keeper=keeper,
        lookup=Lookup(registry, service, pool, host),
        events=events,
        foreign=foreign,
        proxies=config.proxies,
        default_bridge=convert.network_request(config.default_bridge, None, predefined=True),
    )
    if config.store:
        controller.overlays.join(await clustering.make(config, controller, _wall_clock))
    survivors = await restore(controller, records, _wall_clock())
    await controller.networks.remove_unused_bridges()
    await registry.networks_up(controller.state.networks_here())
    await asyncio.gather(*(_serve_again(controller, registry, sandbox) for sandbox in survivors))
    if controller.cluster is not None:
        controller.overlays.publish_again(survivors)
        controller.cluster.on_event = events.emit
        await controller.cluster.start()
    controller.follow_host(lambda action, name: events.emit("host", action, name))
    foreign.start()
    stack.callback(foreign.close)
    await foreign.check()
    host.follow(registry.host_changed)
    stack.callback(host.close)
    stack.push_async_callback(keeper.close)
    owners = {item.owner for item in controller.state.sandboxes.values()} | {item.owner for item in controller.state.networks.values()}
    for owner in owners:
        await keeper.watch(owner)
    await _serve(config, admin, stack)
    stack.callback(events.close)
    admin.ready = True
    return _Daemon(controller, keeper, admin, foreign)


def _cache_settings(config: DaemonConfig) -> CacheSettings:
    return CacheSettings(
        size=config.cache_size, least_ttl=config.cache_min_ttl, most_ttl=config.cache_max_ttl, serve_stale=config.serve_stale
    )


async def _serve_again(controller: Controller, registry: Registry, sandbox: Sandbox) -> None:
    """Open the resolver of a sandbox that survived, publish its names, hold its ports."""
    try:
        await registry.open(sandbox, replace=True)
        await serve(controller, sandbox)
    except (Conflict, NotFound) as error:
        log.warning("sandbox is not served completely sandbox=%s reason=%s", sandbox.name, error)


async def _forget(admin: Admin, kind: str, identity: str) -> None:
    await (admin.remove_sandbox(identity) if kind == "sandbox" else admin.remove_network(identity))


def _open_inside(netns_path: str, upstream: Upstream, kind: int) -> socket.socket:
    with netns.opened(NetnsPath(netns_path)) as descriptor:
        return netns.run_inside(descriptor, lambda: open_datagram(upstream, kind))


async def _serve(config: DaemonConfig, admin: Admin, stack: AsyncExitStack) -> None:
    path = Path(config.run_dir, "berth.sock")
    path.unlink(missing_ok=True)
    runner = web.AppRunner(admin.application(), shutdown_timeout=2.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.callback(path.unlink, missing_ok=True)
    old = os.umask(0o117)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(old)
    if config.socket_group:
        try:
            os.chown(path, -1, grp.getgrnam(config.socket_group).gr_gid)
        except (KeyError, OSError) as error:
            log.warning("admin socket keeps its group group=%s reason=%s", config.socket_group, error)


def _host_id(config: DaemonConfig) -> str:
    """Return a stable id of this host, for its ULA prefix."""
    try:
        return Path("/etc/machine-id").read_text().strip() or config.state_dir
    except OSError:
        return config.state_dir


def _wall_clock() -> float:
    return time.clock_gettime(time.CLOCK_REALTIME)


def check_capabilities() -> None:
    """Raise Unavailable that names each capability which is missing."""
    text = Path("/proc/self/status").read_text()
    effective = int(next(line for line in text.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    missing = [name for number, name in _CAPABILITIES.items() if not effective >> number & 1]
    if missing:
        raise Unavailable(", ".join(missing), "run berth as root or through sudo, or inside `unshare --user --map-root-user --net --mount`")


def _calm_the_collector() -> None:
    """Leave what is there now out of garbage collections, and collect seldom: a query makes no cycles.

    With Python's own thresholds collections take a sixth of the time under load, and stop the loop for up to 50 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def notify(state: str) -> None:
    """Tell systemd, if it started us (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(state.encode(), address)
