"""Records that can't be read are set aside one by one; a removal is final once its intent is recorded."""

import asyncio
import json
from dataclasses import replace

import pytest

from netcore import limits
from netcore.errors import Unavailable
from netcore.model import Sandbox
from netcore.store.codec import Undecodable, decode, encode
from netcore.store.protocol import Transaction
from netcore.store.records import EndpointsRecord, NetworkRecord, Records, SandboxRecord
from tests.support.memory_store import MemoryStore
from tests.support.networks import bridge_network
from tests.support.waiting import until

SANDBOX = Sandbox(id="s" * 64, name="web", hostname="web", netns_path="/run/netns/web", boot_id="boot")
OTHER = replace(SANDBOX, id="t" * 64, name="db")
NETWORK = bridge_network("front")


class StubbornStore(MemoryStore):
    """*full*: it takes nothing."""

    full = False

    async def commit(self, transaction):
        if self.full:
            raise Unavailable("the state", "disk full")
        return await super().commit(transaction)


async def filled():
    store = StubbornStore()
    records = Records(store, "boot")
    await records.put_network(NETWORK)
    for sandbox in (SANDBOX, OTHER):
        await records.put_all(sandbox, ())
    return store, records


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b'{"sandbox": null}', b'{"sandbox": {}}', b'{"network": 3, "endpoints": 3}',
     b"[" * 5000],
)  # fmt: skip
@pytest.mark.parametrize(
    "key", [f"network/{NETWORK.id}", f"sandbox/{SANDBOX.id}", f"endpoints/{SANDBOX.id}", "rest/n/10.0.0.1", "sysctl/x"]
)
async def test_a_row_that_can_not_be_read_is_set_aside_and_the_others_are_there(key, damage):
    if key.startswith("rest/") and damage == b"7":
        # That is a time.
        damage = b"true"
    store, _ = await filled()
    await store.commit(Transaction({key: damage}))
    everything = await Records(store, "boot").load()
    (aside,) = everything.unreadable
    assert aside.key == key
    assert aside.reason
    kind = key.partition("/")[0]
    assert aside.kind == {"network": "network", "sandbox": "sandbox", "endpoints": "sandbox"}.get(kind, "record")
    assert len(everything.networks) == (kind != "network")
    assert {record.sandbox.name for record, _ in everything.sandboxes} == ({"db"} if kind in ("sandbox", "endpoints") else {"web", "db"})


@pytest.mark.parametrize("field", ["name", "netns_path", "labels", "ports", "created", "adopted", "stack", "dns", "owner"])
@pytest.mark.parametrize("value", [{"a": 1}, [5], 5, "x"])
async def test_a_field_of_another_type_is_no_record(field, value):
    record = json.loads(encode(SandboxRecord(sandbox=SANDBOX)))
    if type(record["sandbox"][field]) is type(value) or (field == "created" and value == 5):
        return
    record["sandbox"][field] = value
    with pytest.raises(Undecodable):
        decode(SandboxRecord, json.dumps(record).encode())


async def test_what_can_be_made_out_of_a_damaged_row_is_known():
    store, _ = await filled()
    record = json.loads(encode(SandboxRecord(sandbox=SANDBOX)))
    del record["sandbox"]["hostname"]
    await store.commit(Transaction({f"sandbox/{SANDBOX.id}": json.dumps(record).encode()}))
    records = Records(store, "boot")
    (aside,) = (await records.load()).unreadable
    assert (aside.kind, aside.name, aside.path, aside.id) == ("sandbox", "web", "/run/netns/web", SANDBOX.id)
    await records.drop_unreadable(aside)
    assert not [key for key in (await store.load()).items if SANDBOX.id in key]


async def test_an_id_that_is_not_that_of_the_key_is_refused():
    store, _ = await filled()
    await store.commit(Transaction({f"network/{'x' * 64}": encode(NetworkRecord(network=NETWORK))}))
    (aside,) = (await Records(store, "boot").load()).unreadable
    assert aside.id == "x" * 64


async def test_the_end_of_a_removal_is_written_when_there_is_room():
    store, records = await filled()
    store.full = True
    await records.drop_sandbox(SANDBOX.id)
    await records.drop_network(NETWORK.id)
    with pytest.raises(Unavailable):
        await records.put_sandbox(OTHER)
    store.full = False
    await records.writes.settle()
    assert set((await store.load()).items) == {f"sandbox/{OTHER.id}", f"endpoints/{OTHER.id}"}


