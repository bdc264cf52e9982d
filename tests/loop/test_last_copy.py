"""The database of one host under churn, a full disk and damage: it stays small, nothing half-written stays, and a copy is used."""

import asyncio
import contextlib
import shutil
import sqlite3
from ipaddress import ip_interface
from pathlib import Path

import pytest

from netcore import limits
from netcore.errors import Unavailable
from netcore.model import Endpoint, Sandbox
from netcore.store import last_copy
from netcore.store.protocol import Compacted, Transaction
from netcore.store.records import Quarantined, Records
from netcore.store.sqlite import open_store

SANDBOX = Sandbox(id="s" * 64, name="s", hostname="s", netns_path="/run/netns/s", boot_id="boot")


def endpoint(number):
    address = ip_interface(f"10.5.{number % 250}.{number // 250 + 1}/16")
    return Endpoint(
        origin="api", network_id="n" * 64, sandbox_id=SANDBOX.id, ifname="eth0", host_ifname=f"veth{number}", mac="02:00:00:00:00:01",
        ipv4=address, ipv6=None,
    )  # fmt: skip


async def content(store):
    return {key: item.value for key, item in (await store.load()).items.items()}


def files(directory):
    return sorted(path.name for path in Path(directory).iterdir() if path.name not in ("lock", "berth.db-shm", "berth.db-wal"))


async def pages(store):
    return await store._run(lambda: store._connection.execute("PRAGMA page_count").fetchone()[0])


async def test_the_database_stays_flat_under_churn(tmp_path):
    store = await open_store(str(tmp_path))
    records = Records(store, "boot")
    await records.put_all(SANDBOX, ())
    for number in range(3000):
        made = endpoint(number)
        await records.put_endpoints(SANDBOX, (made,), pending=True)
        await records.put_all(SANDBOX, (made,))
        await records.put_disconnect(SANDBOX, (), (made,))
        await records.put_disconnected(SANDBOX, (), [Quarantined("n" * 64, made.ipv4.ip, float(number))])
        if number:
            before = endpoint(number - 1)
            await records.drop_quarantined([("n" * 64, before.ipv4.ip)])
    # One sandbox, its endpoints, one address in quarantine; the rest is what a watch can still catch up on.
    assert len(await content(store)) == 3
    assert await pages(store) <= 20
    assert (tmp_path / "berth.db-wal").stat().st_size <= 2 * limits.STATE_LOG_BYTES
    await store.close()


async def test_a_watch_from_too_long_ago_is_told_so(tmp_path):
    store = await open_store(str(tmp_path))
    first = await store.commit(Transaction({"a": b"1"}))
    for number in range(2 * limits.STATE_TIDY_EVERY):
        await store.commit(Transaction({"b": None if number % 2 else b"1"}))
    with pytest.raises(Compacted):
        await anext(store.watch(first))
    await store.close()


STRANGE = {
    "view": "DROP TABLE item; CREATE VIEW item AS WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r)"
    " SELECT 'k' || a AS key, x'7b7d' AS value, a AS revision, '' AS session FROM r",
    "trigger": "CREATE TRIGGER t BEFORE UPDATE ON item BEGIN SELECT raise(abort, 'no'); END",
    "other columns": "CREATE TABLE x AS SELECT * FROM item; DROP TABLE item; ALTER TABLE x RENAME TO item",
    "no version": "UPDATE meta SET value = '\N{SUPERSCRIPT TWO}' WHERE name = 'schema'",
}


@pytest.mark.parametrize(
    "damage", ["garbage", "truncated", "empty", "gone", "directory", "page", "view", "trigger", "other columns", "no version"]
)
async def test_the_copy_is_used_for_a_damaged_database(tmp_path, damage):
    store = await open_store(str(tmp_path))
    await store.commit(Transaction({f"k{number}": b"v" * 2000 for number in range(40)}))
    await store.close()
    assert files(tmp_path) == ["berth.db", "berth.db.copy"]
    assert oct((tmp_path / "berth.db.copy").stat().st_mode)[-3:] == "600"
    database = tmp_path / "berth.db"
    match damage:
        case "garbage":
            database.write_bytes(b"this is no database" * 500)
        case "truncated":
            database.write_bytes(database.read_bytes()[:10_000])
        case "empty":
            database.write_bytes(b"")
        case "gone":
            database.unlink()
        case "directory":
            database.unlink()
            (database / "x").mkdir(parents=True)
        case "page":
            octets = bytearray(database.read_bytes())
            octets[4096 * 3 : 4096 * 12] = b"\xff" * 4096 * 9
            database.write_bytes(octets)
        case _:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                connection.executescript(STRANGE[damage])
    store = await open_store(str(tmp_path))
    assert len(await content(store)) == 40
    assert store.recovered is not None
    assert store.recovered.copied
    kept = [name for name in files(tmp_path) if ".damaged-" in name and not name.endswith(("-wal", "-shm"))]
    assert len(kept) == (0 if damage in ("empty", "gone") else 1)
    assert (store.recovered.damaged is None) is (not kept)
    assert ("is kept as" in store.recovered.describe()) is bool(kept)
    await store.close()
    again = await open_store(str(tmp_path))
    assert again.recovered is None
    await again.close()


