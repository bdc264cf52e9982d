"""What a sandbox follows: how it is written, and the pids that files tell."""

import asyncio
import os
import select
import subprocess
import sys

import pytest

from netcore.errors import InvalidRequest
from netcore.kernel import process
from netcore.model import Sandbox
from resolver import limits
from resolver.daemon.following import files, programs
from resolver.daemon.following import follower as follower_module
from resolver.daemon.following.files import PidInFile, read_pid
from resolver.daemon.following.follower import Follower
from resolver.daemon.following.path_changes import PathChanges
from resolver.daemon.following.protocol import CannotTell
from resolver.daemon.following.source_text import Kind, Source, parse


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("podman:web", Kind.PODMAN, "web"),
        ("docker:shop_web.1", Kind.DOCKER, "shop_web.1"),
        ("containerd:k8s.io/4f2a", Kind.CONTAINERD, "k8s.io/4f2a"),
        ("systemd:web.service", Kind.SYSTEMD, "web.service"),
        ("systemd:web", Kind.SYSTEMD, "web.service"),
        ("systemd:web@1.5", Kind.SYSTEMD, "web@1.5.service"),
        ("machine:box", Kind.MACHINE, "box"),
        ("pidfile:/run/a:b.pid", Kind.PIDFILE, "/run/a:b.pid"),
    ],
)
def test_what_is_read(text, kind, name):
    assert parse(text) == Source(kind, name)
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("web", "is not one of podman:CONTAINER"),
        ("lxc:web", "is not one of podman:CONTAINER"),
        ("podman:", "a name is missing"),
        ("podman:--all", "begins with a dash"),
        ("docker:a/b", "the name of a container begins with a letter or digit"),
        ("docker:web?all=1", "the name of a container"),
        ("podman:a b", "the name of a container"),
        ("podman:é", "the name of a container"),
        ("docker:a\nb", "must be one line"),
        ("pidfile:run/x", "the path must be absolute"),
        ("containerd:web", "give containerd's namespace"),
        ("containerd:default/../x", "give containerd's namespace"),
        ("containerd:../x", "give containerd's namespace"),
        ("machine:../x", "there is a slash in it"),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(InvalidRequest, match=reason):
        parse(text)


def test_pids_in_files():
    assert [read_pid(text) for text in ("4711\n", " 7 main", "", "\n", "0", "-1", "x", "4194305")] == [
        4711,
        7,
        None,
        None,
        None,
        None,
        None,
        None,
    ]


async def run_blocking(body):
    return body()


async def test_a_process_that_started_after_its_file_was_written_is_another_one(tmp_path, monkeypatch):
    path = tmp_path / "pid"
    source = PidInFile(Source(Kind.PIDFILE, str(path)), lambda: None, run_blocking)
    assert await source.look() is None
    path.write_text(str(os.getpid()))
    assert await source.look() == os.getpid()
    before = files._booted() + process.start_time(os.getpid()) / os.sysconf("SC_CLK_TCK") - 10
    os.utime(path, (before, before))
    assert await source.look() is None
    # Older than the boot: in a file system that outlives it, it is another's; elsewhere the clock was set meanwhile.
    os.utime(path, (before - 86_400 * 3650, before - 86_400 * 3650))
    monkeypatch.setattr(files, "_is_in_memory", lambda path: False)
    assert await source.look() is None
    monkeypatch.setattr(files, "_is_in_memory", lambda path: True)
    assert await source.look() == os.getpid()
    path.write_text("4194304")
    assert await source.look() is None
    await source.close()


async def test_changes_on_the_way_to_a_file_are_told(tmp_path):
    changed = asyncio.Event()
    changes = PathChanges(str(tmp_path / "a/b/pid"), changed.set)

    async def told_after(change):
        changed.clear()
        change()
        await asyncio.wait_for(changed.wait(), 30)

    await told_after((tmp_path / "a").mkdir)
    await told_after((tmp_path / "a/b").mkdir)
    await told_after(lambda: (tmp_path / "a/b/pid").write_text("1"))
    await told_after(lambda: (tmp_path / "a/b/pid").write_text("2"))
    # As most programs do it: a new file in the place of the old one.
    (tmp_path / "new").write_text("3")
    await told_after(lambda: (tmp_path / "new").rename(tmp_path / "a/b/pid"))
    await told_after(lambda: (tmp_path / "a/b/pid").write_text("4"))
    await told_after((tmp_path / "a/b/pid").unlink)
    changes.close()


def test_file_systems_in_memory_are_told_apart():
    assert files._is_in_memory("/proc") is False
    if os.path.ismount("/dev/shm"):
        assert files._is_in_memory("/dev/shm") is True


ASKS = """
import asyncio, sys
from resolver.daemon.following import programs
async def main():
    started = await programs._start("sleep", "300")
    print(started.pid, flush=True)
    await started.wait()
asyncio.run(main())
"""


def test_a_program_that_is_asked_ends_with_a_daemon_that_is_killed():
    daemon = subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE, text=True)
    pidfd = os.pidfd_open(int(daemon.stdout.readline()))
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    with select.epoll() as ended:
        ended.register(pidfd, select.EPOLLIN)
        assert ended.poll(30)
    os.close(pidfd)


async def test_what_a_program_says_is_told():
    assert await programs.run("sh", "-c", "echo 7; echo first >&2; echo no such thing >&2; exit 3") == (3, "7\n", "no such thing")
    with pytest.raises(CannotTell, match="no-such-program is not installed"):
        await programs.run("no-such-program")


class Asked:
    """A source that tells the pids *pids*, one after the other, and the last one for ever."""

    def __init__(self, *pids):
        self.pids = [*pids]
        self.looks = 0

    def __call__(self, on_change):
        self.on_change = on_change
        return self

    async def look(self):
        self.looks += 1
        return self.pids.pop(0) if len(self.pids) > 1 else self.pids[0]

    async def close(self): ...


def follower(source, waits):
    async def never(*_):
        raise AssertionError("a process in the host's namespace is never adopted")

    return Follower("s" * 64, source, sandbox=lambda: waits, move=never, note_leader=never, run_blocking=run_blocking)


async def test_a_process_in_the_hosts_namespace_is_looked_at_without_asking_its_source_again(monkeypatch):
    monkeypatch.setattr(limits, "FOLLOW_HOST_NAMESPACE", (0.001, 0.002))
    found, find, enough = [], follower_module._find, asyncio.Event()

    def counted(pid):
        found.append(pid)
        if len(found) >= 5:
            enough.set()
        return find(pid)

    monkeypatch.setattr(follower_module, "_find", counted)
    waits = Sandbox(id="s" * 64, name="f", hostname="f", netns_path="/run/netns/berth-f", boot_id="b", follows="podman:f")
    asked = Asked(os.getpid())
    made = follower(asked, waits)
    await asyncio.wait_for(enough.wait(), 30)
    assert asked.looks == 1
    # Told of a change, it asks again.
    enough.clear()
    found.clear()
    asked.on_change()
    await asyncio.wait_for(enough.wait(), 30)
    assert asked.looks == 2
    # It has been there for a while.
    assert made.problem == f"process {os.getpid()} is in the host's network namespace, which is never adopted; start it with one of its own"
    await made.close()
