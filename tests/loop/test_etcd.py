"""The store on etcd, against real members: what SQLite has no counterpart for."""

import asyncio
import base64
import subprocess

import pytest

from netcore import limits
from netcore.errors import Exhausted, InvalidRequest, Unavailable
from netcore.store.etcd import open_etcd
from netcore.store.etcd_settings import EtcdSettings, parse_url
from netcore.store.protocol import Compacted, CompareFailed, Conditions, KeyRange, Transaction, beginning_with, only
from tests.support.etcd import cluster, wait_until_healthy, why_no_etcd

needs_etcd = pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())


@pytest.mark.parametrize(
    ("text", "endpoints", "prefix", "user"),
    [
        ("etcd://a", ("http://a:2379",), "berth/", None),
        ("etcd://a:1,b", ("http://a:1", "http://b:2379"), "berth/", None),
        ("etcds://me:se:cret@[fd00::1]:5,[fd00::2]/team/x/", ("https://[fd00::1]:5", "https://[fd00::2]:2379"), "team/x/", "me"),
    ],
)
def test_addresses_of_clusters(text, endpoints, prefix, user):
    settings = parse_url(text)
    assert (settings.endpoints, settings.prefix, settings.user) == (endpoints, prefix, user)
    assert settings.password == ("se:cret" if user else "")


