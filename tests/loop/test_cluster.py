"""A host's part in what hosts share: joining, versions, addresses, and what happens while the store is out of reach."""

import asyncio
import functools
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore import limits
from netcore.cluster.cluster import Cluster
from netcore.cluster.state import SCHEMA_KEY, EndpointChanged, KeysChanged, NetworkChanged, Node, endpoint_key, node_key
from netcore.errors import Conflict, Exhausted, Unavailable
from netcore.model import Endpoint, Sandbox
from netcore.store.etcd import open_etcd
from netcore.store.etcd_settings import EtcdSettings
from netcore.store.protocol import EVERYTHING, NO_CONDITIONS, CompareFailed, Transaction
from netcore.store.upgrade import SCHEMA_VERSION
from tests.support import schema_2
from tests.support.etcd import cluster as etcd_cluster
from tests.support.etcd import why_no_etcd
from tests.support.memory_store import MemoryStore
from tests.support.networks import overlay_network, pool
from tests.support.waiting import until

NEWER = str(SCHEMA_VERSION + 1).encode()
BOTH_VERSIONS = f"schema version {SCHEMA_VERSION + 1}, written by a newer berth; this berth reads up to version {SCHEMA_VERSION}"
FAR = overlay_network("far", pool("10.40.0.0/29", "10.40.0.1"))
SANDBOX = Sandbox(id="s" * 12, name="web", hostname="web", netns_path="/x", boot_id="")
ENDPOINT = Endpoint(
    origin="api", network_id=FAR.id, sandbox_id=SANDBOX.id, ifname="eth0", host_ifname="v", mac="02:42:0a:28:00:02",
    ipv4=ip_interface("10.40.0.2/29"), ipv6=None,
)  # fmt: skip
OTHER = replace(ENDPOINT, sandbox_id="t", ipv4=ip_interface("10.40.0.3/29"))


class FlakyStore(MemoryStore):
    """A store that can be out of reach. *before*: called once, before the next transaction that writes *key*."""

    def __init__(self, history=100):
        super().__init__(history)
        self.is_down = False
        self.before = {}
        self.transactions = 0

    def _check(self):
        if self.is_down:
            raise Unavailable("etcd", "nobody is there")

    async def load(self, scope=EVERYTHING):
        self._check()
        return await super().load(scope)

    async def keep_session(self, session):
        self._check()
        return await super().keep_session(session)

    async def probe(self):
        self._check()

    async def commit(self, transaction, conditions=NO_CONDITIONS):
        self.transactions += 1
        self._check()
        for key in transaction.writes:
            if key in self.before:
                await self.before.pop(key)()
        return await super().commit(transaction, conditions)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(limits, "STORE_PROBE", 0.01)
    monkeypatch.setattr(limits, "STORE_RETRY", 0.01)


@pytest.fixture(params=["memory", "etcd"])
async def open_store(request, tmp_path):
    """What opens the one store that all hosts of a test share."""
    if request.param == "memory":
        store = MemoryStore()

        async def opened():
            return store

        yield opened
        return
    if why_no_etcd():
        pytest.skip(why_no_etcd())
    with etcd_cluster(tmp_path) as members:
        yield functools.partial(open_etcd, EtcdSettings(endpoints=(members[0].url,)))


@pytest.fixture
def store():
    return FlakyStore()


@pytest.fixture
async def host(store):
    """What makes a host that keeps what it is told in `changes` and `events`."""
    made = []

    async def make(name, open_store=None, restored=()):
        async def of_memory():
            return store

        node = Node(id=f"id-{name}", name=name, vtep=ip_address(f"10.99.0.{ord(name) - 96}"))
        host = Cluster(open_store or of_memory, node, time.time, review_period=0.05)
        host.changes, host.events, host.lost = [], [], []
        made.append(host)
        for sandbox, endpoint, network in restored:
            host.publish_restored(sandbox, endpoint, network)
        await host.start(host.changes.append, lambda *event: host.events.append(event), host.lost.append)
        return host

    yield make
    for host in made:
        await host.close()
    # Tasks that were cancelled end before the loop does.
    await asyncio.sleep(0)


async def follow(*hosts):
    for each in hosts:
        await each.follow(FAR)


async def content(open_store):
    store = await open_store()
    items = (await store.load()).items
    await store.close()
    return {key: item.value for key, item in items.items()}


async def write(open_store, *transactions):
    store = await open_store()
    for writes in transactions:
        await store.commit(Transaction(writes))
    await store.close()


