"""The controller: networks, sandboxes and endpoints of this host, and the only writer of them.

Each operation: locks → validate and allocate → record the intent → diff → executor → record the result → publish names.
Names are published last and withdrawn first. Kernel work runs on worker threads; the loop only decides.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from netcore import drivers, gateway, hostsfile, limits, names
from netcore.addresses import Addresses, Taken
from netcore.contract import Directory, Outcome, Settings
from netcore.diff import diff
from netcore.drivers import stack
from netcore.errors import Conflict, InvalidRequest, NetcoreError, NotFound, TeardownFailed, Unavailable
from netcore.hostports import Claim, HostPorts
from netcore.kernel import files, host, namespace, netns, nft, process
from netcore.kernel.apply import Executor
from netcore.locks import KeyedLocks
from netcore.model import (
    Endpoint,
    EndpointRequest,
    IPAddress,
    IPNetwork,
    Network,
    NetworkRequest,
    PortMapping,
    Sandbox,
    SandboxRequest,
    Stack,
)
from netcore.objects import KernelObject
from netcore.planning import endpoint as plan_endpoint
from netcore.planning import network as plan_network
from netcore.planning import publish
from netcore.planning import sandbox as plan_sandbox
from netcore.portproxy import PortProxies
from netcore.records import Records
from netcore.references import find

_T = TypeVar("_T")


class Controller:
    """See the module. Made by `recovery.start_controller`, which brings it to the state of the store."""

    def __init__(
        self,
        settings: Settings,
        records: Records,
        directory: Directory,
        *,
        reserved: Callable[[], Sequence[IPAddress]],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.networks: dict[str, Network] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._records = records
        self._directory = directory
        self._reserved = reserved
        self._clock = clock
        self._addresses = Addresses(clock)
        self._ports = HostPorts()
        self._proxies = PortProxies(
            self._ports, lambda address, scope: publish.is_prisoner(self.networks.values(), address, host.link_name(scope))
        )
        self._next_port = secrets.randbelow(10_000) + 32_768
        self._locks = KeyedLocks()
        self._names_in_use: set[str] = set()
        self._workers = ThreadPoolExecutor(limits.KERNEL_WORKERS, thread_name_prefix="kernel")
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self.facts = drivers.Facts(uplinks=(), firewall=settings.firewall)
        self.executor = Executor(self.netns_path, self._later)

    # --- shared -------------------------------------------------------------------------------------------------

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
        self._proxies.close()
        await asyncio.to_thread(self._workers.shutdown)

    def netns_path(self, sandbox_id: str) -> str:
        """Return the path of a sandbox's namespace."""
        return self.sandboxes[sandbox_id].netns_path

    def find_network(self, reference: str) -> Network:
        """Return the network with this id, name or unique id prefix (docker-behaviour IP-35)."""
        if reference in stack.MODES or reference.startswith(stack.SHARED_PREFIX):
            raise InvalidRequest("network", f"{reference} is no network but a mode of a whole sandbox: `berth run --network {reference}`")
        return find("network", reference, self.networks)

    def find_sandbox(self, reference: str) -> Sandbox:
        """Return the sandbox with this id, name or unique id prefix."""
        return find("sandbox", reference, self.sandboxes)

    def files_of(self, sandbox: Sandbox) -> Path:
        """Return the directory with the sandbox's hosts, resolv.conf and hostname files."""
        return Path(self.settings.run_directory, "sandboxes", sandbox.id)

    def members(self, network_id: str) -> list[tuple[Sandbox, Endpoint]]:
        """Return who is connected to a network."""
        return [
            (self.sandboxes[sandbox_id], endpoint)
            for sandbox_id, endpoints in self.endpoints.items()
            for endpoint in endpoints
            if endpoint.network_id == network_id
        ]

    def pool_usage(self, network: Network) -> dict[IPNetwork, int]:
        """Return how many addresses of each subnet of *network* are in use."""
        return self._addresses.usage(network)

    async def look_at_host(self) -> host.HostFacts:
        """Look at the host and remember what drivers need of it."""
        facts = await self.kernel(host.look)
        self.facts = drivers.Facts(
            uplinks=tuple(dict.fromkeys([*facts.uplinks, *self.settings.uplinks])),
            ipv6=facts.ipv6,
            force_forwarding=facts.force_forwarding,
            accept_ra=facts.accept_ra,
            firewall=self.settings.firewall,
        )
        return facts

    # --- networks -----------------------------------------------------------------------------------------------

    async def create_network(self, request: NetworkRequest, *, dry_run: bool = False) -> tuple[Network, Outcome]:
        """Create a network; it is usable when this returns."""
        async with self._locks.hold(["networks"]):
            facts = await self.look_at_host()
            around = self._surroundings(facts)
            network = plan_network.plan_network(request, self.networks.values(), around, secrets.token_hex(32))
            kinds = drivers.link_kinds(network)
            if kinds:
                await self.kernel(lambda: host.check_link_kinds(kinds))
            steps = diff((), drivers.only_of(network, self.networks.values(), self.facts))
            if dry_run:
                return network, Outcome(steps)
            await self._records.put_network(network, pending=True)
            try:
                await self.kernel(lambda: self.executor.apply(steps))
            except BaseException:
                await self._records.drop_network(network)
                raise
            await self._records.put_network(network)
            self.adopt_network(network)
            await self._directory.network_up(network)
            return network, Outcome(steps)

    def adopt_network(self, network: Network) -> None:
        """Take *network* into the state, with fresh pools."""
        self.networks[network.id] = network
        self._addresses.adopt(network)

    def _surroundings(self, facts: host.HostFacts) -> plan_network.Surroundings:
        own = {item.key[-1] for network in self.networks.values() for item in drivers.network_objects(network, self.facts)}
        by_index = {link.index: link for link in facts.links}
        servers = [address for address in self._reserved() if not address.is_loopback]
        reserved = [item for item in facts.on_link if item.prefixlen] + [ip_network(address) for address in servers]
        return plan_network.Surroundings(
            pools4=self.settings.pools4,
            pools6=self.settings.pools6,
            reserved=reserved,
            egress_mtu=facts.egress_mtu,
            links={
                link.name: plan_network.HostLink(
                    kind=link.kind, mtu=link.mtu, mac=link.mac, master=by_index[link.master].kind if link.master in by_index else ""
                )
                for link in facts.links
                if link.name not in own
            },
            ipv6=facts.ipv6,
            now=self._clock(),
        )

    async def remove_network(self, reference: str, *, dry_run: bool = False) -> Outcome:
        """Remove a network that has no endpoints."""
        if reference in plan_network.PREDEFINED:
            raise Conflict("network", reference, "is a pre-defined network and cannot be removed")
        network = self.find_network(reference)
        async with self._locks.hold(["networks", f"network:{network.id}"]):
            network = self.find_network(network.id)
            members = self.members(network.id)
            if members:
                listed = ", ".join(f'name:"{sandbox.name}" id:"{sandbox.short_id}"' for sandbox, _ in members)
                raise Conflict("network", network.name, f"has active endpoints ({listed}); disconnect them first")
            steps = diff(drivers.only_of(network, self.networks.values(), self.facts), ())
            if dry_run:
                return Outcome(steps)
            await self._directory.network_down(network)
            await self._records.put_network(network, pending=True)
            del self.networks[network.id]
            self._addresses.drop(network)
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"network {network.name}"))
            finally:
                await self._records.drop_network(network)
            return Outcome(steps)

    # --- sandboxes ----------------------------------------------------------------------------------------------

    async def create_sandbox(self, request: SandboxRequest, *, dry_run: bool = False) -> tuple[Sandbox, Outcome]:
        """Create or adopt a sandbox and connect it to its networks; its names answer when this returns."""
        sandbox = self._plan_sandbox(request)
        warnings = stack.check(request, sandbox.stack)
        if sandbox.stack is not Stack.OWN:
            request = replace(request, networks=())
        targets = [self.find_network(item.network) for item in request.networks]
        if len({network.id for network in targets}) != len(targets):
            raise InvalidRequest("network", "each network can be given once")
        keys = [f"sandbox:{sandbox.id}", *(f"network:{network.id}" for network in targets)]
        if sandbox.shared_with:
            keys.append(f"sandbox:{sandbox.shared_with}")
        self._names_in_use.add(sandbox.name)
        try:
            async with self._locks.hold(keys):
                made, outcome = await self._create_sandbox(sandbox, request, dry_run=dry_run)
                return made, Outcome(outcome.steps, (*warnings, *outcome.warnings))
        finally:
            self._names_in_use.discard(sandbox.name)

    async def _create_sandbox(self, sandbox: Sandbox, request: SandboxRequest, *, dry_run: bool) -> tuple[Sandbox, Outcome]:
        if sandbox.shared_with and self.find_sandbox(sandbox.shared_with).ended:
            raise Conflict("sandbox", request.name, "cannot join network namespace of a sandbox that has ended")
        if not dry_run:
            await self._records.put_sandbox(sandbox, pending=True)
            try:
                await self.kernel(lambda: self._make_namespace(sandbox, request.netns))
            except BaseException:
                # What is pinned at its path, if anything, is not ours.
                await self._drop_sandbox(sandbox, pinned=False)
                raise
            self.sandboxes[sandbox.id] = sandbox
            self.endpoints[sandbox.id] = ()
            try:
                await self._directory.open(sandbox)
            except BaseException:
                await self._drop_sandbox(sandbox)
                raise
        else:
            self.sandboxes[sandbox.id], self.endpoints[sandbox.id] = sandbox, ()
        try:
            outcome = await self._connect(sandbox, request.networks, dry_run=dry_run, fresh=True)
        except BaseException:
            if not dry_run:
                await self._drop_sandbox(sandbox)
            raise
        finally:
            if dry_run:
                del self.sandboxes[sandbox.id], self.endpoints[sandbox.id]
        return (sandbox if dry_run else self.sandboxes[sandbox.id]), outcome

    def _plan_sandbox(self, request: SandboxRequest) -> Sandbox:
        if request.name in self._names_in_use or any(item.name == request.name for item in self.sandboxes.values()):
            raise Conflict("sandbox", request.name, "exists already; choose another name or remove it with `berth rm`")
        for item in request.networks:
            for target, _ in item.links:
                self.find_sandbox(target)
        kind, reference = stack.asked(request)
        return plan_sandbox.plan_sandbox(
            request,
            kind,
            self._owner_of_stack(reference) if kind is Stack.SHARED else None,
            netns_directory=self.settings.netns_directory,
            taken={item.netns_path for item in self.sandboxes.values()},
            host_name=host.name(),
            boot_id=process.boot_id(),
            now=self._clock(),
        )

    def _owner_of_stack(self, reference: str) -> Sandbox:
        """Return the sandbox whose stack the one called *reference* has: itself, or the one that it shares with."""
        found = self.find_sandbox(reference)
        return self.sandboxes[found.shared_with] if found.shared_with else found

    def _make_namespace(self, sandbox: Sandbox, adopted: str | None) -> None:
        directory = self.files_of(sandbox)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if sandbox.stack is Stack.SHARED:
            namespace.share(self.sandboxes[sandbox.shared_with].netns_path, sandbox.netns_path)
            return
        inherited = files.read_if_there("/etc/hosts") if sandbox.stack is Stack.HOST and not sandbox.extra_hosts else ""
        files.write_in_place(str(directory / "hosts"), inherited)
        files.write_in_place(str(directory / "hostname"), hostsfile.render_hostname(sandbox.hostname))
        if sandbox.stack is Stack.HOST:
            namespace.share(netns.OWN, sandbox.netns_path)
            return
        if adopted is None:
            namespace.make(sandbox.netns_path)
            return
        taken = {other.name: other.netns_path for other in self.sandboxes.values()}
        namespace.adopt(adopted, sandbox.netns_path, taken)

    async def remove_sandbox(self, reference: str, *, dry_run: bool = False) -> Outcome:
        """Remove a sandbox with everything it has; parts that fail are reported after all were tried."""
        sandbox = self.find_sandbox(reference)
        keys = [f"sandbox:{sandbox.id}", *(f"network:{item.network_id}" for item in self.endpoints[sandbox.id])]
        async with self._locks.hold(keys):
            sandbox = self.find_sandbox(sandbox.id)
            users = self.users_of(sandbox)
            if users:
                return await self._end_but_for_its_stack(sandbox, users, dry_run=dry_run)
            endpoints = self.endpoints[sandbox.id]
            steps = diff(self._desired(sandbox, endpoints), ())
            if dry_run:
                return Outcome(steps)
            self._directory.update(sandbox, (), self.networks)
            await self._records.put_sandbox(sandbox, pending=True)
            reasons: list[str] = []
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"sandbox {sandbox.name}"))
            except TeardownFailed as error:
                reasons += error.reasons
            self._proxies.settle(sandbox.id, {})
            await self.kernel(lambda: self._ports.release(sandbox.ports))
            await self._release(endpoints)
            await self._drop_sandbox(sandbox)
        target = self.sandboxes.get(sandbox.shared_with)
        if target is not None and target.ended and not self.users_of(target):
            await self.remove_sandbox(target.id)
        if reasons:
            raise TeardownFailed(f"sandbox {sandbox.name}", tuple(reasons))
        return Outcome(steps)

    def users_of(self, sandbox: Sandbox) -> list[str]:
        """Return the names of the sandboxes that share the stack of *sandbox*."""
        return [item.name for item in self.sandboxes.values() if item.shared_with == sandbox.id]

    async def _end_but_for_its_stack(self, sandbox: Sandbox, users: list[str], *, dry_run: bool) -> Outcome:
        """Keep a sandbox whose stack others share until the last of them ends; its names stay theirs."""
        if not dry_run and not sandbox.ended:
            ended = replace(sandbox, ended=True, owner=None)
            await self._records.put_sandbox(ended)
            self.sandboxes[ended.id] = ended
        return Outcome((), (f"the network stack of {sandbox.name} stays until {', '.join(users)} ends",))

    async def _drop_sandbox(self, sandbox: Sandbox, *, pinned: bool = True) -> None:
        await self._directory.close(sandbox)

        def remove() -> None:
            if pinned:
                netns.unpin(sandbox.netns_path)
            directory = self.files_of(sandbox)
            for path in directory.glob("*"):
                path.unlink(missing_ok=True)
            if directory.is_dir():
                directory.rmdir()

        await self.kernel(remove)
        self.sandboxes.pop(sandbox.id, None)
        self.endpoints.pop(sandbox.id, None)
        await self._records.drop_sandbox(sandbox)

    async def forget(self, sandbox: Sandbox) -> None:
        """Remove the namespace, files and record of a sandbox that has no endpoints any more."""
        await self._drop_sandbox(sandbox)

    async def change_sandbox(self, reference: str, change: Callable[[Sandbox], Sandbox]) -> Sandbox:
        """Replace facts about a sandbox that touch no kernel object: its name (DNS-47), its owner."""
        sandbox = self.find_sandbox(reference)
        async with self._locks.hold([f"sandbox:{sandbox.id}"]):
            before = self.find_sandbox(sandbox.id)
            after = change(before)
            if after.name != before.name:
                names.check_object_name("sandbox", after.name)
                if after.name in self._names_in_use or any(item.name == after.name for item in self.sandboxes.values()):
                    raise Conflict("sandbox", after.name, "exists already; choose another name")
            await self._records.put_sandbox(after)
            self.sandboxes[after.id] = after
            self._directory.update(after, self._ordered(after.id), self.networks)
            return after

    # --- connect, disconnect ------------------------------------------------------------------------------------

    async def connect(self, reference: str, request: EndpointRequest, *, dry_run: bool = False) -> Outcome:
        """Connect a sandbox to one more network."""
        sandbox, network = self.find_sandbox(reference), self.find_network(request.network)
        stack.check_connectable(sandbox)
        for target, _ in request.links:
            self.find_sandbox(target)
        async with self._locks.hold([f"sandbox:{sandbox.id}", f"network:{network.id}"]):
            return await self._connect(self.find_sandbox(sandbox.id), (request,), dry_run=dry_run)

    async def _connect(self, sandbox: Sandbox, requests: Sequence[EndpointRequest], *, dry_run: bool, fresh: bool = False) -> Outcome:
        before = self.endpoints[sandbox.id]
        old = () if fresh else self._desired(sandbox, before)
        used = await self._used_ifnames(sandbox, before)
        taken: list[Taken] = []
        claim = self._ports.begin()
        try:
            made: list[Endpoint] = []
            for request in requests:
                endpoint = await self._plan_endpoint(sandbox, request, [*before, *made], used, taken)
                used.add(endpoint.ifname)
                made.append(endpoint)
            after, mappings, warnings = await self._with_ports(sandbox, (*before, *made), claim)
            updated = replace(sandbox, ports=mappings)
            steps = diff(old, self._desired(updated, after))
            if dry_run:
                self._addresses.give_back(taken)
                claim.keep(())
                return Outcome(steps, warnings)
            await self._records.put_endpoints(sandbox, after, pending=True)
            await self.kernel(lambda: self.executor.apply(steps))
        except BaseException:
            self._addresses.give_back(taken)
            await self.kernel(lambda: claim.keep(()))
            if not dry_run:
                await self._records.put_endpoints(sandbox, before)
            raise
        claim.keep(mappings)
        await self._commit(updated, after)
        return Outcome(steps, warnings)

    async def _commit(self, sandbox: Sandbox, endpoints: tuple[Endpoint, ...]) -> None:
        await self._records.put_all(sandbox, endpoints)
        self.sandboxes[sandbox.id] = sandbox
        self.endpoints[sandbox.id] = endpoints
        self._proxies.settle(sandbox.id, publish.proxies(endpoints))
        self._directory.update(sandbox, self._ordered(sandbox.id), self.networks)

    async def _plan_endpoint(
        self, sandbox: Sandbox, request: EndpointRequest, present: Sequence[Endpoint], used: set[str], taken: list[Taken]
    ) -> Endpoint:
        network = self.find_network(request.network)
        if any(item.network_id == network.id for item in present):
            raise Conflict("sandbox", sandbox.name, f"is already attached to network {network.name}")
        request = plan_endpoint.check_endpoint_request(request, network)
        plan_endpoint.check_room(request, network, [endpoint for _, endpoint in self.members(network.id)])
        mac = await self._mac_of_parent(network)
        addresses: dict[int, IPAddress] = {}
        wishes: dict[int, IPAddress | None] = {4: request.ipv4, 6: request.ipv6}
        for family in plan_endpoint.families_for(request, network):
            addresses[family] = self._addresses.take(network, family, wishes[family])
            taken.append((network.id, addresses[family]))
        return plan_endpoint.plan_endpoint(request, network, sandbox, addresses=addresses, parent_mac=mac, used_ifnames=used)

    async def _mac_of_parent(self, network: Network) -> str:
        parent = plan_endpoint.parent_of(network)
        link = await self.kernel(lambda: host.find_link(parent)) if parent else None
        if parent and link is None:
            raise NotFound("link", f"{parent}, the parent of network {network.name}")
        return link.mac if link is not None else ""

    async def _release(self, endpoints: Iterable[Endpoint]) -> None:
        until = self._clock() + limits.ADDRESS_QUARANTINE
        for network_id, address in self._addresses.release(endpoints):
            await self._records.put_rest(network_id, address, until)

    async def _used_ifnames(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> set[str]:
        own = {item.ifname for item in endpoints}
        if not netns.is_pinned(sandbox.netns_path):
            return own
        return own | await self.kernel(lambda: namespace.link_names(sandbox.netns_path))

    async def _with_ports(
        self, sandbox: Sandbox, endpoints: tuple[Endpoint, ...], claim: Claim
    ) -> tuple[tuple[Endpoint, ...], tuple[PortMapping, ...], tuple[str, ...]]:
        """Return *endpoints* with ports on their gateway endpoints, the sandbox's mappings, and warnings."""
        if not sandbox.port_requests and not sandbox.publish_all:
            return endpoints, (), ()
        taken = [(other.name, item) for other in self.sandboxes.values() if other.id != sandbox.id for item in other.ports]
        start = self._next_port
        mappings = await self.kernel(
            lambda: publish.plan_ports(
                sandbox,
                endpoints,
                self.networks,
                taken=taken,
                find_busy=claim.try_hold,
                ephemeral=host.ephemeral_range(),
                start=start,
                host_ipv6=self.facts.ipv6,
            )
        )
        self._next_port = max((item.host_port for item in mappings), default=start) + 1
        warnings = () if mappings else (publish.IGNORED,)
        return publish.assign_ports(endpoints, self.networks, mappings), mappings, warnings

    async def disconnect(self, reference: str, network_reference: str, *, dry_run: bool = False) -> Outcome:
        """Take a sandbox off a network; the default route moves before the link goes."""
        sandbox, network = self.find_sandbox(reference), self.find_network(network_reference)
        async with self._locks.hold([f"sandbox:{sandbox.id}", f"network:{network.id}"]):
            sandbox = self.find_sandbox(sandbox.id)
            before = self.endpoints[sandbox.id]
            left = tuple(item for item in before if item.network_id != network.id)
            if left == before:
                raise NotFound("endpoint", f"sandbox {sandbox.name} is not connected to network {network.name}")
            after = publish.assign_ports(left, self.networks, sandbox.ports)
            steps = diff(self._desired(sandbox, before), self._desired(sandbox, after))
            if dry_run:
                return Outcome(steps)
            kept = self._ordered(sandbox.id, left)
            self._directory.update(sandbox, kept, self.networks)
            await self._records.put_endpoints(sandbox, after, pending=True)
            failed: NetcoreError | None = None
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"endpoint of {sandbox.name} on {network.name}"))
            except TeardownFailed as error:
                failed = error
            await self._release(item for item in before if item.network_id == network.id)
            await self._commit(sandbox, after)
            if failed is not None:
                raise failed
            return Outcome(steps)

    # --- what must exist ----------------------------------------------------------------------------------------

    def _ordered(self, sandbox_id: str, endpoints: Sequence[Endpoint] | None = None) -> tuple[Endpoint, ...]:
        return gateway.ordered(self.endpoints[sandbox_id] if endpoints is None else endpoints, self.networks)

    def _desired(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[KernelObject, ...]:
        return drivers.desired(
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
        for network in self.networks.values():
            result += drivers.network_objects(network, self.facts)
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

    def restore_rest(self, network_id: str, address: IPAddress, until: float) -> None:
        """Let a released address go on resting after a restart."""
        self._addresses.rest(network_id, address, until)

    def publish_restored(self, sandbox: Sandbox) -> None:
        """Publish the names of a sandbox that survived, and hold its ports again."""
        self._directory.update(sandbox, self._ordered(sandbox.id), self.networks)

    async def hold_ports(self, sandbox: Sandbox) -> None:
        """Hold the published ports of a sandbox that survived; Conflict if a program took one meanwhile."""
        await self.kernel(lambda: self._ports.claim(sandbox.ports))
        self._proxies.settle(sandbox.id, publish.proxies(self.endpoints[sandbox.id]))
