"""What all operations share: networks, sandboxes and endpoints of this host, and how work gets to the kernel.

Kernel work runs on worker threads; the loop only decides.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from netcore import drivers, limits
from netcore.cluster.cluster import Cluster
from netcore.cluster.state import ClusterChange
from netcore.controller.addresses import Addresses
from netcore.controller.contract import NamePublisher, Settings
from netcore.controller.locks import KeyedLocks
from netcore.desired.objects import KernelObject
from netcore.errors import InvalidRequest, Unavailable
from netcore.kernel import host, nft
from netcore.kernel.apply import Executor
from netcore.model import (
    Endpoint,
    IPAddress,
    IPNetwork,
    NetnsPath,
    Network,
    NetworkId,
    RemoteEndpoint,
    Sandbox,
    SandboxId,
)
from netcore.plan import desired_state, gateway, modes, published_ports
from netcore.plan.references import find
from netcore.plugins.client import PluginClient
from netcore.plugins.ipam_driver import IpamDriver
from netcore.plugins.network_driver import NetworkDriver
from netcore.relay.host_ports import HostPorts
from netcore.relay.port_proxy import PortProxies
from netcore.store.records import Records

_T = TypeVar("_T")


class State:
    """See the module. *reserved*: addresses that no new pool may cover; *clock*: seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        directory: NamePublisher,
        *,
        reserved: Callable[[], Sequence[IPAddress]],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.networks: dict[NetworkId, Network] = {}
        self.sandboxes: dict[SandboxId, Sandbox] = {}
        self.endpoints: dict[SandboxId, tuple[Endpoint, ...]] = {}
        self.cluster: Cluster | None = None
        self.remotes: dict[NetworkId, dict[str, RemoteEndpoint]] = {}
        self._records = records
        self._directory = directory
        self._reserved = reserved
        self._clock = clock
        self._addresses = Addresses(clock)
        self._ports = HostPorts()
        self._proxies = PortProxies(
            self._ports, lambda address, scope: published_ports.is_prisoner(self.networks.values(), address, host.link_name(scope))
        )
        self._plugin_client = PluginClient()
        self.network_plugins = NetworkDriver(self._plugin_client)
        self.ipam_plugins = IpamDriver(self._plugin_client)
        self._next_port = secrets.randbelow(10_000) + 32_768
        self._locks = KeyedLocks()
        self._making_gateway_bridge = asyncio.Lock()
        self._names_in_use: set[str] = set()
        self._touched: set[ClusterChange] = set()
        self._esp: tuple[KernelObject, ...] | None = None
        self.restored_overlays: set[NetworkId] = set()
        self._following: asyncio.Task[None] | None = None
        self._workers = ThreadPoolExecutor(limits.KERNEL_WORKERS, thread_name_prefix="kernel")
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.facts = drivers.Facts(uplinks=(), firewall=settings.firewall, vtep=settings.vtep)
        self.executor = Executor(self.netns_path, self._later)

    async def kernel(self, body: Callable[[], _T]) -> _T:
        """Return what *body* returns, run on a worker thread. A cancelled caller still waits for the kernel's answer."""
        future = self._loop.run_in_executor(self._workers, body)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise Unavailable("a file descriptor", "the limit is reached; raise LimitNOFILE or `ulimit -n`") from error
            raise

    def _later(self, delay: float, body: Callable[[], None]) -> None:
        def arm() -> None:
            def fire() -> None:
                self._timers.discard(handle)
                self._workers.submit(body)

            handle = self._loop.call_later(delay, fire)
            self._timers.add(handle)

        try:
            self._loop.call_soon_threadsafe(arm)
        except RuntimeError:
            # The loop has ended; what was to be announced again is announced often enough.
            return

    async def close(self) -> None:
        """Stop; sandboxes and their traffic are left alone."""
        for handle in self._timers:
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        self._proxies.close()
        if self.cluster is not None:
            await self.cluster.close()
        await self._plugin_client.close()
        await asyncio.to_thread(self._workers.shutdown)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* beside everything else; it ends with the controller."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def netns_path(self, sandbox_id: SandboxId) -> NetnsPath:
        """Return the path of a sandbox's namespace."""
        return self.sandboxes[sandbox_id].netns_path

    def find_network(self, reference: str) -> Network:
        """Return the network with this id, name or unique id prefix (docker-behaviour IP-35)."""
        if reference in modes.MODES or reference.startswith(modes.SHARED_PREFIX):
            raise InvalidRequest("network", f"{reference} is no network but a mode of a whole sandbox: `berth run --network {reference}`")
        return find("network", reference, self.networks)

    def find_sandbox(self, reference: str) -> Sandbox:
        """Return the sandbox with this id, name or unique id prefix."""
        return find("sandbox", reference, self.sandboxes)

    def files_of(self, sandbox: Sandbox) -> Path:
        """Return the directory with the sandbox's hosts, resolv.conf and hostname files."""
        return Path(self.settings.run_directory, "sandboxes", sandbox.id)

    def members(self, network_id: NetworkId) -> list[tuple[Sandbox, Endpoint]]:
        """Return who is connected to a network."""
        return [
            (self.sandboxes[sandbox_id], endpoint)
            for sandbox_id, endpoints in self.endpoints.items()
            for endpoint in endpoints
            if endpoint.network_id == network_id
        ]

    def pool_usage(self, network: Network) -> dict[IPNetwork, int]:
        """Return how many addresses of each subnet of *network* are in use."""
        if network.is_overlay:
            everybodys = self.cluster.state.addresses.get(network.id, {}) if self.cluster is not None else {}
            return {pool.subnet: sum(item in pool.subnet for item in [*everybodys, *pool.reserved()]) for pool in network.pools}
        if network.ipam is None:
            return self._addresses.usage(network)
        taken = [address for _, endpoint in self.members(network.id) for address in endpoint.addresses()]
        return {pool.subnet: sum(item in pool.subnet for item in [*taken, *pool.reserved()]) for pool in network.pools}

    async def look_at_host(self) -> host.HostFacts:
        """Look at the host and remember what drivers need of it."""
        facts = await self.kernel(host.look)
        # Other hosts come in where VXLAN does, which need not be where the default route leads.
        underlay = [ifname for ifname, interface in facts.addresses if interface.ip == self.settings.vtep]
        self.facts = drivers.Facts(
            uplinks=tuple(dict.fromkeys([*facts.uplinks, *underlay, *self.settings.uplinks])),
            ipv6=facts.ipv6,
            force_forwarding=facts.force_forwarding,
            accept_ra=facts.accept_ra,
            firewall=self.settings.firewall,
            vtep=self.settings.vtep,
        )
        return facts

    def networks_here(self) -> list[Network]:
        """Return the networks that this host has objects of: an overlay only while one of its endpoints is here."""
        return [item for item in self.networks.values() if not item.is_overlay or item.id in self.remotes]

    def adopt_network(self, network: Network) -> None:
        """Take *network* into the state, with fresh pools."""
        self.networks[network.id] = network
        if network.is_overlay:
            # All hosts together hand its addresses out.
            return
        self._addresses.adopt(network)

    def _ordered(self, sandbox_id: SandboxId, endpoints: Sequence[Endpoint] | None = None) -> tuple[Endpoint, ...]:
        return gateway.ordered(self.endpoints[sandbox_id] if endpoints is None else endpoints, self.networks)

    def _desired(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[KernelObject, ...]:
        return desired_state.desired(
            sandbox,
            endpoints,
            self.networks,
            self.facts,
            hosts_path=str(self.files_of(sandbox) / "hosts"),
            loopback_ipv6=self.facts.ipv6,
        )

    def desired_everything(self) -> tuple[KernelObject, ...]:
        """Return every object that must exist on this host."""
        result: list[KernelObject] = []
        for network in self.networks_here():
            result += drivers.network_objects(network, self.facts, self.remotes.get(network.id, {}).values())
        for sandbox_id, endpoints in self.endpoints.items():
            result += self._desired(self.sandboxes[sandbox_id], endpoints)
        return tuple(result)

    async def repair_firewall(self, render: Callable[[Iterable[KernelObject]], str]) -> None:
        """Write the firewall tables anew from the state, after somebody flushed them; no operation is under way meanwhile."""
        keys = ["networks", *(f"sandbox:{item}" for item in self.sandboxes), *(f"network:{item}" for item in self.networks)]
        async with self._locks.hold(keys):
            text = render(self.desired_everything())
            await self.kernel(lambda: nft.apply_text(text))

    def restore_sandbox(self, sandbox: Sandbox, endpoints: tuple[Endpoint, ...]) -> None:
        """Take a sandbox that survived into the state, with its addresses and ports."""
        self.sandboxes[sandbox.id] = sandbox
        self.endpoints[sandbox.id] = endpoints
        for endpoint in endpoints:
            self._addresses.restore(endpoint)

    def restore_rest(self, network_id: NetworkId, address: IPAddress, until: float) -> None:
        """Let a released address go on resting after a restart."""
        self._addresses.rest(network_id, address, until)

    async def publish_restored(self, sandbox: Sandbox) -> None:
        """Publish the names of a sandbox that survived, and hold its ports again."""
        await self._directory.update(sandbox, self._ordered(sandbox.id), self.networks)

    async def hold_ports(self, sandbox: Sandbox) -> None:
        """Hold the published ports of a sandbox that survived; Conflict if a program took one meanwhile."""
        await self.kernel(lambda: self._ports.claim(sandbox.ports))
        self._proxies.settle(sandbox.id, published_ports.proxies(self.endpoints[sandbox.id]))