async def test_a_later_write_of_the_same_record_is_not_overwritten_by_an_overdue_one():
    store, records = await filled()
    store.full = True
    await records.put_back(SANDBOX, ())
    store.full = False
    await records.put_all(replace(SANDBOX, name="new"), ())
    await records.writes.settle()
    assert decode(SandboxRecord, (await store.load()).items[f"sandbox/{SANDBOX.id}"].value).sandbox.name == "new"


async def test_the_end_of_a_removal_is_written_with_the_next_commit_or_soon_by_itself(monkeypatch):
    store, records = await filled()
    await records.drop_sandbox(SANDBOX.id)
    await records.drop_network(NETWORK.id)
    assert len((await store.load()).items) == 5
    before = (await store.load()).revision
    await records.put_all(replace(OTHER, name="new"), ())
    after = await store.load()
    assert (set(after.items), after.revision) == ({f"sandbox/{OTHER.id}", f"endpoints/{OTHER.id}"}, before + 1)
    monkeypatch.setattr(limits, "RECORD_REMOVALS_AFTER", 0.0)
    await records.drop_sandbox(OTHER.id)
    await until(lambda: not store._items)
    await records.writes.close()


async def test_what_is_left_to_be_written_at_the_end_is_written():
    store, records = await filled()
    await records.drop_sandbox(SANDBOX.id)
    await records.writes.close()
    assert f"sandbox/{SANDBOX.id}" not in (await store.load()).items


async def test_a_write_that_comes_behind_one_that_is_late_stays():
    store, records = await filled()
    await records.put_disconnected(SANDBOX, ())
    await records.put_endpoints(SANDBOX, (), pending=True)
    await records.writes.settle()
    assert decode(EndpointsRecord, (await store.load()).items[f"endpoints/{SANDBOX.id}"].value).pending


async def test_what_became_late_during_a_commit_of_the_same_key_is_written_after_it():
    store, records = await filled()
    begun, go_on = asyncio.Event(), asyncio.Event()
    commit = store.commit

    async def slow(transaction):
        begun.set()
        await go_on.wait()
        return await commit(transaction)

    store.commit = slow
    task = asyncio.create_task(records.put_endpoints(SANDBOX, (), pending=True))
    await begun.wait()
    await records.drop_sandbox(SANDBOX.id)
    go_on.set()
    await task
    assert f"sandbox/{SANDBOX.id}" in (await store.load()).items
    await records.writes.settle()
    assert {key for key in (await store.load()).items if SANDBOX.id in key} == set()


async def test_a_write_that_fails_leaves_what_was_late_for_the_next_one():
    store, records = await filled()
    await records.drop_network(NETWORK.id)
    store.full = True
    with pytest.raises(Unavailable):
        await records.put_network(NETWORK)
    store.full = False
    # The network's own write came to nothing, so what was to be written before it still is.
    await records.writes.settle()
    assert f"network/{NETWORK.id}" not in (await store.load()).items
    assert not records.writes.is_overdue


@pytest.mark.parametrize("written", [SANDBOX, OTHER], ids=["the same key", "another key"])
async def test_what_failed_comes_later_unless_a_commit_behind_it_wrote_the_same_key(written):
    store, records = await filled()
    await records.put_all(SANDBOX, (), pending=True)
    await records.put_disconnected(SANDBOX, ())
    gates = [asyncio.Event(), asyncio.Event()]
    commit, calls = store.commit, iter(gates)

    async def in_turn(transaction):
        gate = next(calls)
        await gate.wait()
        if gate is gates[0]:
            raise Unavailable("the state", "disk full")
        return await commit(transaction)

    store.commit = in_turn
    # It takes along what was late.
    first = asyncio.create_task(records.put_network(NETWORK))
    await asyncio.sleep(0)
    second = asyncio.create_task(records.put_endpoints(written, (), pending=True))
    await asyncio.sleep(0)
    gates[0].set()
    with pytest.raises(Unavailable):
        await first
    gates[1].set()
    await second
    store.commit = commit
    await records.writes.settle()
    assert decode(EndpointsRecord, (await store.load()).items[f"endpoints/{SANDBOX.id}"].value).pending == (written is SANDBOX)


