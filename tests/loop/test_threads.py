"""Threads for what blocks: in order, no more than are needed, and nothing that was handed over is lost."""

import asyncio
import threading
import weakref

import pytest

from netcore.threads import Threads


async def running():
    """Return how many threads called `t` there are."""
    return sum(thread.name.startswith("t_") for thread in threading.enumerate())


@pytest.fixture
async def threads():
    made = Threads(3, "t")
    yield made
    await made.close()
    assert await running() == 0


async def test_an_answer_is_what_was_returned_or_raised(threads):
    assert await threads.hand_over(lambda: threading.current_thread().name) == "t_0"
    with pytest.raises(ZeroDivisionError):
        await threads.hand_over(lambda: 1 // 0)


async def test_there_are_as_many_threads_as_are_busy_at_once_and_no_more_than_the_most(threads):
    for _ in range(3):
        await threads.hand_over(int)
    assert await running() == 1
    going_on = threading.Event()
    waiting = [threads.hand_over(going_on.wait) for _ in range(5)]
    assert await running() == 3
    assert not any(answer.done() for answer in waiting)
    going_on.set()
    assert await asyncio.gather(*waiting) == [True] * 5


async def test_one_thread_keeps_the_order():
    single, came = Threads(1, "t"), []
    for number in range(100):
        single.hand_over(lambda number=number: came.append(number))
    await single.close()
    assert came == [*range(100)]


async def test_who_cancels_has_no_answer_but_it_is_carried_out(threads):
    going_on, came, problems = threading.Event(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    first = threads.hand_over(lambda: (going_on.wait(), came.append("done")))
    first.cancel()
    going_on.set()
    await threads.close()
    assert came == ["done"]
    assert first.cancelled()
    assert not problems


async def test_closed_ones_take_nothing_more(threads):
    came = []
    threads.hand_over(lambda: came.append(1))
    await threads.close()
    assert came == [1]
    with pytest.raises(RuntimeError):
        threads.hand_over(int)


async def test_idle_threads_hold_nothing_of_what_they_did(threads):
    class Body:
        def __call__(self):
            return None

    body = Body()
    known = weakref.ref(body)
    await threads.hand_over(body)
    del body
    for _ in range(100):
        if known() is None:
            break
        await asyncio.sleep(0.01)
    assert known() is None


def test_a_loop_that_has_ended_is_told_nothing():
    going_on, came = threading.Event(), []

    async def leave():
        Threads(1, "t").hand_over(lambda: (going_on.wait(), came.append("done")))

    asyncio.run(leave())
    (thread,) = [one for one in threading.enumerate() if one.name == "t_0"]
    going_on.set()
    thread.join(0.2)
    # It goes on, for nobody: the error of a loop that is closed would have ended it.
    assert came == ["done"]
    assert thread.is_alive()
