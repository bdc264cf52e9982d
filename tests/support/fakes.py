"""A controller on a host made of fakes: no kernel, no root, no files. Each fake remembers what it was asked to do."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from netcore.controller import Controller
from netcore.controller.address_sources import AddressSources
from netcore.controller.collaborators import Collaborators
from netcore.controller.late_routes import LateRoutes
from netcore.controller.locks import KeyedLocks
from netcore.controller.overlays import Overlays
from netcore.controller.plugin_endpoints import PluginEndpoints
from netcore.controller.set_aside import SetAside
from netcore.controller.settings import Settings
from netcore.controller.state_writer import StateWriter
from netcore.controller.tunnel_encryption import TunnelEncryption
from netcore.controller.uplinks import Uplinks
from netcore.controller.workers import Workers
from netcore.default_route import DefaultRoute
from netcore.desired.diff import diff
from netcore.desired.objects import Announcement, Sysctl, Veth
from netcore.drivers.facts import Facts, HostConstraints
from netcore.errors import KernelError, PluginFailed, TeardownFailed
from netcore.kernel.guard import Protection
from netcore.kernel.host_changes import HostChanges
from netcore.kernel.socket_watch import SocketWatch
from netcore.model import PluginAnswer, PluginIpam, PluginOptions, Pool
from netcore.plan.drift import Repairs
from netcore.plan.plans import Lookups
from netcore.plugins.network_driver import JoinedEndpoint
from netcore.store.protocol import NO_CONDITIONS
from netcore.store.records import Records
from tests.support.memory_store import MemoryStore

ENOSPC = 28


class Failing:
    """Lets the call number *at* of those that count fail; -1: none."""

    def __init__(self) -> None:
        self.at = -1
        self.calls: list[str] = []

    def call(self, what: str) -> None:
        self.calls.append(what)
        if len(self.calls) - 1 == self.at:
            raise KernelError("test", what, ENOSPC)

    def arm(self, at: int) -> None:
        self.at = at
        self.calls.clear()


class FailingStore(MemoryStore):
    """A store whose writes may fail."""

    def __init__(self, failing: Failing) -> None:
        super().__init__()
        self.failing = failing

    async def commit(self, transaction, conditions=NO_CONDITIONS) -> int:
        self.failing.call(f"commit {sorted(transaction.writes)}")
        return await super().commit(transaction, conditions)


class NoDeferredDeletes:
    """Where objects are gone at once."""

    def finish(self) -> None:
        pass

    def take_over(self) -> None:
        pass

    def warnings(self) -> tuple[str, ...]:
        return ()


class RecordingExecutor:
    """Keeps the objects that would exist, as the kernel does. *ifnames*: links of others in every sandbox. *announced*: addresses, once for each link."""

    def __init__(self, failing: Failing) -> None:
        self.failing = failing
        self.objects: dict[tuple[Any, ...], Any] = {}
        self.ifnames: Callable[[], set[str]] = set
        self.announced: list[tuple[Any, ...]] = []
        self.deferred_deletes = NoDeferredDeletes()

    def close(self) -> None:
        pass

    def apply(self, steps) -> None:
        done = []
        try:
            for step in steps:
                self.failing.call(step.describe())
                if isinstance(step.after, Veth) and step.after.ifname in self.ifnames():
                    raise KernelError("create", f"veth {step.after.host_ifname}", errno.EEXIST)
                if isinstance(step.after, Announcement):
                    self.announced.append(step.after.addresses)
                self._do(step)
                done.append(step)
        except KernelError:
            self.take_back(done)
            raise

    def take_back(self, done) -> None:
        self.remove(diff([s.after for s in done if s.after], [s.before for s in done if s.before]), "undo")

    def remove(self, steps, target: str, *, ending: str | None = None, addresses_rest: bool = False) -> list[Any]:
        reasons = []
        for step in steps:
            try:
                self.failing.call(step.describe())
            except KernelError as error:
                reasons.append(str(error))
            else:
                self._do(step)
        if reasons:
            raise TeardownFailed(target, tuple(reasons))
        return []

    def _do(self, step) -> None:
        if step.after is None:
            # The kernel removes by itself what belongs to a link that goes.
            links = set(step.before.links())
            for key in [key for key, value in self.objects.items() if links and value.goes_with(links)]:
                del self.objects[key]
            self.objects.pop(step.before.key, None)
        elif not isinstance(step.after, Sysctl | Announcement):
            # Those two are never deleted: they go with their link, or mean nothing afterwards.
            self.objects[step.after.key] = step.after


class FakeNames:
    """The names that are published, by sandbox id."""

    def __init__(self, failing: Failing) -> None:
        self.failing = failing
        self.names: dict[str, list[str]] = {}
        self.answered_at: list[int] = []
        """After how many calls of the others queries that waited were answered."""
        self.networks: set[str] = set()
        self.remotes: dict[str, Any] = {}

    async def open(self, sandbox) -> None:
        self.failing.call(f"open {sandbox.name}")
        self.names.setdefault(sandbox.id, [])

    async def close(self, sandbox, *, goes_on=False) -> None:
        if not goes_on:
            self.names.pop(sandbox.id, None)

    async def update(self, sandbox, endpoints, networks) -> None:
        self.failing.call(f"publish {sandbox.name}")
        self.names[sandbox.id] = [networks[endpoint.network_id].name for endpoint in endpoints]

    def expect(self, sandbox, endpoints, networks) -> None: ...

    def remote(self, network, before, after) -> None:
        if before is not None:
            self.remotes.pop(before.id, None)
        if after is not None:
            self.remotes[after.id] = after

    def answer_waiting(self) -> None:
        self.answered_at.append(len(self.failing.calls))

    def rewriting(self):
        return nullcontext(())

    def host_addresses(self, addresses) -> None:
        self.addresses = tuple(addresses)

    async def network_up(self, network) -> None:
        self.failing.call(f"network up {network.name}")
        self.networks.add(network.name)

    async def network_down(self, network) -> None:
        self.networks.discard(network.name)


class FakeFiles:
    """The namespaces that are pinned and the directories that exist."""

    def __init__(self, failing: Failing) -> None:
        self.failing = failing
        self.pinned: dict[str, str | None] = {}
        self.directories: set[str] = set()
        self.routes: dict[str, tuple[DefaultRoute, ...]] = {}

    async def make(self, sandbox, directory, **pinned) -> None:
        self.failing.call(f"make files of {sandbox.name}")
        self.directories.add(str(directory))
        await self.pin(sandbox, **pinned)

    async def sysctls(self, netns_path, paths):
        return dict.fromkeys(paths, "0")

    async def default_routes(self, netns_path):
        return self.routes.get(netns_path, ())

    async def pin(self, sandbox, *, adopted, shared, taken) -> None:
        self.failing.call(f"pin {sandbox.netns_path}")
        self.pinned[sandbox.netns_path] = adopted or shared

    async def unpin(self, sandbox) -> None:
        self.pinned.pop(sandbox.netns_path, None)

    async def unpin_and_remove(self, sandbox, directory) -> None:
        await self.unpin(sandbox)
        await self.remove(sandbox, directory)

    async def rename(self, before, after, directory) -> None:
        self.failing.call(f"name {after.name}")
        self.pinned[after.netns_path] = self.pinned[before.netns_path]

    async def forget_name(self, before, after, directory) -> None:
        await self.unpin(before)

    async def remove(self, sandbox, directory) -> None:
        self.directories.discard(str(directory))


class FakeHost:
    """A host with one uplink, eth0, in 192.0.2.0/24. *ifnames*: links that a namespace has already."""

    def __init__(self, failing: Failing, settings: Settings) -> None:
        self.failing = failing
        self.settings = settings
        self.ifnames: set[str] = set()
        self.changes = HostChanges()

    async def refresh(self, *, anew: bool = False) -> None: ...

    def expecting(self, network):
        return nullcontext()

    async def constraints(self) -> HostConstraints:
        self.failing.call("look at the host")
        return HostConstraints(
            pools4=self.settings.pools4,
            pools6=self.settings.pools6,
            reserved=[ip_network("192.0.2.0/24")],
            egress_mtu=1500,
            links={},
            ipv6=True,
            now=1000.0,
        )

    async def check_link_kinds(self, network) -> None: ...

    async def lookups(self, path, before, networks) -> Lookups:
        used = {"lo", *(endpoint.ifname for endpoint in (before.endpoints if before is not None else ()))}
        return Lookups(used_ifnames=frozenset(used | (self.ifnames if path is not None else set())))


class FakeClaim:
    has_tried = True

    def __init__(self, ports: FakePorts) -> None:
        self.ports = ports
        self.tried: list[Any] = []

    def try_hold(self, bindings, protocol, port):
        busy = self.ports.probe(bindings, protocol, port)
        if busy is None:
            fresh = [(family, protocol, address, port) for family, address in bindings]
            self.ports.held.update(fresh)
            self.tried += fresh
        return busy

    def keep(self, mappings) -> None:
        needed = {_port(mapping) for mapping in mappings}
        self.ports.held -= {port for port in self.tried if port not in needed}
        self.tried.clear()


def _port(mapping):
    return mapping.family, mapping.protocol, mapping.host_address, mapping.host_port


class FakePorts:
    """*busy*: ports that programs of the host have; *held*: those that we hold."""

    def __init__(self) -> None:
        self.busy: set[int] = set()
        self.held: set[Any] = set()

    def begin(self) -> FakeClaim:
        return FakeClaim(self)

    def probe(self, bindings, protocol, port):
        return next((binding for binding in bindings if port in self.busy), None)

    def release(self, mappings) -> None:
        self.held -= {_port(mapping) for mapping in mappings}


class FakeRelays:
    def __init__(self) -> None:
        self.wanted: dict[str, Any] = {}

    def settle(self, sandbox_id, wanted) -> None:
        self.wanted[sandbox_id] = dict(wanted)
        if not wanted:
            del self.wanted[sandbox_id]

    def leave(self) -> None: ...


class FakePlugin:
    """A network and IPAM plugin in one. *calls*: how often each method was called; *answer*: what Join says."""

    def __init__(self, failing: Failing) -> None:
        self.failing = failing
        self.calls: Counter[str] = Counter()
        self.answer = PluginAnswer(link="plug0", wants_gateway=False)
        self.outside: set[str] = set()
        self.addresses: set[Any] = set()
        self.pools: set[Any] = set()

    def _call(self, method: str) -> None:
        self.calls[method] += 1
        try:
            self.failing.call(f"plugin {method}")
        except KernelError as error:
            raise PluginFailed("weave", method, str(error)) from error

    async def capabilities(self, plugin, options, scope=None):
        if scope is not None:
            return PluginIpam(plugin=plugin, space="local")
        return PluginOptions(plugin=plugin)

    async def create_network(self, plugin, network) -> None:
        self._call("create_network")

    async def delete_network(self, plugin, network) -> None:
        self.calls["delete_network"] += 1

    async def create_and_join(self, plugin, sandbox, endpoint, options):
        self._call("make")
        return JoinedEndpoint(endpoint=replace(endpoint, answer=self.answer), ifname=None, ifname_prefix="eth")

    async def leave(self, plugin, endpoint) -> None:
        self.calls["leave"] += 1

    async def delete_endpoint(self, plugin, endpoint) -> None:
        self.calls["delete"] += 1

    async def program_external_connectivity(self, plugin, endpoint, sandbox) -> None:
        self._call("open_outside")
        self.outside.add(endpoint.id)

    async def revoke_external_connectivity(self, plugin, endpoint) -> None:
        self.outside.discard(endpoint.id)

    async def endpoint_information(self, plugin, endpoint):
        return {"told": plugin}

    async def request_pool(self, ipam, family, wish, *, gateway) -> Pool:
        self._call("request_pool")
        pool = wish or Pool(subnet=ip_network("10.60.0.0/24"), identity="pool")
        self.pools.add(pool.subnet)
        return pool

    async def release_pool(self, ipam, pool) -> None:
        self.calls["release_pool"] += 1
        self.pools.discard(pool.subnet)

    async def request_address(self, ipam, pool, wish, *, mac="", options=None):
        self._call("request_address")
        address = wish or next(item for item in pool.subnet.hosts() if item not in self.addresses)
        self.addresses.add(address)
        return address

    async def release_address(self, ipam, pool, address) -> None:
        self.calls["release_address"] += 1
        self.addresses.discard(address)

    async def replay(self, ipam, pools, addresses) -> None:
        self._call("replay")

    async def close(self) -> None: ...


class FakeGuard:
    """Guards nothing."""

    protection = Protection.NONE

    def write(self, links, family=None) -> None: ...

    def damaged(self) -> list[str]:
        return []

    def close(self) -> None: ...


class World:
    """All fakes together with the controller on them."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(run_directory="/run/berth", pools6=((ip_network("fd00::/48"), 64),))
        self.failing = Failing()
        self.store = FailingStore(self.failing)
        self.records = Records(self.store, "boot")
        self.executor = RecordingExecutor(self.failing)
        self.names = FakeNames(self.failing)
        self.files = FakeFiles(self.failing)
        self.host = FakeHost(self.failing, self.settings)
        self.executor.ifnames = lambda: self.host.ifnames
        self.ports = FakePorts()
        self.relays = FakeRelays()
        self.plugin = FakePlugin(self.failing)
        self.workers, locks = Workers(), KeyedLocks()
        self.writer = StateWriter(self.settings.run_directory, Facts(uplinks=("eth0",)))
        state = self.writer.state
        executor: Any = self.executor
        names: Any = self.names
        host: Any = self.host
        plugin: Any = self.plugin
        ports: Any = self.ports
        self.repairs, set_aside = Repairs(), SetAside()
        self.uplinks = Uplinks(
            repairs=self.repairs,
            writer=self.writer,
            records=self.records,
            workers=self.workers,
            executor=executor,
            locks=locks,
            clock=lambda: 1000.0,
        )
        self.overlays = Overlays(
            encryption=TunnelEncryption(state, self.workers, executor, locks, None),
            writer=self.writer,
            records=self.records,
            names=names,
            workers=self.workers,
            executor=executor,
            host=host,
            locks=locks,
            uplinks=self.uplinks,
            set_aside=set_aside,
        )
        files: Any = self.files
        relays: Any = self.relays
        guard: Any = FakeGuard()
        self.addresses = AddressSources(state, self.records, plugin, lambda: self.overlays.cluster, lambda: 1000.0)
        self.controller = Controller(
            Collaborators(
                settings=self.settings,
                writer=self.writer,
                records=self.records,
                names=names,
                workers=self.workers,
                executor=executor,
                guard=guard,
                host=host,
                files=files,
                locks=locks,
                addresses=self.addresses,
                host_ports=ports,
                sockets=SocketWatch(),
                relays=relays,
                late_routes=LateRoutes(state, self.workers, executor, locks, self.writer.netns_path),
                plugin_client=plugin,
                network_plugins=plugin,
                ipam_plugins=plugin,
                plugin_endpoints=PluginEndpoints(state, plugin),
                overlays=self.overlays,
                uplinks=self.uplinks,
                repairs=self.repairs,
                set_aside=set_aside,
                clock=lambda: 1000.0,
            )
        )

    async def picture(self) -> dict[str, Any]:
        """Return everything that an operation may change, to be compared. What is to be recorded in a moment is recorded then."""
        await self.records.writes.write_late()
        state = self.controller.state
        return {
            "objects": dict(self.executor.objects),
            "store": {key: item.value for key, item in (await self.store.load()).items.items() if not key.startswith("rest/")},
            "networks": dict(state.networks),
            "switched": dict(state.switched),
            "sandboxes": dict(state.sandboxes),
            "endpoints": dict(state.endpoints),
            "names": {key: list(value) for key, value in self.names.names.items()},
            "zones": set(self.names.networks),
            "pinned": dict(self.files.pinned),
            "directories": set(self.files.directories),
            "ports": set(self.ports.held),
            "relays": dict(self.relays.wanted),
            "usage": {network.name: self.controller.pool_usage(network) for network in state.networks.values()},
            "outside": set(self.plugin.outside),
            "plugin addresses": set(self.plugin.addresses),
            "plugin pools": set(self.plugin.pools),
        }


@asynccontextmanager
async def world(settings: Settings | None = None) -> AsyncIterator[World]:
    """Yield a world of fakes, and end its threads."""
    made = World(settings)
    try:
        yield made
    finally:
        await made.controller.close()
