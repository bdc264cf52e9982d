"""Owners: when a process ends, what it had is removed; real processes, no root."""

import asyncio
import gc
import os
import signal
import subprocess
from pathlib import Path

import pytest

from netcore.errors import NotFound
from netcore.model import Owner
from resolver.daemon.owners import Owners


async def run_blocking(body):
    return await asyncio.to_thread(body)


@pytest.fixture
async def owners():
    made = Owners(run_blocking)
    yield made
    await made.close()


@pytest.fixture
def process():
    started = subprocess.Popen(["sleep", "1000"])
    yield started
    started.kill()
    started.wait()


def descriptors():
    # What earlier tests have left goes now, and not between two looks.
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_owner_is_found_by_its_pid(owners, process):
    found = await owners.find(process.pid, os.getpid())
    assert found.pid == process.pid
    assert found == await owners.find(process.pid, os.getpid())
    assert await owners.find(None, os.getpid()) is None
    with pytest.raises(NotFound):
        await owners.find(1 << 30, os.getpid())


async def test_removal_runs_once_when_the_owner_ends(owners, process):
    ended: asyncio.Queue[Owner] = asyncio.Queue()
    proceed = asyncio.Event()
    codes = []

    async def remove(owner, exit_code):
        ended.put_nowait(owner)
        codes.append(exit_code)
        await proceed.wait()

    owner = await owners.find(process.pid, os.getpid())
    assert not owners.is_busy()
    for _ in range(2):
        await owners.watch(owner, remove)
    await owners.watch(None, remove)
    assert owners.is_busy()
    assert ended.empty()
    process.send_signal(signal.SIGKILL)
    assert await ended.get() == owner
    # What it had is being removed: that must not be cut short by an idle exit.
    assert owners.is_busy()
    assert codes[0]() == 137
    process.wait()
    if codes[0]() is None:
        print("this kernel does not tell the exit codes of others (before Linux 6.15)")
    else:
        assert codes[0]() == 137
    proceed.set()
    await owners.close()
    assert ended.empty()
    assert not owners.is_busy()


async def test_owner_that_has_ended_or_whose_pid_is_another_process_now_is_done_at_once(owners, process):
    ended = []

    async def remove(owner, exit_code):
        ended.append(owner)

    found = await owners.find(process.pid, os.getpid())
    for owner in (Owner(pid=found.pid, start_time=found.start_time - 1), Owner(pid=1 << 30, start_time=1)):
        await owners.watch(owner, remove)
        await owners.close()
        assert ended.pop() == owner
    assert not owners.is_busy()


async def test_close_keeps_what_living_owners_have_and_no_descriptor(owners, process):
    await asyncio.to_thread(lambda: None)
    before = descriptors()
    await owners.watch(await owners.find(process.pid, os.getpid()), None)
    assert descriptors() == before + 1
    await owners.close()
    assert descriptors() == before
    assert not owners.is_busy()
