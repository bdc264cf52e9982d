"""What a sandbox follows: how it is written, and the pids that files tell."""

import os
import time

import pytest

from netcore.errors import InvalidRequest
from resolver.daemon.following.files import PidInFile, read_leader, read_pid
from resolver.daemon.following.path_changes import PathChanges
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
        ("docker:a/b", "there is a slash in it"),
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
    assert read_leader("# private data\nNAME=box\nLEADER=4711\nREALTIME=1\n") == 4711
    assert read_leader("NAME=box\n") is None


async def run_blocking(body):
    return body()


async def test_a_process_that_started_after_its_file_was_written_is_another_one(tmp_path):
    path = tmp_path / "pid"
    source = PidInFile(Source(Kind.PIDFILE, str(path)), lambda: None, run_blocking)
    assert await source.look() is None
    path.write_text(str(os.getpid()))
    assert await source.look() == os.getpid()
    os.utime(path, (time.time() - 86_400 * 365, time.time() - 86_400 * 365))
    assert await source.look() is None
    path.write_text("4194304")
    assert await source.look() is None
    await source.close()


async def test_changes_on_the_way_to_a_file_are_told(tmp_path):
    import asyncio

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