@pytest.mark.parametrize("text", ["etcd://", "etcd:a", "http://a", "etcd://,"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidRequest, match="store"):
        parse_url(text)


@pytest.fixture
def member(tmp_path, monkeypatch):
    # However busy the machine is: it answers.
    for name in ("STORE_CALL", "STORE_DEADLINE"):
        monkeypatch.setattr(limits, name, 30.0)
    with cluster(tmp_path) as members:
        yield members[0]


@needs_etcd
async def test_prefixes_keep_stores_apart_and_pages_are_put_together(member, monkeypatch):
    monkeypatch.setattr(limits, "STORE_PAGE", 3)
    one = await open_etcd(EtcdSettings(endpoints=(member.url,), prefix="one/"))
    two = await open_etcd(EtcdSettings(endpoints=(member.url,), prefix="two/"))
    for number in range(10):
        await one.commit(Transaction({f"key{number}": b"x" * number}))
    await two.commit(Transaction({"key": b"2"}))
    assert {key: item.value for key, item in (await one.load()).items.items()} == {f"key{number}": b"x" * number for number in range(10)}
    assert [*(await two.load()).items] == ["key"]
    with pytest.raises(Exhausted, match="at most 128 keys"):
        await one.commit(Transaction({f"k{number}": b"" for number in range(129)}))
    await one.close()
    await two.close()


def seconds_left(member, lease):
    """Return how long a lease lasts that is not renewed."""
    return int(member.post("lease/timetolive", {"ID": str(int(lease, 16))}).get("TTL", "0"))


@needs_etcd
async def test_session_ends_by_time_when_its_host_is_not_heard_of_any_more(member):
    dying = await open_etcd(EtcdSettings(endpoints=(member.url,), ttl=5))
    living = await open_etcd(EtcdSettings(endpoints=(member.url,), ttl=5))
    await dying.commit(Transaction({"a": b"1"}, session="host-a"))
    await living.commit(Transaction({"b": b"1"}, session="host-b"))
    # Both are kept alive.
    items = (await living.load()).items
    for key in ("a", "b"):
        before = left = seconds_left(member, items[key].session)
        async with asyncio.timeout(30):
            while left <= before:
                before = left
                await asyncio.sleep(0.05)
                left = seconds_left(member, items[key].session)
    assert {*(await living.load()).items} == {"a", "b"}
    await dying.close()
    async with asyncio.timeout(30):
        while {*(await living.load()).items} != {"b"}:
            await asyncio.sleep(0.05)
    # A host that is back begins a new session with the old name.
    again = await open_etcd(EtcdSettings(endpoints=(member.url,), ttl=5))
    await again.commit(Transaction({"a": b"2"}, session="host-a"))
    assert {*(await living.load()).items} == {"a", "b"}
    await again.close()
    await living.close()


@needs_etcd
async def test_history_that_was_compacted_is_told(member):
    store = await open_etcd(EtcdSettings(endpoints=(member.url,)))
    first = await store.commit(Transaction({"a": b"1"}))
    last = await store.commit(Transaction({"a": b"2"}))
    member.post("kv/compaction", {"revision": str(last), "physical": True})
    with pytest.raises(Compacted):
        await anext(store.watch(first - 1))
    # From what a load tells, all goes on.
    snapshot = await store.load()
    watch = store.watch(snapshot.revision)
    seen = asyncio.ensure_future(anext(watch))
    await store.commit(Transaction({"b": b"3"}))
    assert (await asyncio.wait_for(seen, 20)).key == "b"
    await store.close()


@needs_etcd
async def test_leader_that_is_killed_costs_no_write_and_no_change(tmp_path):
    with cluster(tmp_path, 3) as members:
        store = await open_etcd(EtcdSettings(endpoints=tuple(member.url for member in members)))
        seen, written = [], []

        async def watch():
            async for change in store.watch(0):
                seen.append(change.value)

        watching = asyncio.create_task(watch())
        for number in range(60):
            if number == 20:
                leader = next(
                    member
                    for member in members
                    if (status := member.post("maintenance/status", {}))["leader"] == status["header"]["member_id"]
                )
                leader.kill()
            value = str(number).encode()
            # Each write only if it is new: one that was carried out and whose answer was lost is no failure.
            await store.commit(Transaction({f"key{number}": value}, compares={f"key{number}": 0}))
            written.append(value)
        async with asyncio.timeout(20):
            while len(seen) < len(written):
                await asyncio.sleep(0.01)
        assert seen == written
        watching.cancel()
        with pytest.raises(CompareFailed):
            await store.commit(Transaction({"key1": b"other"}, compares={"key1": 0}))
        # Without a majority the reason is reported in time, and nothing that was there is lost.
        next(member for member in members if member.process.poll() is None).kill()
        with pytest.raises(Unavailable, match="etcd is not available"):
            # Many times as long as it takes.
            await asyncio.wait_for(store.commit(Transaction({"late": b"1"})), 60)
        for member in members:
            if member.process.poll() is not None:
                member.start(",".join(f"{other.name}=http://127.0.0.1:{other.peer}" for other in members))
        wait_until_healthy(members)
        assert len((await store.load()).items) >= 60
        await store.close()


@needs_etcd
async def test_user_and_password(member):
    everything = {"permType": "READWRITE", "key": base64.b64encode(b"berth/").decode(), "range_end": base64.b64encode(b"berth0").decode()}
    member.post("auth/role/add", {"name": "berth"})
    member.post("auth/role/grant", {"name": "berth", "perm": everything})
    for user, role in (("root", "root"), ("me", "berth")):
        member.post("auth/user/add", {"name": user, "password": "secret"})
        member.post("auth/user/grant", {"user": user, "role": role})
    member.post("auth/enable", {})
    for settings in ({}, {"user": "me", "password": "wrong"}, {"user": "me", "password": "secret", "prefix": "others/"}):
        with pytest.raises(
            Unavailable, match=r"etcd is not available: etcdserver: (user name is empty|authentication failed|permission denied)"
        ):
            await open_etcd(EtcdSettings(endpoints=(member.url,), **settings))
    store = await open_etcd(EtcdSettings(endpoints=(member.url,), user="me", password="secret"))
    await store.commit(Transaction({"a": b"1"}, session="host"))
    # A token that etcd no longer knows is replaced.
    store._token = "stale.1"
    await store.commit(Transaction({"b": b"1"}))
    watch = store.watch(0)
    assert (await anext(watch)).key == "a"
    await store.close()


@needs_etcd
async def test_tls(tmp_path):
    words = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=etcd -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    with cluster(tmp_path, 1, "--cert-file", cert, "--key-file", key, scheme="https") as members:
        store = await open_etcd(EtcdSettings(endpoints=(members[0].url,), ca=cert))
        assert await store.commit(Transaction({"a": b"1"})) == 2
        await store.close()
        with pytest.raises(Unavailable, match="certificate"):
            await open_etcd(EtcdSettings(endpoints=(members[0].url,)))
        with pytest.raises(Unavailable, match="TLS files can't be read"):
            await open_etcd(EtcdSettings(endpoints=(members[0].url,), ca="/nowhere.pem"))


@needs_etcd
async def test_nobody_there():
    with pytest.raises(
        Unavailable, match=r"^etcd is not available: no answer from http://127\.0\.0\.1:1 within [\d.]+ s \(connection refused\)$"
    ):
        await open_etcd(EtcdSettings(endpoints=("http://127.0.0.1:1",)))


@needs_etcd
async def test_session_that_an_earlier_process_left_is_taken_over(member):
    """Its lease is renewed at once: what is left of it may be less than the time to the next renewal."""
    first = await open_etcd(EtcdSettings(endpoints=(member.url,), grace=30))
    await first.commit(Transaction({"address/n/10.0.0.2": b"a"}, session="hold/a"))
    await first.commit(Transaction({"other": b"a"}, session="node/a"))
    (lease,) = [item.session for key, item in (await first.load()).items.items() if key.startswith("address/")]
    await first.close()

    async with asyncio.timeout(30):
        while seconds_left(member, lease) > 28:
            await asyncio.sleep(0.1)
    # Nothing is written by the next process.
    again = await open_etcd(EtcdSettings(endpoints=(member.url,), grace=30))
    assert await again.keep_session("hold/a") == {"address/n/10.0.0.2"}
    assert seconds_left(member, lease) >= 29
    # One that has run out begins anew, without its keys.
    member.post("lease/revoke", {"ID": str(int(lease, 16))})
    assert await again.keep_session("hold/a") == frozenset()
    assert await again.keep_session("hold/a") == frozenset()
    assert seconds_left(member, lease) > 0
    await again.close()


@needs_etcd
async def test_ranges_and_conditions(member):
    store = await open_etcd(EtcdSettings(endpoints=(member.url,)))
    await store.commit(Transaction({"address/n/1": b"a", "endpoint/n/1": b"e", "endpoint/nn/1": b"e", "node/a": b"n"}))
    assert {*(await store.load(beginning_with("endpoint/n/"))).items} == {"endpoint/n/1"}
    assert {*(await store.load(KeyRange("endpoint0"))).items} == {"node/a"}
    assert {*(await store.load(only("node/a"))).items} == {"node/a"}
    for conditions in (
        Conditions(values={"address/n/1": b"b"}),
        Conditions(values={"address/n/2": b"a"}),
        Conditions(empty=(beginning_with("address/n/"),)),
    ):
        with pytest.raises(CompareFailed):
            await store.commit(Transaction({"x": b"1"}), conditions)
    revision = await store.commit(Transaction({"x": b"1"}), Conditions({"address/n/1": b"a"}, (beginning_with("address/m/"),)))
    watch = store.watch(0, beginning_with("endpoint/nn/"))
    assert (await anext(watch)).key == "endpoint/nn/1"
    seen = asyncio.ensure_future(anext(watch))
    await store.commit(Transaction({"endpoint/n/2": b"e"}))
    await store.commit(Transaction({"endpoint/nn/2": b"e"}))
    assert (await asyncio.wait_for(seen, 20)).revision == revision + 2
    await store.close()
