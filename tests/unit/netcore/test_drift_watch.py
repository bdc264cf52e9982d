"""When what is watched for drift has its turn."""

import asyncio
from types import SimpleNamespace

from netcore import limits
from netcore.controller.drift.rounds import Rounds
from netcore.controller.drift.watch import DriftWatch
from netcore.plan.drift import TABLES, Concern, Part

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


async def test_other_firewalls_are_looked_at_anew_in_their_turn_and_else_as_far_as_they_changed():
    loop, checked = asyncio.get_running_loop(), []
    watch = object.__new__(DriftWatch)
    watch._loop, watch._woken, watch._dirty, watch._others_at_work = loop, asyncio.Event(), set(), asyncio.Lock()
    told = SimpleNamespace(concerns=frozenset(), gone=frozenset(), is_incomplete=False, are_tables_foreign=True)

    async def check(*, anew=False):
        checked.append(anew)

    async def read():
        return told

    async def compare():
        pass

    watch._others, watch._begin_comparisons = check, compare
    watch._sources = SimpleNamespace(follow_again=lambda _: None, read=read)
    watch._rounds = Rounds(lambda: [TABLES], loop.time() - limits.DRIFT_INTERVAL)
    watch._woken.set()
    following = loop.create_task(watch._follow())
    async with asyncio.timeout(20):
        while len(checked) < 2:
            await asyncio.sleep(0.01)
    following.cancel()
    assert checked == [True, False]