# --- joining and versions ------------------------------------------------------------------------------------------------


async def test_first_host_writes_the_version_and_its_record(host, open_store):
    await host("a", open_store)
    everything = await content(open_store)
    assert everything[SCHEMA_KEY] == str(SCHEMA_VERSION).encode()
    assert f'"schema":{SCHEMA_VERSION},'.encode() in everything[node_key("id-a")]
    await host("b", open_store)
    assert {*await content(open_store)} == {SCHEMA_KEY, node_key("id-a"), node_key("id-b")}


async def test_records_of_the_version_before_are_read(host, open_store):
    await write(open_store, schema_2.SHARED)
    joined = await host("b", open_store)
    state = joined.state
    network = state.networks["ffff"]
    assert (network.name, network.bridge.vxlan.vni, [(str(pool.subnet), pool.identity) for pool in network.pools]) == (
        "far",
        4096,
        [("10.40.0.0/24", None)],
    )
    await joined.follow(network)
    remote = state.remote("ffff", schema_2.ENDPOINT, "id-b")
    assert (remote.node, str(remote.vtep), remote.names, remote.ports) == ("a", "10.99.0.1", ("web", "alias", "aaaa"), ((53, "udp"),))
    assert state.addresses["ffff"] == {ip_address("10.40.0.2"): "id-a"}
    assert state.keys[1].secret == "ab" * 32
    # What older hosts wrote is left as it is; the key tells what is written from now on.
    everything = await content(open_store)
    assert {key: everything[key] for key in schema_2.SHARED} == schema_2.SHARED
    assert everything[SCHEMA_KEY] == str(SCHEMA_VERSION).encode()
    # The address that an older host has is not handed out again.
    assert await joined.take_address(network, 4, None) == ip_address("10.40.0.3")


async def test_host_does_not_join_hosts_of_a_newer_version(host, open_store, caplog):
    await write(open_store, {SCHEMA_KEY: NEWER, "node/id-z": b'{"schema":4,"unknown":1}'})
    late = await host("a", open_store)
    with pytest.raises(Unavailable, match=f"{BOTH_VERSIONS}: upgrade it; local networks are unaffected"):
        await late.create_network(FAR)
    assert BOTH_VERSIONS in caplog.text
    assert {*await content(open_store)} == {SCHEMA_KEY, "node/id-z"}
    assert (await content(open_store))[SCHEMA_KEY] == NEWER


async def test_older_host_sees_that_a_newer_one_has_joined(host, open_store, caplog):
    older, other = await host("a", open_store), await host("b", open_store)
    await older.create_network(FAR)
    await until(lambda: FAR.id in other.state.networks)
    await follow(older, other)
    await older.publish(SANDBOX, ENDPOINT, FAR)
    await other.publish(replace(SANDBOX, name="other"), OTHER, FAR)
    await until(lambda: len(older.state.members(FAR.id)) == 2)
    # The newer host: the version first, then records that an older one would not understand.
    await write(open_store, {SCHEMA_KEY: NEWER}, {"node/id-z": b'{"schema":4,"unknown":1}', "network/new": b'{"schema":4}'})
    await until(lambda: caplog.text.count(BOTH_VERSIONS) == 2)
    for operation in (older.create_network(FAR), older.remove_network(FAR), older.ensure_key(), older.take_address(FAR, 4, None)):
        with pytest.raises(Unavailable, match=BOTH_VERSIONS):
            await operation
    with pytest.raises(Unavailable, match=BOTH_VERSIONS):
        await older.publish(SANDBOX, ENDPOINT, FAR)
    # What was known stays, and so does what was published; what is gone is withdrawn still.
    assert {*older.state.nodes} == {"id-a", "id-b"}
    assert sorted(record.sandbox for _, record in older.state.members(FAR.id)) == ["other", "web"]
    await older.withdraw(ENDPOINT)
    assert not [key for key in await content(open_store) if key.endswith(ENDPOINT.id)]
    assert node_key("id-a") in await content(open_store)