class Queue:
    """A store that writes one transaction after the other, each when it is told to, and refuses those that it is told to refuse."""

    def __init__(self, store):
        self.write, self.waiting = store.commit, []
        store.commit = self.commit

    async def commit(self, transaction):
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        if await turn:
            return await self.write(transaction)
        raise Unavailable("the state", "disk full")

    async def next(self, *, works):
        self.waiting.pop(0).set_result(works)
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.mark.parametrize("newer_works", [True, False])
async def test_no_commit_takes_along_what_is_older_than_a_value_that_is_being_written(newer_works):
    store, records = await filled()
    await records.put_all(SANDBOX, (), pending=True)
    await records.put_disconnected(SANDBOX, ())
    queue = Queue(store)

    async def begin(work):
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        return task

    takes_along = await begin(records.put_network(NETWORK))
    newer = await begin(records.put_endpoints(SANDBOX, (), pending=True))
    await queue.next(works=False)
    other = await begin(records.put_endpoints(OTHER, ()))
    settled = await begin(records.writes.settle())
    await queue.next(works=newer_works)
    while not settled.done():
        await queue.next(works=True)
    results = await asyncio.gather(takes_along, newer, other, settled, return_exceptions=True)
    assert [isinstance(result, Unavailable) for result in results] == [True, not newer_works, False, False]
    store.commit = queue.write
    assert decode(EndpointsRecord, (await store.load()).items[f"endpoints/{SANDBOX.id}"].value).pending == newer_works
    assert not records.writes.is_overdue


async def test_who_waits_until_all_is_written_does_not_wait_for_what_comes_meanwhile():
    store, records = await filled()
    queue = Queue(store)
    await records.drop_sandbox(SANDBOX.id)
    settled = asyncio.create_task(records.writes.settle())
    await asyncio.sleep(0)
    await records.drop_sandbox(OTHER.id)
    await queue.next(works=True)
    assert settled.done()
    assert not queue.waiting
    store.commit = queue.write
    await records.writes.close()


async def test_of_two_values_that_could_not_be_written_the_newer_one_is_written_later():
    store, records = await filled()
    gate, commit = asyncio.Event(), store.commit

    async def refused(transaction):
        await gate.wait()
        raise Unavailable("the state", "disk full")

    store.commit = refused
    tasks = []
    for name in ("older", "newer"):
        tasks.append(asyncio.create_task(records.put_back(replace(SANDBOX, name=name), ())))
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    store.commit = commit
    await records.writes.settle()
    assert decode(SandboxRecord, (await store.load()).items[f"sandbox/{SANDBOX.id}"].value).sandbox.name == "newer"


async def test_what_was_late_is_written_though_the_commit_that_took_it_along_was_cancelled():
    store, records = await filled()
    await records.drop_sandbox(SANDBOX.id)
    commit, never = store.commit, asyncio.Event()
    store.commit = lambda _: never.wait()
    task = asyncio.create_task(records.put_network(NETWORK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.commit = commit
    await records.writes.settle()
    assert f"sandbox/{SANDBOX.id}" not in (await store.load()).items


async def test_who_waits_until_all_is_written_waits_for_what_is_being_written():
    store, records = await filled()
    gate, commit = asyncio.Event(), store.commit

    async def slow(transaction):
        await gate.wait()
        return await commit(transaction)

    store.commit = slow
    await records.drop_sandbox(SANDBOX.id)
    first = asyncio.create_task(records.put_network(NETWORK))
    await asyncio.sleep(0)
    settled = asyncio.create_task(records.writes.settle())
    await asyncio.sleep(0)
    assert not settled.done()
    gate.set()
    await settled
    await first
    assert f"sandbox/{SANDBOX.id}" not in (await store.load()).items


async def test_a_network_whose_removal_was_refused_outlives_the_boot():
    store, records = await filled()
    await records.put_network(NETWORK, pending=True)
    await records.put_network_back(NETWORK)
    everything = await Records(store, "another boot").load()
    assert [(record.network.name, record.pending) for record in everything.networks] == [("front", False)]
    assert not everything.sandboxes


async def test_records_of_earlier_versions_have_no_field_gone():
    assert decode(EndpointsRecord, b'{"endpoints": []}').gone == ()


def test_number_that_is_too_large_is_no_time():
    with pytest.raises(Undecodable):
        decode(float, b"9" * 400)
