"""Overlay networks of two hosts on one store in memory, without a kernel: what is made and removed on one of them counts at once."""

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_address

import pytest

from netcore.cluster.cluster import Cluster
from netcore.cluster.state import Node, address_key
from netcore.controller.set_aside import Aside
from netcore.errors import Conflict, Unavailable
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from netcore.plan.host_state import SandboxState
from netcore.store.protocol import EVERYTHING, Transaction
from netcore.store.records import Unreadable
from tests.support.fakes import world
from tests.support.memory_store import MemoryStore
from tests.support.waiting import until

FAR = NetworkRequest(name="far", driver="overlay", subnets=("10.40.0.0/24",))


class LateStore(MemoryStore):
    """A store as one host sees it: its watches tell of nothing while they are *held*. *shared*: the store itself."""

    def __init__(self, shared):
        super().__init__()
        self.shared = shared
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        for name in ("load", "commit", "keep_session", "end_session", "probe", "close"):
            setattr(self, name, getattr(shared, name))

    async def watch(self, revision, scope=EVERYTHING):
        async for change in self.shared.watch(revision, scope):
            await self.goes_on.wait()
            yield change


class Host:
    """One host of fakes in the cluster."""

    def __init__(self, made, store, name, number):
        self.store = LateStore(store)

        async def open_store():
            return self.store

        self.world, self.controller = made, made.controller
        node = Node(id=f"id-{name}", name=name, vtep=ip_address(f"10.99.0.{number}"))
        self.controller.overlays.join(Cluster(open_store, node, lambda: 1000.0, review_period=0.05))

    def knows(self):
        return sorted(network.name for network in self.controller.state.networks.values() if network.is_overlay)


@pytest.fixture
async def hosts():
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        made = [Host(await stack.enter_async_context(world()), store, name, number + 1) for number, name in enumerate("ab")]
        for host in made:
            await host.controller.follow_cluster(lambda *_: None)
        yield made


async def test_a_name_and_a_subnet_are_free_as_soon_as_another_host_has_removed_the_network(hosts):
    one, two = hosts
    await one.controller.networks.create(FAR)
    await until(lambda: two.knows() == ["far"])
    two.store.goes_on.clear()
    await one.controller.networks.remove("far")
    making = asyncio.create_task(two.controller.networks.create(FAR))
    await asyncio.wait([making], timeout=0.05)
    two.store.goes_on.set()
    again, _ = await making
    assert two.knows() == ["far"]
    await until(lambda: again.id in one.controller.state.networks)


async def test_a_name_is_taken_as_soon_as_another_host_has_made_the_network(hosts):
    one, two = hosts
    two.store.goes_on.clear()
    await one.controller.networks.create(FAR)
    making = asyncio.create_task(two.controller.networks.create(FAR, dry_run=True))
    await asyncio.wait([making], timeout=0.05)
    two.store.goes_on.set()
    with pytest.raises(Conflict, match="network far: already exists"):
        await making


async def test_a_late_watch_brings_nothing_back_that_this_host_has_removed(hosts):
    one, _ = hosts
    seen = []
    one.store.goes_on.clear()
    one.controller.cluster._on_change = lambda touched: seen.append((touched, one.knows(), len(one.controller.cluster.state.networks)))
    first, _ = await one.controller.networks.create(FAR)
    await one.controller.networks.remove("far")
    one.store.goes_on.set()
    await until(lambda: seen)
    assert [(known, count) for _, known, count in seen] == [([], 0)] * len(seen)


async def test_a_watch_that_stays_late_is_said(hosts, monkeypatch):
    monkeypatch.setattr("netcore.limits.STORE_DEADLINE", 0.05)
    one, two = hosts
    two.store.goes_on.clear()
    await one.controller.networks.create(FAR)
    with pytest.raises(Unavailable, match="what other hosts changed does not arrive"):
        await two.controller.networks.create(NetworkRequest(name="near", driver="overlay"))
    two.store.goes_on.set()


async def test_a_network_that_was_removed_while_this_host_left_it_is_forgotten(hosts):
    one, two = hosts
    await one.controller.networks.create(FAR)
    await until(lambda: two.knows() == ["far"])
    await two.controller.sandboxes.create(SandboxRequest(name="web", networks=(EndpointRequest(network="far"),)))
    network = two.controller.state.find_network("far")
    removed = asyncio.Event()

    async def unpin_and_remove(*_):
        # The addresses are free now, and the network is still active here.
        await one.controller.networks.remove("far")
        await until(lambda: network.id not in two.controller.cluster.state.networks)
        await asyncio.sleep(0)
        assert two.knows() == ["far"]
        removed.set()

    two.world.files.unpin_and_remove = unpin_and_remove
    await two.controller.sandboxes.remove("web")
    assert removed.is_set()
    assert two.knows() == []


@pytest.mark.parametrize("what", ["network", "sandbox", "record"])
async def test_an_endpoint_that_is_set_aside_and_lost_its_address_is_cut_off(hosts, monkeypatch, what):
    one, two = hosts
    removed, events = [], []
    monkeypatch.setattr("netcore.kernel.remains.remove_links", removed.extend)
    controller = one.controller
    state, writer, records = controller.state, controller.parts.writer, controller.parts.records
    await controller.networks.create(FAR)
    sandbox, _ = await controller.sandboxes.create(SandboxRequest(name="web", networks=(EndpointRequest(network="far"),)))
    network, (endpoint,) = state.find_network("far"), state.endpoints[sandbox.id]
    if what == "network":
        writer.put_sandbox(SandboxState(sandbox, ()))
        writer.deactivate(network.id)
        writer.drop_network(network.id)
        records.keep_aside(sandbox.id, [endpoint])
        controller.set_aside.put(Aside(kind="network", id=network.id, name="far", reason="test", network=network))
    else:
        writer.drop_sandbox(sandbox.id)
        record = (
            Unreadable(key=f"sandbox/{sandbox.id}", kind="sandbox", id=sandbox.id, reason="test", endpoints=(endpoint,))
            if what == "record"
            else None
        )
        controller.set_aside.put(
            Aside(kind="sandbox", id=sandbox.id, name="web", reason="test", unreadable=record, endpoints=() if record else (endpoint,))
        )
    controller._lost_endpoints._parts.overlays.cluster._announcements.on_lost = lambda lost: controller._lost_endpoints.give_up(
        lost, lambda *event: events.append(event)
    )
    key = address_key(network.id, endpoint.ipv4.ip)
    await one.store.shared.commit(Transaction({key: two.controller.cluster.node.id.encode()}))
    await until(lambda: events)
    assert removed == [endpoint.host_ifname]
    assert events == [("endpoint", "disconnect", "web", "far", None)]
    assert records.kept_aside() == {}
    assert [aside.known_endpoints() for aside in controller.set_aside.all()] == [()]
    # Nothing is said of it any more, and the other host keeps the address.
    assert controller.cluster._announcements.published.keys() == set()
    assert one.store.shared._items[key].value == b"id-b"