@pytest.mark.parametrize("wrong", [NEWER, b"99999", b"garbage", b"", b"-5", "²".encode(), b"9" * 5000], ids=lambda value: repr(value[:9]))
@pytest.mark.parametrize("right", [str(SCHEMA_VERSION).encode(), b"2", None], ids=repr)
async def test_hosts_go_on_when_the_version_is_right_again(host, store, wrong, right):
    one, other = await host("a"), await host("b")
    await one.create_network(FAR)
    await until(lambda: FAR.id in other.state.networks)
    await follow(one, other)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    await until(lambda: len(other.state.members(FAR.id)) == 1)
    await store.commit(Transaction({SCHEMA_KEY: wrong}))
    await until(lambda: one.warnings() and other.warnings())
    (warning,) = one.warnings()
    assert warning.startswith("other hosts are not followed, and what was known of them stays as it was: ")
    for operation in (
        one.create_network(replace(FAR, name="new")),
        one.take_address(FAR, 4, None),
        other.remove_network(FAR),
        other.catch_up(),
    ):
        with pytest.raises(Unavailable, match=r"the cluster is not available: .*schema.*; local networks are unaffected"):
            await operation
    # What was known is served, and nothing is learned meanwhile.
    await store.commit(Transaction({"node/id-z": b'{"schema":3,"id":"id-z","name":"z","vtep":"10.99.0.9"}'}))
    assert [record.sandbox for _, record in other.state.members(FAR.id)] == ["web"]
    # A host that starts now waits too, or writes the version again where there is none.
    is_version = wrong.isdigit() and len(wrong) < 10
    if not is_version and right is not None:
        await store.commit(Transaction({SCHEMA_KEY: right}))
    late = await host("c")
    if is_version:
        assert late.warnings() == one.warnings()
        assert (await store.load()).items[SCHEMA_KEY].value == wrong
        await store.commit(Transaction({SCHEMA_KEY: right}))
    await until(lambda: not any(each.warnings() for each in (one, other, late)))
    await until(lambda: all({"id-a", "id-b", "id-c", "id-z"} == {*each.state.nodes} for each in (one, other, late)))
    assert (await store.load()).items[SCHEMA_KEY].value == str(SCHEMA_VERSION).encode()
    # What changes on a network that both had is seen again.
    await other.publish(replace(SANDBOX, name="other"), OTHER, FAR)
    await until(lambda: len(one.state.members(FAR.id)) == 2)
    await one.take_address(FAR, 4, None)
    await one.create_network(replace(FAR, id="5" * 64, name="new"))


async def test_a_start_waits_for_what_others_say_and_not_for_what_it_says_itself(host, store, monkeypatch):
    """Names of other hosts are answered as soon as they are known: saying again what is here takes a call for each endpoint."""
    monkeypatch.setattr(limits, "STORE_FIRST_WAIT", 60.0)
    other = await host("b")
    await other.create_network(FAR)
    await other.follow(FAR)
    await other.publish(replace(SANDBOX, name="other"), OTHER, FAR)
    is_released = asyncio.Event()
    store.before[endpoint_key(FAR.id, ENDPOINT.id)] = is_released.wait
    one = await asyncio.wait_for(host("a", restored=[(SANDBOX, ENDPOINT, FAR)]), 30)
    assert [record.sandbox for _, record in one.state.members(FAR.id)] == ["other"]
    is_released.set()
    await until(lambda: len(other.state.members(FAR.id)) == 2)


async def test_the_store_is_opened_once_and_before_it_is_needed(store):
    opened = []

    async def of_memory():
        opened.append(store)
        return store

    cluster = Cluster(of_memory, Node(id="id-a", name="a", vtep=ip_address("10.99.0.1")), time.time)
    cluster.open()
    await until(lambda: opened)
    await cluster.start(lambda _: None, lambda *_: None, lambda _: None)
    assert opened == [store]
    assert cluster.warnings() == ()
    await cluster.close()


async def test_newer_host_tells_older_ones(host, open_store, caplog):
    await write(open_store, {SCHEMA_KEY: b"2", **schema_2.SHARED})
    await host("b", open_store)
    assert (await content(open_store))[SCHEMA_KEY] == str(SCHEMA_VERSION).encode()
    assert f"hosts with an older berth stop following until they are upgraded schema=2->{SCHEMA_VERSION}" in caplog.text


@pytest.mark.parametrize("key", [SCHEMA_KEY, node_key("id-a")])
async def test_version_that_is_raised_while_a_host_joins(host, store, key, caplog):
    """Between its load and its first write, and between its two writes."""

    async def raise_version():
        await MemoryStore.commit(store, Transaction({SCHEMA_KEY: NEWER}))

    store.before[key] = raise_version
    await host("a")
    await until(lambda: BOTH_VERSIONS in caplog.text)
    assert {key: item.value for key, item in (await store.load()).items.items()} == {SCHEMA_KEY: NEWER}


