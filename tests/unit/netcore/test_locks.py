"""Locks by key: who holds what, whatever is cancelled, and nothing stays behind."""

import asyncio

import pytest

from netcore.controller.locks import KeyedLocks


class Work:
    """A task that holds the locks of *keys* until it is let go."""

    def __init__(self, locks, *keys):
        self.is_inside, self.let_go = False, asyncio.Event()
        self.task = asyncio.create_task(self.hold(locks, keys))

    async def hold(self, locks, keys):
        async with locks.hold(keys):
            self.is_inside = True
            await self.let_go.wait()
        self.is_inside = False

    async def end(self):
        self.let_go.set()
        await self.task


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_needs_one_of_several_keys_waits_for_it_and_the_others_do_not():
    locks = KeyedLocks()
    first, second, third = Work(locks, "a", "b", "a"), Work(locks, "b", "c"), Work(locks, "d")
    await turns()
    assert [first.is_inside, second.is_inside, third.is_inside] == [True, False, True]
    await first.end()
    await turns()
    assert second.is_inside
    await second.end()
    await third.end()
    assert not locks._locks


async def test_two_that_need_the_same_keys_in_any_order_never_wait_for_each_other():
    locks = KeyedLocks()
    works = [Work(locks, *keys) for keys in ("ab", "ba", "bc", "ca", "abc")]
    for work in works:
        work.let_go.set()
    await asyncio.wait_for(asyncio.gather(*(work.task for work in works)), 5)
    assert not locks._locks


async def test_who_is_cancelled_while_waiting_holds_nothing():
    locks = KeyedLocks()
    first, second = Work(locks, "b"), Work(locks, "a", "b")
    await turns()
    second.task.cancel()
    await turns()
    third = Work(locks, "a")
    await turns()
    assert third.is_inside
    await first.end()
    await third.end()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    assert not locks._locks


async def test_a_failure_inside_releases_and_is_raised():
    locks = KeyedLocks()
    with pytest.raises(ValueError, match="x"):
        async with locks.hold(["a", "b"]):
            raise ValueError("x")
    assert not locks._locks
