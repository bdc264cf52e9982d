"""The contract of the `Store` protocol; every implementation must pass it."""

import asyncio
import contextlib
import sqlite3

import pytest

from netcore.errors import Conflict, Unavailable
from netcore.model import Stack
from netcore.store import earlier_schema
from netcore.store.etcd import open_etcd
from netcore.store.etcd_settings import EtcdSettings
from netcore.store.protocol import Compacted, CompareFailed, Transaction
from netcore.store.records import Records
from netcore.store.sqlite import open_store
from netcore.store.upgrade import SCHEMA_VERSION
from tests.support import schema_2
from tests.support.etcd import cluster, why_no_etcd
from tests.support.memory_store import MemoryStore


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "sqlite":
        opened = await open_store(str(tmp_path / "state"))
        yield opened
        await opened.close()
        return
    if why_no_etcd():
        pytest.skip(why_no_etcd())
    with cluster(tmp_path) as members:
        opened = await open_etcd(EtcdSettings(endpoints=(members[0].url,)))
        yield opened
        await opened.close()


async def content(store):
    return {key: item.value for key, item in (await store.load()).items.items()}


async def test_what_is_committed_is_loaded_with_its_revision(store):
    first = await store.commit(Transaction({"a": b"1", "b": b"2"}))
    second = await store.commit(Transaction({"b": b"3"}))
    assert second > first
    snapshot = await store.load()
    assert snapshot.revision == second
    assert {key: (item.value, item.revision) for key, item in snapshot.items.items()} == {"a": (b"1", first), "b": (b"3", second)}


async def test_deleted_key_is_gone_and_deleting_twice_is_no_error(store):
    await store.commit(Transaction({"a": b"1"}))
    await store.commit(Transaction({"a": None}))
    await store.commit(Transaction({"a": None}))
    assert await content(store) == {}


async def test_failed_compare_writes_nothing(store):
    revision = await store.commit(Transaction({"a": b"1"}))
    with pytest.raises(CompareFailed):
        await store.commit(Transaction({"a": b"2", "b": b"2"}, compares={"a": revision + 1}))
    with pytest.raises(CompareFailed):
        await store.commit(Transaction({"a": b"2"}, compares={"a": 0}))
    assert await content(store) == {"a": b"1"}
    await store.commit(Transaction({"a": b"2"}, compares={"a": revision, "new": 0}))
    assert await content(store) == {"a": b"2"}


async def test_create_if_absent_works_after_a_delete(store):
    await store.commit(Transaction({"a": b"1"}))
    await store.commit(Transaction({"a": None}))
    await store.commit(Transaction({"a": b"2"}, compares={"a": 0}))
    assert await content(store) == {"a": b"2"}


async def test_watch_yields_every_change_in_order_from_a_revision(store):
    start = await store.commit(Transaction({"a": b"1"}))
    await store.commit(Transaction({"b": b"2"}))
    seen = []

    async def watch():
        async for change in store.watch(start):
            seen.append((change.key, change.value))
            if len(seen) == 3:
                return

    task = asyncio.create_task(watch())
    async with asyncio.timeout(20):
        while not seen:
            await asyncio.sleep(0.005)
    await store.commit(Transaction({"a": None}))
    await store.commit(Transaction({"c": b"3"}))
    await asyncio.wait_for(task, 20)
    assert seen == [("b", b"2"), ("a", None), ("c", b"3")]


async def test_session_ends_with_all_its_keys_and_no_others(store):
    await store.commit(Transaction({"a": b"1", "b": b"1"}, session="boot"))
    await store.commit(Transaction({"c": b"1"}))
    await store.end_session("boot")
    await store.end_session("unknown")
    assert await content(store) == {"c": b"1"}


async def test_memory_forgets_the_oldest_changes():
    store = MemoryStore(history=2)
    for number in range(4):
        await store.commit(Transaction({f"key{number}": b""}))
    with pytest.raises(Compacted):
        await anext(store.watch(1))
    assert (await anext(store.watch(2))).key == "key2"


