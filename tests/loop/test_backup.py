"""The state of one host in a file, and put back."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from netcore.errors import Conflict, InvalidRequest, KernelError, NotFound
from netcore.store import backup
from netcore.store.protocol import Transaction
from netcore.store.sqlite import open_store
from netcore.store.upgrade import SCHEMA_VERSION


async def put(directory, **values):
    store = await open_store(str(directory))
    await store.commit(Transaction(writes={key: text.encode() for key, text in values.items()}))
    await store.close()


async def content(directory):
    store = await open_store(str(directory))
    try:
        return {key: item.value for key, item in (await store.load()).items.items()}
    finally:
        await store.close()


async def test_backup_is_made_beside_a_daemon_and_comes_back(tmp_path):
    state, other, file = tmp_path / "state", tmp_path / "other", tmp_path / "backup"
    store = await open_store(str(state))
    (state / "node").write_text("abc\n")
    await store.commit(Transaction(writes={"a": b"1"}))
    file.write_text("an earlier one")
    backup.back_up(str(state), str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await store.commit(Transaction(writes={"a": b"2", "b": b"3"}))
    with pytest.raises(Conflict, match="another berth daemon is using it"):
        backup.restore(str(state), str(file))
    await store.close()
    kept = backup.restore(str(state), str(file))
    assert await content(state) == {"a": b"1"}
    with sqlite3.connect(kept) as connection:
        assert dict(connection.execute("SELECT key, value FROM item").fetchall()) == {"a": b"2", "b": b"3"}
    assert backup.restore(str(other), str(file)) is None
    assert (await content(other), (other / "node").read_text()) == ({"a": b"1"}, "abc\n")
    assert not list(tmp_path.glob("*.new"))


async def test_without_state_there_is_no_backup(tmp_path):
    with pytest.raises(NotFound, match="no such state"):
        backup.back_up(str(tmp_path), str(tmp_path / "backup"))
    await put(tmp_path, a="1")
    with pytest.raises(KernelError, match="EISDIR"):
        backup.back_up(str(tmp_path), str(tmp_path.parent))


async def test_what_is_no_backup_changes_nothing(tmp_path):
    state, file = tmp_path / "state", tmp_path / "backup"
    await put(state, a="1")
    backup.back_up(str(state), str(file))
    whole = file.read_bytes()

    def newer():
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION + 1),))

    def other():
        file.unlink()
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE x (y)")

    def cut():
        file.write_bytes(whole[: len(whole) // 2])

    def strange():
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE VIEW more AS SELECT * FROM item")

    def versionless():
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE meta SET value = '3²' WHERE name = 'schema'")

    for damage, reason in (
        (newer, "written by a newer berth"),
        (other, "it has a table x, which no state of berth has"),
        (cut, "malformed"),
        (strange, "it has a view more, which no state of berth has"),
        (versionless, "its schema version is '3²'"),
        (Path(file).unlink, "it is gone"),
    ):
        file.write_bytes(whole)
        damage()
        with pytest.raises(InvalidRequest, match=reason):
            backup.restore(str(state), str(file))
        assert await content(state) == {"a": b"1"}


@pytest.mark.parametrize("name", ["berth.db", "berth.db-wal", "berth.db.copy", "node", "lock"])
async def test_backup_never_takes_the_place_of_the_state(tmp_path, name):
    await put(tmp_path, a="1")
    (tmp_path / "way").symlink_to(tmp_path)
    for way in (tmp_path, tmp_path / "way", tmp_path / "way" / ".." / tmp_path.name):
        with pytest.raises(InvalidRequest, match="is where the state itself is"):
            backup.back_up(str(tmp_path), str(way / name))
    assert await content(tmp_path) == {"a": b"1"}


async def test_backup_replaces_no_pipe_and_no_device(tmp_path):
    await put(tmp_path / "state", a="1")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(InvalidRequest, match="is not a regular file"):
            backup.back_up(str(tmp_path / "state"), str(path))
    assert pipe.is_fifo()
    assert (tmp_path / "link").is_symlink()
