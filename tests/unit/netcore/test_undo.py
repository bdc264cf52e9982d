"""Work that is done while a block runs: the block ends when it has ended, whatever fails or is cancelled."""

import asyncio

import pytest

from netcore.controller.undo import meanwhile
from tests.support.waiting import until


class Work:
    """What is done meanwhile. It ends when *gate* is set, with *failure* if there is one."""

    def __init__(self, failure=None):
        self.gate, self.failure, self.has_begun, self.has_ended = asyncio.Event(), failure, False, False

    async def run(self):
        self.has_begun = True
        await self.gate.wait()
        self.has_ended = True
        if self.failure is not None:
            raise self.failure


async def block(work, body=None):
    async with meanwhile(work.run()):
        assert work.has_begun
        if body is not None:
            raise body


async def begun(work, body=None):
    """Return a task whose block is done, but for the work."""
    task = asyncio.create_task(block(work, body))
    await until(lambda: work.has_begun)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_the_block_ends_when_the_work_has_ended():
    work = Work()
    task = await begun(work)
    work.gate.set()
    await task
    assert work.has_ended


@pytest.mark.parametrize(
    ("of_work", "of_block", "raised"),
    [(ValueError("w"), None, "w"), (None, ValueError("b"), "b"), (ValueError("w"), ValueError("b"), "b")],
    ids=["work", "block", "both"],
)
async def test_a_failure_is_raised_when_the_work_has_ended(of_work, of_block, raised):
    work = Work(of_work)
    task = await begun(work, of_block)
    work.gate.set()
    with pytest.raises(ValueError, match=raised):
        await task
    assert work.has_ended


async def test_who_is_cancelled_while_waiting_waits_for_the_work_all_the_same():
    work = Work()
    task = await begun(work)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    work.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.has_ended
