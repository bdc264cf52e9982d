"""Stand-ins for what the daemon's operations work with. One journal says in which order they were called."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from netcore.controller.set_aside import SetAside
from netcore.controller.settings import Settings
from netcore.drivers.facts import Facts
from netcore.errors import Conflict, InvalidRequest
from netcore.model import DEFAULT_BRIDGE, Endpoint, NetworkRequest, Owner, Sandbox, Stack
from netcore.plan.known_networks import KnownNetworks
from netcore.plan.plans import Outcome
from netcore.plan.published_ports import ignored
from netcore.plan.references import References
from resolver.daemon.automatic_networks import AutomaticNetworks
from resolver.daemon.dry_run import DryRun
from resolver.daemon.events import Events
from resolver.daemon.following.followers import Followers
from resolver.daemon.guests import Guests
from resolver.daemon.lasting import LastingSandboxes
from resolver.daemon.lifecycle import Lifecycle
from resolver.daemon.lost_holders import LostHolders
from resolver.daemon.operations import Operations
from resolver.daemon.removals import Removals
from resolver.daemon.runs import Runs
from resolver.daemon.static_names import StaticNames
from tests.support.memory_store import MemoryStore
from tests.support.networks import bridge_network, pool

BRIDGE = NetworkRequest(name=DEFAULT_BRIDGE, predefined=True)
OWNER = Owner(pid=7, start_time=70)


class Step:
    def __init__(self, text):
        self.text = text

    def describe(self):
        return self.text


class FakeState:
    def __init__(self):
        self.networks, self.sandboxes, self.endpoints = {}, {}, {}
        self.facts = Facts(uplinks=())

    def find_network(self, reference):
        if reference in ("host", "none"):
            raise InvalidRequest("network", f"{reference} is a mode")
        return References("network", self.networks).find(reference)

    def find_sandbox(self, reference):
        return References("sandbox", self.sandboxes).find(reference)

    def network_named(self, name):
        return References("network", self.networks).named(name)

    def sandbox_named(self, name):
        return References("sandbox", self.sandboxes).named(name)

    def sandboxes_of(self, owner):
        return [sandbox for sandbox in self.sandboxes.values() if sandbox.owner == owner]

    @property
    def indexes(self):
        return SimpleNamespace(known=KnownNetworks(self.networks.values()))

    def members(self, network_id):
        return [(self.sandboxes[key], e) for key, endpoints in self.endpoints.items() for e in endpoints if e.network_id == network_id]


class FakeController:
    """Networks and sandboxes as values, no kernel. A dry run changes nothing and is noted in the journal as one."""

    def __init__(self, journal):
        self.journal = journal
        self.state = FakeState()
        self.networks = SimpleNamespace(
            create=self.create_network, remove=self.remove_network, remove_unused_bridges=self.remove_unused_bridges
        )
        self.sandboxes = SimpleNamespace(
            create=self.create_sandbox,
            remove=self.remove_sandbox,
            change=self.change_sandbox,
            free_name=self.free_name,
            connect=self.connect,
            disconnect=self.disconnect,
        )
        self.settings = Settings(run_directory="/run/berth")
        self.parts = SimpleNamespace(names=SimpleNamespace(answer_waiting=lambda: journal.append("names answer")))
        self.set_aside = SetAside()
        self.cluster = self.the_cluster()
        self.overlays = SimpleNamespace(cluster=self.cluster, known_elsewhere=self.known_elsewhere)
        self.failing = {}

    async def prove_writable(self):
        if "writing" in self.failing:
            raise self.failing["writing"]

    def _begin(self, what, name, dry_run):
        self.journal.append(f"{'plan' if dry_run else 'controller'} {what} {name}")
        if name in self.failing:
            raise self.failing[name]

    def pool_usage(self, network, shared=()):
        return {pool.subnet: 2 for pool in network.pools}

    async def known_elsewhere(self, network):
        return None

    def files_of(self, sandbox_id):
        return Path("/run/berth/sandboxes", sandbox_id)

    async def plugin_information(self, sandbox):
        return {"n": {"told": sandbox.name}}

    def the_cluster(self):
        nodes = [SimpleNamespace(id=identity, name=name, vtep="10.0.0.1") for identity, name in (("b", "two"), ("a", "one"))]

        async def counts():
            return {"b": 3}

        return SimpleNamespace(state=SimpleNamespace(nodes={node.id: node for node in nodes}), counts=counts, node=SimpleNamespace(id="a"))

    async def create_network(self, request, *, dry_run=False):
        # Others get a turn, as while the kernel works.
        await asyncio.sleep(0)
        self._begin("create network", request.name, dry_run)
        if request.name in [network.name for network in self.state.networks.values()]:
            raise Conflict("network", request.name, "already exists")
        number = len(self.state.networks)
        network = bridge_network(
            request.name, pool(f"10.{number}.0.0/24", f"10.{number}.0.1"), identity=f"id-{request.name}",
            labels=request.labels, owner=request.owner,
        )  # fmt: skip
        if not dry_run:
            self.state.networks[network.id] = network
        return network, Outcome((Step(f"create link of {request.name}"),), ("network warning",))

    async def remove_network(self, reference, *, dry_run=False):
        if reference in ("host", "none", "bridge"):
            raise Conflict("network", reference, "is a pre-defined network")
        network = self.state.find_network(reference)
        self._begin("remove network", network.name, dry_run)
        if not dry_run:
            del self.state.networks[network.id]
        return Outcome((Step(f"delete link of {network.name}"),))

    async def remove_unused_bridges(self):
        self.journal.append("controller remove unused bridges")

    async def create_sandbox(self, request, *, dry_run=False):
        self._begin("create sandbox", request.name, dry_run)
        stack = {"host": Stack.HOST}.get(request.networks[0].network if request.networks else "", Stack.OWN)
        sandbox = Sandbox(
            id=f"id-{request.name}" if request.again is None else request.again[0],
            name=request.name,
            hostname="h",
            netns_path="/x",
            boot_id="",
            owner=request.owner,
            leader=request.leader,
            adopted=request.netns is not None,
            stack=stack,
        )
        endpoints = tuple(map(self._endpoint, request.networks)) if stack is Stack.OWN else ()
        if not dry_run:
            self.state.sandboxes[sandbox.id], self.state.endpoints[sandbox.id] = sandbox, endpoints
        return sandbox, Outcome(
            (Step(f"create hosts file of {request.name}"), *(Step(f"veth {e.network_id}") for e in endpoints)),
            ("sandbox warning", *([ignored(request.name)] if request.publish and not endpoints else [])),
        )

    def _endpoint(self, request):
        network_id = self.state.find_network(request.network).id
        return Endpoint(
            origin="api",
            network_id=network_id,
            sandbox_id="s",
            ifname="eth0",
            host_ifname="v",
            mac="02:42:00:00:00:02",
            ipv4=None,
            ipv6=None,
        )

    async def change_sandbox(self, reference, change):
        sandbox = change(self.state.find_sandbox(reference))
        self.state.sandboxes[sandbox.id] = sandbox
        return sandbox

    async def free_name(self, name):
        """Nothing here has ended but for its network stack."""

    async def remove_sandbox(self, reference, *, dry_run=False, if_ended=False):
        sandbox = self.state.find_sandbox(reference)
        self._begin("remove sandbox", sandbox.name, dry_run)
        if not dry_run:
            del self.state.sandboxes[sandbox.id], self.state.endpoints[sandbox.id]
        return Outcome((Step(f"delete {sandbox.name}"),), ("removal warning",))

    async def connect(self, reference, request, *, dry_run=False):
        sandbox = self.state.find_sandbox(reference)
        self._begin("connect", f"{sandbox.name} {request.network}", dry_run)
        endpoint = self._endpoint(request)
        if not dry_run:
            self.state.endpoints[sandbox.id] += (endpoint,)
        return Outcome((Step(f"veth {endpoint.network_id}"),), ("connect warning",))

    async def disconnect(self, reference, network_reference, *, dry_run=False):
        sandbox, network = self.state.find_sandbox(reference), self.state.find_network(network_reference)
        self._begin("disconnect", f"{sandbox.name} {network.name}", dry_run)
        if not dry_run:
            self.state.endpoints[sandbox.id] = tuple(e for e in self.state.endpoints[sandbox.id] if e.network_id != network.id)
        return Outcome((Step(f"delete link of {network.name}"),))


class FakeOwners:
    """Notes who is watched; `end` plays the end of an owner."""

    def __init__(self, journal):
        self.journal = journal
        self.on_end = {}
        self.uids = {}

    async def uid(self, pid):
        return self.uids.get(pid, 0)

    async def find(self, pid, caller):
        return None if pid is None else replace(OWNER, pid=pid)

    async def find_child(self, pid, parent):
        return await self.find(pid, parent)

    async def watch(self, owner, on_end):
        if owner is not None:
            self.journal.append(f"watch {owner.pid}")
            self.on_end[owner] = on_end

    async def end(self, owner):
        await self.on_end[owner](owner, lambda: 3)


class World:
    """Operations and a dry run on a fake controller."""

    def __init__(self):
        self.journal = []
        self.controller = FakeController(self.journal)
        self.owners = FakeOwners(self.journal)
        self.events = Events(lambda: 1.0)
        self.events.emit = self.emit
        automatic_networks = AutomaticNetworks(self.controller.state.network_named, BRIDGE)

        async def check_firewalls():
            self.journal.append("check firewalls")

        async def end_process(leader):
            self.journal.append(f"end {leader.pid}")

        async def end_restarts(holder):
            self.journal.append(f"end restarts {holder.pid}")

        async def end_command(leader, number, grace):
            self.journal.append(f"end {leader.pid} {signal.Signals(number).name} {grace}")

        async def wait_for(holder):
            self.journal.append(f"wait for {holder.pid}")

        async def run_blocking(body):
            return body()

        self.directory = Path(tempfile.mkdtemp())
        self.store = MemoryStore()
        self.static_names = StaticNames(self.store)
        self.runs = Runs(self.store, self.directory, run_blocking, lambda: 2.0)
        self.lost = LostHolders(self.runs, lambda: self.journal.append("start due"), lambda: 2.0)
        self.lasting, followers = LastingSandboxes(self.store, self.controller), Followers(self.controller, self.events)
        removals = Removals(
            self.controller, self.runs, self.lasting, followers, self.events, self.lost, end_process=end_process, end_restarts=end_restarts
        )
        self.operations = Operations(
            self.controller, automatic_networks, self.owners, self.events, self.runs, self.lasting, followers, Guests(self.controller, resolver=True), removals,
            remove_aside=self.remove_aside, forget_network=self.static_names.drop, check_firewalls=check_firewalls, firewall_warnings=lambda: ("firewall warning",),
        )  # fmt: skip
        self.lifecycle = Lifecycle(
            self.controller, self.operations, self.runs, removals, self.events,
            end_process=end_command, end_restarts=end_restarts, wait_for=wait_for,
        )  # fmt: skip
        self.dry_run = DryRun(self.controller, automatic_networks)

    def emit(self, *what, identity="", cause=None, exit_code=None, network_id=None):
        why = [f"({cause.value})"] if cause is not None else []
        self.journal.append(" ".join(("event", *what, *why, *([] if exit_code is None else [str(exit_code)]))))

    async def remove_aside(self, aside):
        self.journal.append(f"remove aside {aside.kind} {aside.name}")

    def close(self):
        """Remove the directory of runs."""
        shutil.rmtree(self.directory)

    def took(self):
        """Return what has happened since this was asked last."""
        happened = tuple(self.journal)
        self.journal.clear()
        return happened
