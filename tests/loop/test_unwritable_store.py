"""A state directory that can't be written: it is read into memory, changes are refused, and the store goes on by itself."""

import asyncio
import errno
import os
import shutil
import sqlite3

import pytest

from netcore import limits
from netcore.errors import Conflict, Unavailable
from netcore.store import database, last_copy
from netcore.store.protocol import Transaction
from netcore.store.sqlite import open_store


class Disk:
    """Stands for a file system: *fails* while it is read-only."""

    def __init__(self, monkeypatch):
        self.is_read_only = False
        for name in ("_take_lock", "open_to_write"):
            original = getattr(database, name)
            monkeypatch.setattr(database, name, lambda *given, original=original: self._check(original, given))
        monkeypatch.setattr(limits, "STATE_RETRY", 0.02)

    def _check(self, original, given):
        if self.is_read_only:
            raise OSError(errno.EROFS, "Read-only file system", given[0])
        return original(*given)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


async def content(store):
    return {key: item.value for key, item in (await store.load()).items.items()}


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def filled(directory, **more):
    store = await open_store(str(directory), **more)
    await store.commit(Transaction({"a": b"1"}))
    await store.commit(Transaction({"b": b"2"}, session="boot"))
    await store.close()


async def test_what_is_stored_is_served_and_it_goes_on_when_it_can_be_written(tmp_path, disk, caplog):
    await filled(tmp_path)
    disk.is_read_only = True
    store = await open_store(str(tmp_path))
    told = []
    store.on_writable = told.append
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]
    assert await content(store) == {"a": b"1", "b": b"2"}
    assert store.unwritable == f"read-only file system: {tmp_path}"
    with pytest.raises(Unavailable, match=r"it can't be written .read-only file system: .*, and changes are refused until it can"):
        await store.commit(Transaction({"c": b"3"}))
    # What ended with an earlier boot is not served.
    await store.end_session("boot")
    assert await content(store) == {"a": b"1"}
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())] == before
    assert [record.levelname for record in caplog.records if "can't be written" in record.message] == ["ERROR"]
    disk.is_read_only = False
    await until(lambda: store.unwritable is None)
    assert told == [None]
    await store.commit(Transaction({"c": b"3"}, {"a": 1}))
    await store.close()
    again = await open_store(str(tmp_path))
    assert await content(again) == {"a": b"1", "c": b"3"}
    await again.close()


async def test_a_new_directory_begins_empty(tmp_path, disk):
    disk.is_read_only = True
    store = await open_store(str(tmp_path / "new"))
    assert await content(store) == {}
    assert store.recovered is None
    disk.is_read_only = False
    await until(lambda: store.unwritable is None)
    await store.commit(Transaction({"a": b"1"}))
    assert (tmp_path / "new" / "berth.db").is_file()
    await store.close()


async def test_a_second_daemon_is_refused_all_the_same(tmp_path, disk):
    await filled(tmp_path)
    disk.is_read_only = True
    store = await open_store(str(tmp_path))
    with pytest.raises(Conflict, match="another berth daemon is using it"):
        await open_store(str(tmp_path))
    disk.is_read_only = False
    await until(lambda: store.unwritable is None)
    with pytest.raises(Conflict, match="another berth daemon is using it"):
        await open_store(str(tmp_path))
    await store.close()


async def test_another_state_that_appears_is_left_as_it_is(tmp_path, disk):
    """A file system that is mounted late has the real state: what was read before must not be written over it."""
    await filled(tmp_path / "real")
    disk.is_read_only = True
    store = await open_store(str(tmp_path / "state"))
    shutil.copytree(tmp_path / "real", tmp_path / "state")
    disk.is_read_only = False
    await until(lambda: "restart the daemon" in store.unwritable)
    with pytest.raises(Unavailable, match="another one than was read at the start; restart the daemon"):
        await store.commit(Transaction({"c": b"3"}))
    await store.close()
    again = await open_store(str(tmp_path / "state"))
    assert await content(again) == {"a": b"1", "b": b"2"}
    await again.close()


@pytest.mark.parametrize("beside", ["with its log", "with its log, without the index"])
async def test_last_commits_are_read_from_the_log(tmp_path, disk, beside):
    store = await open_store(str(tmp_path / "live"))
    await store.commit(Transaction({"a": b"1"}))
    # As a killed daemon leaves it.
    shutil.copytree(tmp_path / "live", tmp_path / "state")
    await store.close()
    assert (tmp_path / "state" / "berth.db-wal").stat().st_size
    if "without" in beside:
        (tmp_path / "state" / "berth.db-shm").unlink()
    disk.is_read_only = True
    store = await open_store(str(tmp_path / "state"), str(tmp_path))
    assert await content(store) == {"a": b"1"}
    await store.close()


async def test_the_copy_is_read_where_the_database_is_damaged(tmp_path, disk):
    await filled(tmp_path)
    (tmp_path / "berth.db").write_bytes(b"this is no database" * 500)
    disk.is_read_only = True
    store = await open_store(str(tmp_path))
    assert await content(store) == {"a": b"1", "b": b"2"}
    assert store.recovered.copied
    assert store.recovered.damaged is None
    disk.is_read_only = False
    await until(lambda: store.unwritable is None)
    await store.commit(Transaction({"c": b"3"}))
    await store.close()
    assert last_copy.why_damaged(tmp_path / "berth.db") is None


async def test_the_second_copy_is_read_where_the_state_is_out_of_reach(tmp_path, disk, monkeypatch):
    state, second = tmp_path / "state", tmp_path / "run"
    second.mkdir()
    await filled(state, second_directory=str(second))
    original = last_copy.why_damaged

    def out_of_reach(path):
        if path.parent == state:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original(path)

    monkeypatch.setattr(last_copy, "why_damaged", out_of_reach)
    disk.is_read_only = True
    store = await open_store(str(state), str(second))
    assert await content(store) == {"a": b"1", "b": b"2"}
    assert "permission denied" in store.recovered.describe()
    await store.close()
    (second / "berth.db.copy").unlink()
    with pytest.raises(Unavailable, match=r"can't be read .permission denied.*, and there is no copy of it"):
        await open_store(str(state), str(second))


async def test_a_store_that_fills_up_says_so_and_when_there_is_room_again(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "STATE_RETRY", 0.02)
    store = await open_store(str(tmp_path))
    told = []
    store.on_writable = told.append

    def fail(connection):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(database, "write_nothing_new", fail)
        await store._run(lambda: store._connection.execute("PRAGMA max_page_count = 1"))
        with pytest.raises(Unavailable, match="full"):
            await store.commit(Transaction({"b": b"v" * 100_000}))
        assert "database or disk is full" in store.unwritable
        await store._run(lambda: store._connection.execute("PRAGMA max_page_count = 1000000"))
    await until(lambda: store.unwritable is None)
    assert [reason is None for reason in told] == [False, True]
    await store.close()