async def test_two_hosts_that_come_first_at_the_same_time(host, store):
    async def join_before():
        await host("b")

    store.before[SCHEMA_KEY] = join_before
    first = await host("a")
    await until(lambda: {*first.state.nodes} == {"id-a", "id-b"})
    assert first.state.schema == SCHEMA_VERSION


# --- what hosts tell each other -------------------------------------------------------------------------------------------


async def test_endpoints_and_networks_of_others(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    with pytest.raises(Conflict, match="network far already exists"):
        await one.create_network(replace(FAR, id="f2"))
    await until(lambda: FAR.id in two.state.networks)
    await follow(one, two)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    await until(lambda: two.state.remote(FAR.id, ENDPOINT.id, "id-b") is not None)
    assert {NetworkChanged(FAR.id)} in two.changes
    assert {EndpointChanged(FAR.id, ENDPOINT.id)} in two.changes
    with pytest.raises(Conflict, match='has active endpoints \\(name:"web" on a\\); disconnect them first'):
        await two.remove_network(FAR)
    await one.withdraw(ENDPOINT)
    await until(lambda: two.state.members(FAR.id) == [])
    with pytest.raises(Conflict, match="one is about to be made"):
        await two.remove_network(FAR)
    await one.give_address(FAR.id, ENDPOINT.ipv4.ip)
    await two.remove_network(FAR)
    await until(lambda: FAR.id not in one.state.networks)
    # A host hears of what others do, and of networks, which are everybody's.
    told = [
        ("network", "create", "far", None, None),
        ("endpoint", "connect", "web", "far", "a"),
        ("endpoint", "disconnect", "web", "far", "a"),
    ]
    assert two.events == told
    assert one.events == [("node", "join", "b", None, "b"), ("network", "remove", "far", None, None)]
    assert {key for key in (await store.load()).items if "far" in key or FAR.id in key} == set()


async def test_networks_are_created_one_at_a_time(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    # The other has not heard of it yet.
    two.state.apply("networks", None, 1)
    with pytest.raises(CompareFailed):
        await two.create_network(replace(FAR, id="n2", name="near"))


async def test_addresses_are_taken_by_one_host_only(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    await until(lambda: FAR.id in two.state.networks)
    first, second = await asyncio.gather(one.take_address(FAR, 4, None), two.take_address(FAR, 4, None))
    assert {str(first), str(second)} == {"10.40.0.2", "10.40.0.3"}
    with pytest.raises(Conflict, match="address already in use on network far"):
        await two.take_address(FAR, 4, first)
    wished = await two.take_address(FAR, 4, ip_address("10.40.0.6"))
    await until(lambda: wished in one.state.addresses[FAR.id])
    with pytest.raises(Conflict, match="one is about to be made"):
        await one.remove_network(FAR)
    assert {str(await one.take_address(FAR, 4, None)) for _ in range(2)} == {"10.40.0.4", "10.40.0.5"}
    with pytest.raises(Exhausted, match="no available IPv4 addresses"):
        await one.take_address(FAR, 4, None)
    # Its time in quarantine does not count when the pool has no other one.
    await two.give_address(FAR.id, wished)
    await until(lambda: wished not in one.state.addresses[FAR.id])
    assert await one.take_address(FAR, 4, None) == wished


async def test_address_of_a_network_that_is_gone(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    await until(lambda: FAR.id in two.state.networks)
    await one.take_address(FAR, 4, ip_address("10.40.0.6"))
    await one.give_address(FAR.id, ip_address("10.40.0.6"))

    async def remove():
        await MemoryStore.commit(store, Transaction({f"network/{FAR.id}": None}))
        await until(lambda: FAR.id not in one.state.networks)

    store.before[f"address/{FAR.id}/10.40.0.2"] = remove
    with pytest.raises(Conflict, match="was removed meanwhile"):
        await one.take_address(FAR, 4, None)


async def test_other_hosts_that_are_always_first(host, store, monkeypatch):
    monkeypatch.setattr(limits, "ADDRESS_ATTEMPTS", 2)
    one = await host("a")
    await one.create_network(FAR)

    def takes(address):
        async def take():
            await MemoryStore.commit(store, Transaction({f"address/{FAR.id}/{address}": b"id-b"}))

        return take

    for address in ("10.40.0.2", "10.40.0.3"):
        store.before[f"address/{FAR.id}/{address}"] = takes(address)
    with pytest.raises(Exhausted, match="no address could be had in 2 attempts: other hosts were first"):
        await one.take_address(FAR, 4, None)


# --- out of reach ---------------------------------------------------------------------------------------------------------


async def test_store_that_is_not_there_at_the_start(host, store, monkeypatch):
    monkeypatch.setattr(limits, "STORE_FIRST_WAIT", 0.01)
    store.is_down = True
    late = await host("a")
    with pytest.raises(Unavailable, match="nobody is there; local networks are unaffected"):
        await late.create_network(FAR)
    assert late.warnings() == (
        "other hosts are not followed, and what was known of them stays as it was: etcd is not available: nobody is there",
    )
    late.publish_restored(SANDBOX, ENDPOINT, FAR)
    store.is_down = False
    await until(lambda: late._loaded.is_set())
    # What there is to tell comes with the first review behind that.
    await until(lambda: f"endpoint/{FAR.id}/{ENDPOINT.id}" in store._items)
    await until(lambda: late.warnings() == ())


async def test_store_that_can_not_be_opened_is_tried_again(host, store):
    attempts = []

    async def third_time_lucky():
        attempts.append(1)
        if len(attempts) < 3:
            raise Unavailable("etcd", "nobody is there")
        return store

    await host("a", third_time_lucky)
    assert (len(attempts), [*(await store.load()).items]) == (3, [SCHEMA_KEY, node_key("id-a")])


async def test_what_happens_while_the_store_is_away_is_told_later(host, store, caplog):
    one = await host("a")
    await one.create_network(FAR)
    address = await one.take_address(FAR, 4, None)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    store.is_down = True
    await until(lambda: "cluster is not reachable reason=etcd is not available: nobody is there" in caplog.text)
    with pytest.raises(Unavailable, match="the cluster is not available"):
        await one.withdraw(ENDPOINT)
    await one.give_address(FAR.id, address)
    with pytest.raises(Unavailable, match="the cluster is not available"):
        await one.publish(replace(SANDBOX, id="t", name="other"), OTHER, FAR)
    # Fail static: what is known stays, and a refusal does not wait for the store.
    assert FAR.id in one.state.networks
    asked = store.transactions
    for operation in (one.create_network(replace(FAR, id="f2", name="f2")), one.take_address(FAR, 4, None), one.ensure_key()):
        with pytest.raises(Unavailable):
            await operation
    assert store.transactions == asked
    store.is_down = False
    await until(lambda: "cluster is reachable again" in caplog.text)
    await until(lambda: [record.sandbox for _, record in one.state.members(FAR.id)] == ["other"])
    assert f"address/{FAR.id}/{address}" not in (await store.load()).items


async def test_failed_write_gives_the_address_back(host, store):
    one = await host("a")
    await one.create_network(FAR)
    store.is_down = True
    with pytest.raises(Unavailable):
        await one.take_address(FAR, 4, None)
    store.is_down = False
    await until(lambda: one._access.is_reachable)
    assert str(await one.take_address(FAR, 4, None)) == "10.40.0.2"


async def test_lease_that_ran_out(host, store, caplog):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    await follow(one, two)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    await until(lambda: two.state.remotes(FAR.id, "id-b"))
    await store.end_session("node/id-a")
    await until(lambda: "this node's lease ran out" in caplog.text)
    await until(lambda: two.state.remotes(FAR.id, "id-b") and "id-a" in two.state.nodes)
    assert ("node", "leave", "a", None, "id-a") in two.events


async def test_lease_that_ran_out_when_the_store_is_away_again(host, store, caplog):
    one = await host("a")

    async def cut():
        store.is_down = True
        raise Unavailable("etcd", "cut")

    store.before[node_key("id-a")] = cut
    await store.end_session("node/id-a")
    await until(lambda: "cluster is not reachable" in caplog.text)
    store.is_down = False
    await until(lambda: "id-a" in one.state.nodes)


async def test_history_that_is_gone(host, caplog):
    store = FlakyStore(history=3)

    async def opened():
        return store

    one = await host("a", opened)
    # More than the store remembers, before the host's watch runs.
    for number in range(10):
        await MemoryStore.commit(
            store, Transaction({node_key(f"id-{number}"): f'{{"id":"id-{number}","name":"n","vtep":"10.99.0.9"}}'.encode()})
        )
        store._changes.clear()
        store._forgotten = store._revision
    await until(lambda: len(one.state.nodes) == 11)
    assert "changes were missed, everything is loaded again" in caplog.text


async def test_what_a_killed_daemon_left_is_deleted(host, store):
    one = await host("a")
    await one.create_network(FAR)
    kept, left = await one.take_address(FAR, 4, ip_address("10.40.0.2")), await one.take_address(FAR, 4, None)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    await one.publish(SANDBOX, replace(OTHER, sandbox_id="gone"), FAR)
    await one.close()
    again = Cluster(lambda: _of(store), one.node, lambda: 0.0)
    again.publish_restored(SANDBOX, ENDPOINT, FAR)
    await again.start(lambda _: None, lambda *_: None, lambda _: None)
    items = (await store.load()).items
    assert [key for key in items if key.startswith("endpoint/")] == [f"endpoint/{FAR.id}/{ENDPOINT.id}"]
    assert [key for key in items if key.startswith("address/")] == [f"address/{FAR.id}/{kept}"]
    assert kept != left
    await again.close()


async def _of(store):
    return store


# --- what a host has is said again, and compared ---------------------------------------------------------------------------


async def held(store, prefix="address/"):
    return {key: item.value.decode() for key, item in (await store.load()).items.items() if key.startswith(prefix)}


async def stays(host, condition):
    """Wait until two more reviews have been made, of which the second has seen everything."""
    made, review = [], host._announcements.review

    async def counted(store):
        await review(store)
        made.append(1)

    host._announcements.review = counted
    await until(lambda: len(made) > 2)
    assert condition()


async def test_addresses_of_a_restarted_host_are_held_without_a_connect(host, store):
    one = await host("a")
    await one.create_network(FAR)
    address = await one.take_address(FAR, 4, None)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    await one.close()
    again = Cluster(lambda: _of(store), one.node, lambda: 0.0, review_period=0.05)
    again.publish_restored(SANDBOX, ENDPOINT, FAR)
    kept = []
    keep = store.keep_session

    async def counted(session):
        kept.append(session)
        return await keep(session)

    store.keep_session = counted
    await again.start(lambda _: None, lambda *_: None, lambda _: None)
    # Nothing had to be written.
    assert {*kept} == {"node/id-a", "hold/id-a"}
    # And should it have ended all the same, it is said again.
    await store.end_session("hold/id-a")
    await until(lambda: f"address/{FAR.id}/{address}" in store._items)
    await again.close()


async def test_what_somebody_deleted_or_a_lost_answer_left_is_put_right(host, store):
    one = await host("a")
    await one.create_network(FAR)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    mine = (f"address/{FAR.id}/10.40.0.2", f"endpoint/{FAR.id}/{ENDPOINT.id}")
    await MemoryStore.commit(store, Transaction(dict.fromkeys(mine)))
    await until(lambda: all(key in store._items for key in mine))
    # A claim and a record that were carried out after this host had given them up.
    late = {f"address/{FAR.id}/10.40.0.5": b"id-a"}
    await MemoryStore.commit(store, Transaction(late, session="hold/id-a"))
    await MemoryStore.commit(store, Transaction({f"endpoint/{FAR.id}/late": b"{}"}, session="node/id-a"))
    await until(lambda: {*late, f"endpoint/{FAR.id}/late"}.isdisjoint(store._items))
    assert await held(store) == {mine[0]: "id-a"}


async def test_withdrawal_during_a_review_is_not_overtaken(host, store):
    """The endpoint goes while it is being said again."""
    one = await host("a")
    await one.create_network(FAR)
    await follow(one)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    key = f"endpoint/{FAR.id}/{ENDPOINT.id}"
    going = []

    async def withdraw():
        going.append(asyncio.create_task(one.withdraw(ENDPOINT)))
        # It is under way before the record is written.
        await asyncio.sleep(0)

    store.before[key] = withdraw
    await MemoryStore.commit(store, Transaction({key: None}))
    await until(lambda: going and going[0].done())
    await stays(one, lambda: key not in store._items)


async def test_late_give_back_does_not_take_the_address_from_another_host(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    address = await one.take_address(FAR, 4, None)
    key = f"address/{FAR.id}/{address}"
    await until(lambda: FAR.id in two.state.networks)

    async def lost_and_taken():
        await MemoryStore.end_session(store, "hold/id-a")
        assert await two.take_address(FAR, 4, address) == address

    store.before[key] = lost_and_taken
    await one.give_address(FAR.id, address)
    await stays(one, lambda: store._items[key].value == b"id-b")
    assert (one.lost, two.lost) == ([], [])


async def test_host_that_was_cut_off_too_long_does_not_claim_what_another_has(host, store):
    far = replace(FAR, pools=(*FAR.pools, pool("fd40::/64", "fd40::1")))
    one, two = await host("a"), await host("b")
    await one.create_network(far)
    await until(lambda: far.id in two.state.networks)
    await follow(one, two)
    six = replace(ENDPOINT, ipv6=ip_interface("fd40::2/64"))
    await one.publish(SANDBOX, six, far)
    await until(lambda: two.state.members(far.id))
    # The cut, longer than the grace, and another host's claim.
    await one.close()
    for session in ("node/id-a", "hold/id-a"):
        await store.end_session(session)
    await until(lambda: not two.state.addresses[far.id])
    taken = await two.take_address(far, 4, ip_address("10.40.0.2"))
    await two.publish(replace(SANDBOX, name="other"), replace(ENDPOINT, sandbox_id="t"), far)
    back = await host("a", restored=[(SANDBOX, six, far), (SANDBOX, OTHER, far)])
    await until(lambda: back.lost)
    lost = back.lost[0]
    assert (lost.sandbox_id, lost.network_id, lost.network) == (SANDBOX.id, far.id, "far")
    assert lost.reason == f"host b took the address {taken} while this host was cut off from etcd"
    # What has no conflict is said; nothing of the other host is touched, and nothing leads to the lost endpoint.
    await until(lambda: f"endpoint/{far.id}/{OTHER.id}" in store._items)
    assert (await held(store))[f"address/{far.id}/{taken}"] == "id-b"
    assert f"endpoint/{far.id}/{six.id}" not in store._items
    # The daemon disconnects it, which gives its other address back and no more.
    await back.withdraw(six)
    for address in six.addresses():
        await back.give_address(far.id, address)
    count = len(back.lost)
    await stays(back, lambda: len(back.lost) == count)
    assert await held(store) == {f"address/{far.id}/10.40.0.2": "id-b", f"address/{far.id}/10.40.0.3": "id-a"}


async def test_network_that_the_store_has_lost_is_made_known_again(host, store, caplog):
    one = await host("a")
    await one.create_network(FAR)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    await MemoryStore.commit(store, Transaction(dict.fromkeys(store._items)))
    await until(lambda: f"endpoint/{FAR.id}/{ENDPOINT.id}" in store._items)
    assert {f"network/{FAR.id}", "name/far", f"address/{FAR.id}/10.40.0.2"} <= {*store._items}
    assert "network was not known to the cluster any more and is made known again network=far" in caplog.text
    assert one.lost == []


async def test_network_whose_place_another_took(host, store):
    two = await host("b")
    await two.create_network(replace(FAR, id="new"))
    back = await host("a", restored=[(SANDBOX, ENDPOINT, FAR)])
    await until(lambda: back.lost)
    assert back.lost[0].reason == "network far was removed while this host was cut off from etcd, and network far took its place"
    assert {key for key in store._items if f"/{FAR.id}/" in key or key == f"network/{FAR.id}"} == set()


async def test_network_is_not_removed_while_an_address_of_it_is_taken(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    await until(lambda: FAR.id in two.state.networks)

    async def taken():
        await two.take_address(FAR, 4, None)

    # After the look, and before the removal.
    store.before[f"network/{FAR.id}"] = taken
    with pytest.raises(Conflict, match="one is about to be made"):
        await one.remove_network(FAR)


async def test_host_follows_only_networks_that_it_has(host, store):
    one, two = await host("a"), await host("b")
    await one.create_network(FAR)
    await until(lambda: FAR.id in two.state.networks)
    await one.take_address(FAR, 4, None)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    # Asked for, it is read.
    assert [(node, record.sandbox) for node, record in (await two.look(FAR.id)).members(FAR.id)] == [("a", "web")]
    assert await two.counts() == {"id-a": 1}
    assert str(await two.peek_address(FAR, 4, None)) == "10.40.0.3"
    assert (two.state.members(FAR.id), two.state.addresses) == ([], {})
    await follow(two)
    assert [record.sandbox for _, record in two.state.members(FAR.id)] == ["web"]
    two.forget(FAR.id)
    assert two.state.members(FAR.id) == []
    told = len(two.changes)
    await one.publish(replace(SANDBOX, id="t", name="other"), OTHER, FAR)
    await one.create_network(replace(FAR, id="f2", name="f2"))
    await until(lambda: "f2" in two.state.networks)
    assert [*two.changes[told:]] == [{NetworkChanged("f2")}]


async def test_record_that_can_not_be_read_keeps_nothing_else_from_being_followed(host, store, caplog):
    one = await host("a")
    await one.create_network(FAR)
    await follow(one)
    for key in (node_key("id-x"), f"endpoint/{FAR.id}/x", "network/x", "key/x"):
        await MemoryStore.commit(store, Transaction({key: b"\xff"}))
    await MemoryStore.commit(store, Transaction({node_key("id-b"): b'{"id":"id-b","name":"b","vtep":"10.99.0.9"}'}))
    await until(lambda: "id-b" in one.state.nodes and len(one.warnings()) == 4)
    assert "a record of the cluster can't be read key=node/id-x" in caplog.text
    await MemoryStore.commit(
        store, Transaction(dict.fromkeys((node_key("id-x"), f"endpoint/{FAR.id}/x", "network/x", "address/x", "key/x")))
    )
    await until(lambda: one.warnings() == ())


async def test_record_of_this_host_that_can_not_be_read_is_written_again(host, store):
    one = await host("a")
    await one.create_network(FAR)
    await follow(one)
    await one.take_address(FAR, 4, ENDPOINT.ipv4.ip)
    await one.publish(SANDBOX, ENDPOINT, FAR)
    whole = {key: item.value for key, item in (await store.load()).items.items()}
    for key in (node_key("id-a"), endpoint_key(FAR.id, ENDPOINT.id)):
        await MemoryStore.commit(store, Transaction({key: b"\xff"}))
        await until(lambda key=key: store._items[key].value == whole[key] and not one.warnings())
    assert {key: item.value for key, item in (await store.load()).items.items()} == whole


async def test_schema_that_can_not_be_read_is_written_again(host, store):
    await MemoryStore.commit(store, Transaction({"schema": b"x"}))
    one = await host("a")
    assert one.state.schema == SCHEMA_VERSION


# --- keys -----------------------------------------------------------------------------------------------------------------


async def test_one_host_of_all_makes_and_deletes_keys(host, store, monkeypatch):
    for name, value in (("KEY_SETTLE", 0.02), ("KEY_LIFE", 0.05)):
        monkeypatch.setattr(limits, name, value)
    one, two = await host("a"), await host("b")
    assert one.sending_key() is None
    await asyncio.gather(one.ensure_key(), two.ensure_key())
    await one.ensure_key()
    await until(lambda: max(two.state.keys, default=0) >= 4)
    await until(lambda: 1 not in one.state.keys)
    assert {KeysChanged()} in two.changes


@pytest.mark.parametrize("value", [b"", b"\xff", b"not a node"])
async def test_what_is_no_node_holds_no_address(host, store, value):
    one = await host("a")
    await one.create_network(FAR)
    key = f"address/{FAR.id}/10.40.0.2"
    await MemoryStore.commit(store, Transaction({key: value}))
    await follow(one)
    assert list(one.state.unreadable) == [key]
    assert await one.take_address(FAR, 4, ip_address("10.40.0.2")) == ip_address("10.40.0.2")
    # The same where a watch tells of it.
    other = f"address/{FAR.id}/10.40.0.6"
    await MemoryStore.commit(store, Transaction({other: value}))
    await until(lambda: other in one.state.unreadable)
    assert await one.take_address(FAR, 4, ip_address("10.40.0.6")) == ip_address("10.40.0.6")
    await one.publish(SANDBOX, ENDPOINT, FAR)
    # Written over an address that is in use, it is replaced, and nobody is disconnected for it.
    await MemoryStore.commit(store, Transaction({key: value}))
    await until(lambda: store._items[key].value == b"id-a")
    assert one.lost == []


async def test_network_with_records_of_no_use_says_why_it_can_not_be_removed(host, store):
    one = await host("a")
    await one.create_network(FAR)
    keys = [f"address/{FAR.id}/10.40.0.2", f"endpoint/{FAR.id}/x"]
    await MemoryStore.commit(store, Transaction(dict.fromkeys(keys, b"{}")))
    with pytest.raises(Conflict, match=f"{keys[0]}, {keys[1]}.; delete them there first"):
        await one.remove_network(FAR)
    await MemoryStore.commit(store, Transaction(dict.fromkeys(keys)))
    await one.remove_network(FAR)
