"""Which commands are started again after their holder was killed, when, and how long a daemon stays for that."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from netcore.model import SandboxRequest
from resolver import limits
from resolver.daemon.lost_holders import LostHolders
from resolver.daemon.runs import Process, Run, Runs
from tests.support.memory_store import MemoryStore

ENDED = Run(
    id="a" * 64,
    request=SandboxRequest(name="web"),
    process=Process(command=("x",), restart="always"),
    created=0.0,
    started=100.0,
    ended=101.0,
)


class World:
    def __init__(self, tmp_path: Path):
        async def run_blocking(body):
            return body()

        self.now, self.started, self.pauses = 101.0, 0, []
        self.runs = Runs(MemoryStore(), tmp_path, run_blocking, lambda: self.now)
        self.lost = LostHolders(self.runs, self.start, lambda: self.now)

    def start(self):
        self.started += 1

    async def note(self, run, monkeypatch):
        """Tell of *run*; return the pause before it is due, None if it is not started again. Time passes at once."""
        await self.runs._put(run)
        loop, found = asyncio.get_running_loop(), []

        def call_later(seconds, call, *arguments):
            found.append(seconds)
            return loop.call_soon(call, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "get_running_loop", lambda: type("Loop", (), {"call_later": staticmethod(call_later)}))
            self.lost.note(run)
        return found[0] if found else None


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def test_it_is_due_after_a_pause_that_grows_and_counts_as_a_restart(world, monkeypatch):
    run = ENDED
    for count, pause in enumerate((0.1, 0.2, 0.4), 1):
        assert await world.note(run, monkeypatch) == pause
        assert world.lost.is_busy()
        await asyncio.sleep(0)
        assert (world.started, world.runs.is_due(run)) == (count, True)
        run = await world.runs.begin_again(run)
        assert (run.restarts, world.runs.is_due(run), world.lost.is_busy()) == (count, False, False)
        run = replace(run, ended=world.now)
    # One that has run for long begins anew.
    world.now += 60
    assert await world.note(run, monkeypatch) == 0.1


@pytest.mark.parametrize(
    ("process", "more"),
    [({"restart": "no"}, {}), ({"restart": "on-failure:2"}, {"restarts": 2}), ({"remove": True}, {}), ({}, {"stopped_by_user": True})],
)
async def test_who_is_not_started_again(world, monkeypatch, process, more):
    assert await world.note(replace(ENDED, process=replace(ENDED.process, **process), **more), monkeypatch) is None
    assert not world.lost.is_busy()


async def test_what_is_stopped_or_started_by_hand_meanwhile_is_left_alone(world, monkeypatch):
    await world.note(ENDED, monkeypatch)
    await world.runs.note_stop(ENDED)
    await asyncio.sleep(0)
    assert (world.started, world.lost.is_busy()) == (0, False)
    await world.note(replace(ENDED, id="b" * 64), monkeypatch)
    await world.runs.begin_again(replace(ENDED, id="b" * 64))
    await asyncio.sleep(0)
    assert (world.started, world.lost.is_busy()) == (0, False)


async def test_what_does_not_start_keeps_no_daemon(world, monkeypatch):
    await world.note(ENDED, monkeypatch)
    await asyncio.sleep(0)
    assert world.lost.is_busy()
    world.now += limits.HOLDER_GRACE
    assert not world.lost.is_busy()
