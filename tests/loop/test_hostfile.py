"""The host's resolv.conf is followed whatever replaces it. Polling is off: each change has to be announced."""

import pytest

from resolver import limits
from resolver.daemon.hostfile import HostResolvConf
from tests.support.waiting import until


class Followed:
    """A file that is followed; `becomes` waits until a name server is in use, and was told."""

    def __init__(self, path):
        self.host = HostResolvConf(str(path))
        self.told = []

    async def start(self):
        self.host.follow(self.on_change)
        return self

    async def on_change(self):
        self.told.append(self.host.content.nameservers)

    async def becomes(self, *servers):
        await until(lambda: self.told and self.told[-1] == servers)
        assert self.host.content.nameservers == servers


@pytest.fixture
async def follow(monkeypatch):
    monkeypatch.setattr(limits, "RESOLV_CONF_POLL", 1000.0)
    made = []

    async def start(path):
        made.append(await Followed(path).start())
        return made[-1]

    yield start
    for followed in made:
        followed.host.close()


def put(path, *servers):
    path.write_text("".join(f"nameserver {server}\n" for server in servers))


async def test_file_that_is_written_replaced_and_removed(tmp_path, follow):
    path = tmp_path / "resolv.conf"
    followed = await follow(path)
    put(path, "10.0.0.1")
    await followed.becomes("10.0.0.1")
    put(path, "10.0.0.2")
    await followed.becomes("10.0.0.2")
    put(tmp_path / "new", "10.0.0.3")
    (tmp_path / "new").rename(path)
    await followed.becomes("10.0.0.3")
    # The one that took its place is followed as well.
    put(path, "10.0.0.4")
    await followed.becomes("10.0.0.4")
    path.unlink()
    await followed.becomes()


async def test_link_into_a_directory_that_is_made_later_removed_and_made_again(tmp_path, follow):
    path, directory = tmp_path / "etc/resolv.conf", tmp_path / "run/resolver"
    path.parent.mkdir()
    path.symlink_to(directory / "stub.conf")
    followed = await follow(path)
    for turn in range(1, 4):
        directory.mkdir(parents=True)
        put(directory / "stub.conf", f"10.0.{turn}.1")
        await followed.becomes(f"10.0.{turn}.1")
        put(directory / "stub.conf", f"10.0.{turn}.2")
        await followed.becomes(f"10.0.{turn}.2")
        (directory / "stub.conf").unlink()
        directory.rmdir()
        directory.parent.rmdir()
        await followed.becomes()


async def test_directory_that_another_is_renamed_over(tmp_path, follow):
    path, directory = tmp_path / "resolv.conf", tmp_path / "current"
    path.symlink_to("current/file")
    for name, server in (("current", "10.0.0.1"), ("next", "10.0.0.2")):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "file", server)
    followed = await follow(path)
    directory.rename(tmp_path / "old")
    (tmp_path / "next").rename(directory)
    await followed.becomes("10.0.0.2")
    put(directory / "file", "10.0.0.3")
    await followed.becomes("10.0.0.3")


async def test_links_on_the_way_that_are_repointed(tmp_path, follow):
    path = tmp_path / "resolv.conf"
    for number in (1, 2):
        (tmp_path / f"place{number}").mkdir()
        put(tmp_path / f"place{number}/file", f"10.0.0.{number}")
    (tmp_path / "place").symlink_to("place1")
    (tmp_path / "middle").symlink_to("place/file")
    path.symlink_to(tmp_path / "middle")
    followed = await follow(path)
    # A link to a directory.
    (tmp_path / "other").symlink_to("place2")
    (tmp_path / "other").rename(tmp_path / "place")
    await followed.becomes("10.0.0.2")
    put(tmp_path / "place2/file", "10.0.0.3")
    await followed.becomes("10.0.0.3")
    # A link to a link to the file.
    (tmp_path / "another").symlink_to("place1/file")
    (tmp_path / "another").rename(tmp_path / "middle")
    await followed.becomes("10.0.0.1")
    path.unlink()
    path.symlink_to("place2/file")
    await followed.becomes("10.0.0.3")


async def test_file_that_is_written_by_another_of_its_names(tmp_path, follow):
    path = tmp_path / "resolv.conf"
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "elsewhere/file", "10.0.0.1")
    path.hardlink_to(tmp_path / "elsewhere/file")
    followed = await follow(path)
    put(tmp_path / "elsewhere/file", "10.0.0.2")
    await followed.becomes("10.0.0.2")


async def test_what_is_not_announced_is_found_by_a_look(tmp_path, follow, monkeypatch):
    monkeypatch.setattr(limits, "RESOLV_CONF_POLL", 0.05)
    path = tmp_path / "resolv.conf"
    put(path, "10.0.0.1")
    followed = await follow(path)
    followed.host._loop.remove_reader(followed.host._descriptor)
    put(path, "10.0.0.2")
    await followed.becomes("10.0.0.2")


async def test_neighbours_of_the_file_wake_nobody(tmp_path, follow, monkeypatch):
    path = tmp_path / "resolv.conf"
    followed = await follow(path)
    looks = []
    monkeypatch.setattr(followed.host, "_look", lambda: looks.append(None))
    for number in range(20):
        (tmp_path / f"neighbour{number}").touch()
    followed.host._on_event()
    assert followed.host._timer is None
    path.touch()
    followed.host._on_event()
    assert followed.host._timer is not None
