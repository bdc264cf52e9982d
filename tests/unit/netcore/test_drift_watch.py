"""When what is watched for drift has its turn."""

import asyncio
from types import SimpleNamespace

from netcore.controller.drift.rounds import Rounds
from netcore.controller.drift.watch import DriftWatch
from netcore.plan.drift import Concern, Part

EVERYTHING = [Concern(Part.NETWORK, "n"), Concern(Part.SANDBOX, "s")]


async def test_turns_are_taken_though_something_comes_all_the_time():
    loop, taken = asyncio.get_running_loop(), []
    watch = object.__new__(DriftWatch)
    watch._loop, watch._woken, watch._dirty = loop, asyncio.Event(), set()
    watch._sources = SimpleNamespace(follow_again=taken.extend)
    watch._rounds = Rounds(lambda: EVERYTHING, loop.time())

    async def take_notices():
        # As after a flood: notifications were lost, and others are there again.
        watch._rounds.begin_anew(loop.time())
        watch._woken.set()

    async def compare():
        pass

    watch._take_notices, watch._begin_comparisons = take_notices, compare
    watch._woken.set()
    following = loop.create_task(watch._follow())
    async with asyncio.timeout(20):
        while not taken:
            await asyncio.sleep(0.01)
    following.cancel()
    assert taken[0] == EVERYTHING[0]