async def test_state_survives_and_revisions_go_on(tmp_path):
    directory = str(tmp_path / "state")
    first = await open_store(directory)
    await first.commit(Transaction({"a": b"1"}))
    last = await first.commit(Transaction({"b": b"1"}))
    last = await first.commit(Transaction({"b": None}))
    await first.close()
    second = await open_store(directory)
    assert await content(second) == {"a": b"1"}
    assert await second.commit(Transaction({"c": b"1"})) > last
    await second.close()


async def test_second_daemon_is_refused(tmp_path):
    first = await open_store(str(tmp_path))
    with pytest.raises(Conflict, match=r"another berth daemon is using it; stop that one, or give this one a directory of its own"):
        await open_store(str(tmp_path))
    await first.close()


async def test_second_daemon_is_told_who_has_the_directory(tmp_path):
    before = await open_store(str(tmp_path), owner="process 4242 with a long, long name")
    await before.close()
    first = await open_store(str(tmp_path), owner="process 7")
    with pytest.raises(Conflict, match=r"another berth daemon is using it: process 7; stop that one"):
        await open_store(str(tmp_path), owner="process 8")
    await first.close()


@pytest.fixture
async def file_store(tmp_path):
    opened = await open_store(str(tmp_path / "state"))
    yield opened
    await opened.close()


async def test_what_comes_while_something_is_written_goes_together(file_store):
    statements = []
    file_store._connection.set_trace_callback(statements.append)
    revisions = await asyncio.gather(*(file_store.commit(Transaction({f"k{number}": b"x"})) for number in range(50)))
    assert sum(text.startswith("BEGIN") for text in statements) == 2
    assert revisions == sorted(set(revisions))
    assert len(await content(file_store)) == 50


async def test_one_alone_is_written_at_once(file_store):
    statements = []
    file_store._connection.set_trace_callback(statements.append)
    for number in range(3):
        await file_store.commit(Transaction({f"k{number}": b"x"}))
    assert sum(text.startswith("BEGIN") for text in statements) == 3


async def test_only_who_can_not_be_written_is_told_of_it(file_store):
    await file_store._run(lambda: file_store._connection.execute("PRAGMA max_page_count = 30"))
    wanted = {f"k{number}": b"x" * (1 << 20 if number == 3 else 1) for number in range(6)}
    made = [file_store.commit(Transaction({key: value}, {key: 7} if key == "k4" else {})) for key, value in wanted.items()]
    results = await asyncio.gather(*made, return_exceptions=True)
    assert [type(result) for result in results] == [int, int, int, Unavailable, CompareFailed, int]
    assert "full" in str(results[3])
    assert sorted(await content(file_store)) == ["k0", "k1", "k2", "k5"]


