"""One burst, in the lab: what is read from standard input says of what; prints the figures, or why there are none, as JSON.

Every way is a coroutine that starts one command and waits until nothing of it is left; it returns the time that the command printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from benchmarks.report import summary
from resolver.client import Berth, BerthError
from resolver.client.shapes import EndpointBody, NetworkBody, SandboxBody

NETWORK = "bursts"
PATIENCE = 60.0
"""Seconds that one command may take."""
BAD = 0.05
"""What share of the commands may fail; they have no figures, and are counted."""
Once = Callable[[], Awaitable[int]]


class Failed(Exception):
    """A command did not do what it should; the text says why."""


async def words_run(words: Sequence[str]) -> int:
    """Run *words* and return what they print."""
    process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        printed, complaints = await process.communicate()
    except BaseException:
        process.kill()
        raise
    return time_of(process.returncode, printed, complaints)


def time_of(code: int | None, printed: bytes, complaints: bytes) -> int:
    """Return the time that a command printed which ended with *code*."""
    if code or not printed.strip().isdigit():
        lines = (complaints or printed).decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise Failed(f"ended with {code}: {lines[-1][-300:]}")
    return int(printed)


async def bubblewrap_run(first: str) -> int:
    """Run *first* by bubblewrap, held back until slirp4netns has made its network ready; end slirp4netns with it."""
    info, info_there = os.pipe()
    held, released = os.pipe()
    ready, ready_there = os.pipe()
    started: list[asyncio.subprocess.Process] = []
    try:
        held_words = ("--unshare-net", "--info-fd", str(info_there), "--block-fd", str(held), first)
        command = await asyncio.create_subprocess_exec(
            "bwrap", "--dev-bind", "/", "/", *held_words, pass_fds=(info_there, held), stdout=PIPE, stderr=PIPE
        )
        started.append(command)
        os.close(info_there)
        info_there = -1
        told = b""
        while part := await part_of(info):
            told += part
        if not told:
            raise Failed(f"bubblewrap: {(await command.communicate())[1].decode().strip()}")
        words = ("slirp4netns", "--configure", "--ready-fd", str(ready_there), str(json.loads(told)["child-pid"]), "tap0")
        network = await asyncio.create_subprocess_exec(*words, pass_fds=(ready_there,), stdout=DEVNULL, stderr=PIPE)
        started.append(network)
        os.close(ready_there)
        ready_there = -1
        # Nothing can be read if it has ended: what waits for it must not wait for ever.
        if not await part_of(ready):
            raise Failed(f"slirp4netns: {(await network.communicate())[1].decode().strip()[-300:]}")
        os.write(released, b"1")
        printed, complaints = await command.communicate()
        network.terminate()
        await network.wait()
        return time_of(command.returncode, printed, complaints)
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
        for descriptor in (info, info_there, held, released, ready, ready_there):
            if descriptor >= 0:
                os.close(descriptor)


async def part_of(pipe: int) -> bytes:
    """Return what can be read from *pipe* as soon as something can, b"" at its end."""
    loop = asyncio.get_running_loop()
    can_be_read = asyncio.Event()
    loop.add_reader(pipe, can_be_read.set)
    try:
        await can_be_read.wait()
    finally:
        loop.remove_reader(pipe)
    return os.read(pipe, 4096)


async def by_requests(berth: Berth, first: str) -> int:
    """Have a sandbox by one request, run *first* in its network namespace, remove it by another one."""
    body = SandboxBody(name=f"burst-{secrets.token_hex(4)}", networks=[EndpointBody(network=NETWORK)])
    sandbox = await berth.sandboxes.create_sandbox(body)
    try:
        return await words_run(["nsenter", f"--net={sandbox.netns}", first])
    finally:
        await berth.sandboxes.remove_sandbox(sandbox.id)


async def by_program(berth: Berth, first: str) -> int:
    """Run *first* in a sandbox of a program, as docs/programs.md has it."""
    async with berth.sandbox(networks=[NETWORK]) as sandbox:
        result = await sandbox.run([first])
    return time_of(result.exit_code, result.stdout, result.stderr)


async def prepared(berth: Berth, spare: int) -> None:
    """Make the network, and return when *spare* namespaces are ready."""
    await berth.networks.create_network(NetworkBody(name=NETWORK))
    while True:
        found = re.search(r"^berth_spare_namespaces (.*)$", await berth.daemon.show_metrics(), re.MULTILINE)
        if (float(found[1]) if found else 0.0) == spare:
            return
        await asyncio.sleep(0.02)


def processor_seconds() -> float:
    """Return the processor time of this row: of its control group, and of the one that Docker makes for containers (cgroups(7), cpu.stat)."""
    with open("/proc/self/cgroup") as file:
        own = next(line for line in file.read().splitlines() if line.startswith("0::"))[3:]
    used = 0
    for path in (f"/sys/fs/cgroup{own}/cpu.stat", "/sys/fs/cgroup/docker/cpu.stat"):
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            used += int(file.readline().split()[1])
    return used / 1e6


async def burst(once: Once, count: int, at_once: int, limit: float) -> dict[str, object]:
    """Return figures of *count* commands, *at_once* at a time; Failed if too many fail, or after *limit* seconds."""
    samples: list[tuple[float, float]] = []
    failures: list[str] = []
    left = iter(range(count))

    async def hand() -> None:
        for _ in left:
            begin = time.monotonic_ns()
            try:
                first = await asyncio.wait_for(once(), PATIENCE)
            except TimeoutError as error:
                raise Failed(f"one command has not ended after {PATIENCE:g} s, {len(samples)} have") from error
            except Failed as error:
                failures.append(str(error))
                if len(failures) > BAD * count:
                    raise Failed(f"{len(failures)} commands failed, {len(samples)} did not; the last one {error}") from error
                continue
            samples.append(((first - begin) / 1e6, (time.monotonic_ns() - begin) / 1e6))

    for attempt in range(3):
        try:
            await asyncio.wait_for(once(), PATIENCE)
            break
        except Failed:
            if attempt == 2:
                raise
    began, used = time.perf_counter(), processor_seconds()
    hands = asyncio.gather(*(hand() for _ in range(at_once)))
    try:
        await asyncio.wait_for(hands, limit)
    except TimeoutError as error:
        raise Failed(f"{len(samples)} of {count} have ended after {limit:g} s") from error
    took = time.perf_counter() - began
    return {
        **{f"first {key}": value for key, value in _figures([first for first, _ in samples]).items()},
        **{f"gone {key}": value for key, value in _figures([gone for _, gone in samples]).items()},
        "all": took, "processor": (processor_seconds() - used) * 1000 / count, "failed": len(failures), "failures": sorted(set(failures))[:3],
    }  # fmt: skip


def _figures(samples: list[float]) -> dict[str, float]:
    return {"median": summary(samples)["median"], "p99": sorted(samples)[min(len(samples) - 1, int(len(samples) * 0.99))]}


async def measured(asked: dict) -> dict[str, object]:
    """Return the figures of what is *asked* for: *way*, *words*, *first*, *spare* (None: without berth), *count*, *at_once*, *limit*."""
    first: str = asked["first"]
    async with AsyncExitStack() as stack:
        ways: dict[str, Once] = {"words": lambda: words_run(asked["words"]), "bubblewrap": lambda: bubblewrap_run(first)}
        if asked["spare"] is not None:
            berth = await stack.enter_async_context(Berth.connect())
            await asyncio.wait_for(prepared(berth, asked["spare"]), PATIENCE)
            ways |= {"requests": lambda: by_requests(berth, first), "program": lambda: by_program(berth, first)}
        return await burst(ways[asked["way"]], asked["count"], asked["at_once"], asked["limit"])


def main() -> None:
    asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    try:
        answer: dict[str, object] = {"figures": asyncio.run(measured(json.load(sys.stdin)))}
    except (Failed, BerthError, OSError, ValueError, TimeoutError) as error:
        answer = {"failed": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    # What hangs in a thread is not waited for: the lab ends it.
    os._exit(0)


if __name__ == "__main__":
    main()