async def test_damage_without_a_copy_begins_empty_and_says_so(tmp_path):
    (tmp_path / "berth.db").write_bytes(b"this is no database" * 500)
    store = await open_store(str(tmp_path))
    assert await content(store) == {}
    assert "there is no copy: it begins empty" in store.recovered.describe()
    await store.close()


async def test_a_damaged_copy_is_not_used(tmp_path):
    store = await open_store(str(tmp_path))
    await store.commit(Transaction({"a": b"1"}))
    await store.close()
    (tmp_path / "berth.db.copy").write_bytes(b"nothing")
    (tmp_path / "berth.db").write_bytes(b"nothing")
    store = await open_store(str(tmp_path))
    assert not store.recovered.copied
    await store.close()


async def test_a_new_state_has_nothing_to_recover(tmp_path):
    store = await open_store(str(tmp_path / "new"))
    assert store.recovered is None
    await store.close()


async def test_the_copy_follows_changes_and_not_each_of_them(tmp_path, monkeypatch):
    made = []
    original = last_copy.make
    monkeypatch.setattr(last_copy, "make", lambda *given: (made.append(given), original(*given)))
    monkeypatch.setattr(limits, "STATE_COPY_AFTER", 0.05)
    store = await open_store(str(tmp_path))
    for number in range(500):
        await store.commit(Transaction({"k": str(number).encode()}))
    async with asyncio.timeout(20):
        while store._is_copy_old or store._copying is not None:
            await asyncio.sleep(0.01)
    # The thread of the store has finished what it began.
    await store._run(lambda: None)
    assert len(made) < 250
    shutil.copy(tmp_path / "berth.db.copy", tmp_path / "other.db")
    (tmp_path / "second").mkdir()
    shutil.move(tmp_path / "other.db", tmp_path / "second" / "berth.db")
    second = await open_store(str(tmp_path / "second"))
    assert await content(second) == {"k": b"499"}
    await second.close()
    await store.close()


async def test_a_full_state_is_left_as_soon_as_there_is_room(tmp_path):
    store = await open_store(str(tmp_path))
    await store.commit(Transaction({"a": b"1"}))
    most = await pages(store)
    await store._run(lambda: store._connection.execute(f"PRAGMA max_page_count = {most}"))
    with pytest.raises(Unavailable, match="full"):
        await store.commit(Transaction({"b": b"v" * 100_000}))
    await store._run(lambda: store._connection.execute("PRAGMA max_page_count = 1000000"))
    await store.commit(Transaction({"b": b"v" * 100_000}))
    assert set(await content(store)) == {"a", "b"}
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE meta SET value = 'x'", "UPDATE meta SET value = '0'", "UPDATE meta SET value = '-5'", "UPDATE meta SET value = x'ff'",
        "ALTER TABLE item DROP COLUMN session", "ALTER TABLE meta RENAME COLUMN value TO other",
    ],
)  # fmt: skip
async def test_the_copy_is_used_for_a_database_that_is_whole_and_makes_no_sense(tmp_path, damage):
    store = await open_store(str(tmp_path))
    await store.commit(Transaction({"a": b"1"}))
    await store.close()
    last_copy.make(sqlite3.connect(tmp_path / "berth.db"), str(tmp_path))
    with sqlite3.connect(tmp_path / "berth.db") as connection:
        connection.execute(damage)
    store = await open_store(str(tmp_path))
    assert store.recovered is not None
    assert store.recovered.copied
    assert await content(store) == {"a": b"1"}
    await store.close()
