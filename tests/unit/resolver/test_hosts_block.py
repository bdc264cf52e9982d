"""The names of sandboxes in the hosts file: which lines, and when they are written."""

import asyncio

from resolver.daemon.config import DaemonConfig
from resolver.daemon.host_names import HostNames
from resolver.daemon.hosts_block import HostsBlock
from resolver.edited_block import with_block, without_block
from tests.unit.resolver.test_host_names import BACK, FRONT, SECRET


async def directly(body):
    return body()


def lines(**config):
    names = HostNames(DaemonConfig(**config))
    names.change((), [FRONT, BACK, SECRET])
    return names.hosts_lines()


def test_addresses_have_their_names_those_with_the_network_first():
    assert lines() == [
        "10.1.0.2\tweb.front.berth.internal www.front.berth.internal",
        "10.1.0.3\ttwo.parts.front.berth.internal",
        "10.2.0.2\tdb.back.berth.internal web.back.berth.internal front.back.berth.internal",
        "10.2.0.9\tweb.front.back.berth.internal",
    ]


def test_short_names_are_of_the_first_network_that_has_them():
    (first, _, second, *_) = lines(host_short_names=True)
    assert first.split()[1:] == ["web.front.berth.internal", "www.front.berth.internal", "www.berth.internal"]
    assert "web.berth.internal" in second.split()


async def test_lines_are_written_between_marks_only(tmp_path):
    path, shown = tmp_path / "hosts", ["10.0.0.1\ta"]
    block = HostsBlock(str(path), lambda: shown, directly)
    assert not await block.write()
    path.write_text("127.0.0.1 localhost\n")
    assert not await block.write()
    path.write_bytes(with_block(path.read_bytes(), []))
    assert await block.write()
    assert "10.0.0.1\ta\n" in path.read_text()
    shown[:] = []
    assert await block.write()
    assert "10.0.0.1" not in path.read_text()
    path.write_bytes(without_block(path.read_bytes()))
    assert not await block.write()
    assert path.read_text() == "127.0.0.1 localhost\n"


async def test_changes_are_followed_once_marks_are_there(tmp_path):
    path, shown = tmp_path / "hosts", ["10.0.0.1\ta"]
    path.write_bytes(with_block(None, []))
    block = HostsBlock(str(path), lambda: shown, directly)
    block.start()

    async def has(text):
        async with asyncio.timeout(30):
            while text not in path.read_text():
                await asyncio.sleep(0.01)

    await has("10.0.0.1")
    shown[:] = ["10.0.0.2\tb"]
    block.note_change()
    await has("10.0.0.2")
    await block.close()


async def test_what_cannot_be_written_is_said_once(tmp_path, caplog):
    path = tmp_path / "hosts"
    path.mkdir()
    block = HostsBlock(str(path), list, directly)
    for _ in range(2):
        await block.write()
    assert block.warnings() == (f"{path} does not have the names of sandboxes: Is a directory",)
    assert caplog.text.count("hosts file not written") == 1
