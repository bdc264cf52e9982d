"""What the store in memory does beyond the contract of all stores, which tests/loop/test_store.py holds it to."""

import asyncio

import pytest

from netcore.store.protocol import Change, Compacted, CompareFailed, Item, Transaction
from tests.support.memory_store import MemoryStore


async def test_transactions_and_sessions():
    store = MemoryStore()
    first = await store.commit(Transaction({"a": b"1", "b": b"1"}, session="boot"))
    with pytest.raises(CompareFailed, match="a was changed by somebody else"):
        await store.commit(Transaction({"a": b"2"}, {"a": 0}))
    second = await store.commit(Transaction({"a": b"2", "absent": None}, {"a": first, "absent": 0}))
    assert (await store.load()).items == {"a": Item(b"2", second), "b": Item(b"1", first, "boot")}
    await store.end_session("boot")
    assert [*(await store.load()).items] == ["a"]
    await store.probe()
    await store.close()


async def test_watches_see_every_change_once():
    store = MemoryStore()
    await store.commit(Transaction({"a": b"1"}))
    watches = [store.watch(revision) for revision in (0, 1)]
    assert await anext(watches[0]) == Change("a", b"1", 1)
    waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await store.commit(Transaction({"a": None, "b": b"2"}))
    assert [await task for task in waiting] == [Change("a", None, 2)] * 2
    assert [await anext(watch) for watch in watches] == [Change("b", b"2", 2)] * 2


async def test_a_snapshot_stays_as_it_was():
    store = MemoryStore()
    snapshot = await store.load()
    await store.commit(Transaction({"a": b"1"}))
    assert snapshot.items == {}


async def test_only_the_last_changes_are_remembered():
    store = MemoryStore(history=2)
    for number in range(4):
        await store.commit(Transaction({f"key{number}": b""}))
    with pytest.raises(Compacted, match="after revision 1"):
        await anext(store.watch(1))
    assert (await anext(store.watch(2))).key == "key2"
