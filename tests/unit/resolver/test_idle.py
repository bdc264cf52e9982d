"""When an idle daemon exits: counted in questions whether it is busy."""

import asyncio

from resolver.daemon.idle import wait_until_idle


async def test_exits_after_a_quiet_time_that_starts_anew_with_everything_that_is_busy():
    answers = iter([False, False, True, False, False, False])
    asked = []

    def is_busy():
        asked.append(next(answers))
        return asked[-1]

    assert await wait_until_idle(asyncio.Event(), is_busy, quiet_for=0.003, poll=0.001) is True
    assert asked == [False, False, True, False, False, False]


async def test_is_told_to_stop():
    stop = asyncio.Event()

    def is_busy():
        stop.set()
        return False

    assert await wait_until_idle(stop, is_busy, quiet_for=1000, poll=0.001) is False