async def test_who_is_cancelled_keeps_no_other_from_being_written(file_store):
    tasks = [asyncio.create_task(file_store.commit(Transaction({f"k{number}": b"x"}))) for number in range(6)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [int, int, asyncio.CancelledError, int, int, int]


async def test_what_is_asked_for_before_the_end_is_written(tmp_path):
    opened = await open_store(str(tmp_path / "state"))
    # Then no copy is due at the end, for which it would wait.
    await opened._run(opened._copy)
    tasks = [asyncio.create_task(opened.commit(Transaction({f"k{number}": b"x"}))) for number in range(6)]
    await asyncio.sleep(0)
    await opened.close()
    await asyncio.gather(*tasks)
    opened = await open_store(str(tmp_path / "state"))
    assert len(await content(opened)) == 6
    await opened.close()


async def test_failure_of_the_disk_names_the_directory(tmp_path):
    store = await open_store(str(tmp_path))
    # What SQLite says of a full disk, from a database that may not grow.
    await store._run(lambda: store._connection.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(Unavailable, match=f"the state in {tmp_path} is not available: database or disk is full; is the file system"):
        await store.commit(Transaction(writes={"/k": b"v" * 100_000}))
    assert (await store.load()).items == {}
    await store.close()


async def test_state_of_a_newer_version_is_refused(tmp_path):
    first = await open_store(str(tmp_path))
    await first.close()
    with sqlite3.connect(tmp_path / "berth.db") as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    connection.close()
    with pytest.raises(Unavailable, match=f"schema version 99, written by a newer berth; this berth reads up to version {SCHEMA_VERSION}"):
        await open_store(str(tmp_path))
    # It let go of the directory.
    with sqlite3.connect(tmp_path / "berth.db") as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (SCHEMA_VERSION,))
    connection.close()
    await (await open_store(str(tmp_path))).close()


async def test_database_of_the_version_before_is_read(tmp_path):
    schema_2.write_database(tmp_path)
    before = (await content_of(tmp_path / "berth.db"), earlier_schema.look(str(tmp_path)))
    assert (before[1].schema, before[1].networks, before[1].sandboxes, before[1].problems) == (2, 1, 2, ())
    for _ in range(2):
        store = await open_store(str(tmp_path))
        everything = await Records(store, "boot").load()
        await store.close()
        (network,) = (record.network for record in everything.networks)
        assert [(str(pool.subnet), pool.identity) for pool in network.pools] == [("10.66.0.0/16", "pool-1"), ("10.60.0.0/24", None)]
        assert (network.name, network.labels, network.ipam.needs_mac, network.driver_options.no_gateway4) == (
            "weave",
            (("a", "b"),),
            True,
            True,
        )
        (own, endpoints), (shared, none) = everything.sandboxes
        assert (own.sandbox.shared_with, own.sandbox.exposed, own.sandbox.stack) == (None, ("53/udp",), Stack.OWN)
        assert (shared.sandbox.shared_with, shared.sandbox.stack, none.endpoints) == ("aaaa", Stack.SHARED, ())
        assert endpoints.pending
        assert [(endpoint.ifname, endpoint.answer.link) for endpoint in endpoints.endpoints] == [("plug0", "vc1")]
        first, second = endpoints.before
        assert (first.answer.link, first.answer.wants_gateway, second.answer, str(second.ipv4)) == (None, False, None, "10.40.0.2/24")
        assert [(network_id, str(address), until) for network_id, address, until in everything.quarantined] == [("wwww", "10.60.0.9", 7.5)]

    # The copy is as it was, and only root's.
    copy = tmp_path / earlier_schema.copy_name(2)
    assert await content_of(copy) == before[0]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert earlier_schema.look(str(tmp_path)).schema == SCHEMA_VERSION


async def content_of(database):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [*connection.execute("SELECT * FROM meta"), *connection.execute("SELECT key, value, session FROM item ORDER BY key")]


async def test_look_at_a_state_names_what_can_not_be_read(tmp_path):
    assert earlier_schema.look(str(tmp_path)).schema is None
    made = await open_store(str(tmp_path))
    await made.commit(Transaction({"network/n": b'{"network": {}}', "unknown/n": b"1"}))
    (problem,) = earlier_schema.look(str(tmp_path)).problems
    assert problem.startswith("record network/n can't be read")
    await made.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "berth.db")) as connection, connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    (problem,) = earlier_schema.look(str(tmp_path)).problems
    assert "schema version 99, written by a newer berth" in problem


async def test_networks_of_the_first_version_are_read(tmp_path):
    """A record as 0.1.0 wrote it: pools by family, all options in one place."""
    old = (
        b'{"network":{"id":"n","name":"front","driver":"bridge","bridge":{"bridge_name":"br-n","bridge_mac":"02:42:00:00:00:01",'
        b'"mtu":1400,"icc":false,"ttl":9,"forward":[["corp.test",["10.0.0.53"]]]},"internal":false,"ipv4":true,"ipv6":false,'
        b'"pool4":{"subnet":"10.1.0.0/16","ip_range":null,"gateway":"10.1.0.1","auxiliary":[]},"pool6":null,"options":[["icc","false"]],'
        b'"labels":[],"owner":null,"created":1.0},"pending":false}'
    )
    made = await open_store(str(tmp_path))
    await made.commit(Transaction({"network/n": old, "rest/n/10.1.0.9": b"2.0"}))
    await made.close()
    with sqlite3.connect(tmp_path / "berth.db") as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    connection.close()
    for _ in range(2):
        made = await open_store(str(tmp_path))
        everything = await Records(made, "boot").load()
        (record,) = everything.networks
        network = record.network
        assert (network.common.mtu, network.common.ttl, network.common.forward) == (1400, 9, (("corp.test", ("10.0.0.53",)),))
        assert (network.bridge.icc, network.bridge.bridge_name, str(network.pools[0].gateway)) == (False, "br-n", "10.1.0.1")
        await made.close()
