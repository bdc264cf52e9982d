"""Updates of static names (RFC 2136) with TSIG (RFC 8945): each form of section 2, each RCODE, and who may."""

import asyncio
import base64
import struct
import time
from ipaddress import ip_address

import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from netcore.errors import Unavailable
from resolver import limits
from resolver.daemon.config import parse
from resolver.daemon.gateway_resolver import GatewayResolver, show_static_names
from resolver.daemon.record_operations import RecordOperations
from resolver.daemon.static_names import StaticNames
from resolver.daemon.update_keys import UpdateKey, read_secrets
from resolver.daemon.updates import Updates
from resolver.dns_client import Client
from resolver.engine.view import AttachedZone, View
from resolver.errors import ConfigError
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.update import UpdateRefused, ZoneUpdate
from resolver.zone.zone import Zone
from tests.support.memory_store import MemoryStore
from tests.support.networks import bridge_network, pool
from tests.unit.resolver.test_egress import World as Rules
from tests.unit.resolver.test_service import OUTSIDE, World

SECRET, OTHER = b"0123456789abcdef0123456789abcdef", b"another secret of 32 octets ...."
FRONT, BACK = (bridge_network(name, pool(f"10.{number}.0.0/24")) for number, name in enumerate(("front", "back"), 1))
ORIGIN = "front.berth.internal."


class Served:
    """Networks front and back, with a sandbox called web on front; key ddns may change front."""

    def __init__(self):
        self.static_names = StaticNames(MemoryStore())
        self.operations = RecordOperations(self.static_names, "berth.internal")
        self.zones = zones = {}
        for network in (FRONT, BACK):
            zone = Zone(network.id, from_text(network.name), 5)
            if network is FRONT:
                made = records(
                    endpoint="e", network="front", endpoint_names=["web"], addresses=[ip_address("10.1.0.2"), ip_address("fd01::2")]
                )
                zone = zone.with_changes((), made)
            zones[network.id] = GatewayResolver(network, PublishedZone(zone), None)
        self.static_names.on_change = lambda network, changed: show_static_names(zones[network.id], changed)
        key = UpdateKey(name="ddns", algorithm="hmac-sha256", secret_file="/x", networks=("front",))
        self.networks = [FRONT, BACK]
        self.updates = Updates(
            [key], {"ddns": SECRET}, self.static_names, "berth.internal", lambda: self.networks,
            lambda network: zones[network.id].zone.current, lambda: time.clock_gettime(time.CLOCK_REALTIME),
        )  # fmt: skip

    async def send(self, update):
        octets = await self.updates.answer(update.to_wire() if isinstance(update, dns.message.Message) else update)
        return dns.message.from_wire(octets, keyring=KEYS, request_mac=update.mac if isinstance(update, dns.message.Message) else b"")

    async def rcode(self, update):
        return dns.rcode.to_text((await self.send(update)).rcode())

    async def finish(self):
        """Wait until what was taken is carried out."""
        while self.updates._task is not None and not self.updates._task.done():
            await asyncio.sleep(0.001)

    def kept(self):
        return [f"{view.name} {view.ttl} {view.type} {view.data}" for view in self.operations.views(FRONT)]


KEYS = {dns.name.from_text("ddns"): dns.tsig.Key("ddns", SECRET, "hmac-sha256")}


def update(origin=ORIGIN, keys=KEYS, **more):
    return dns.update.UpdateMessage(origin, keyring=keys, keyname="ddns", keyalgorithm="hmac-sha256", **more)


@pytest.fixture
def served():
    return Served()


# --- the update section -------------------------------------------------------------------------------------------


async def test_records_are_added_and_deleted_in_each_form(served):
    one = update()
    one.add("db", 60, "A", "10.9.0.1", "10.9.0.2")
    one.add("db", 60, "TXT", "hello")
    one.add("_sip._udp", 30, "SRV", "0 5 5060 db")
    one.add("*.dev", 60, "CNAME", "db.front.berth.internal.")
    response = await served.send(one)
    assert (response.rcode(), response.opcode(), response.had_tsig) == (dns.rcode.NOERROR, dns.opcode.UPDATE, True)
    assert served.kept() == [
        "*.dev 60 CNAME db.front.berth.internal.", "_sip._udp 30 SRV 0 5 5060 db.front.berth.internal.",
        "db 60 A 10.9.0.1", "db 60 A 10.9.0.2", 'db 60 TXT "hello"',
    ]  # fmt: skip
    two = update()
    two.delete("db", "A", "10.9.0.1")
    two.delete("_sip._udp", "SRV")
    two.delete("*.dev")
    two.delete("nobody")
    assert await served.rcode(two) == "NOERROR"
    assert served.kept() == ["db 60 A 10.9.0.2", 'db 60 TXT "hello"']
    three = update()
    three.replace("db", 5, "A", "10.9.0.9")
    assert await served.rcode(three) == "NOERROR"
    assert sorted(served.kept()) == ["db 5 A 10.9.0.9", 'db 60 TXT "hello"']


async def test_the_short_name_of_the_zone_is_the_same_zone(served):
    made = update("front.")
    made.add("db", 60, "A", "10.9.0.1")
    assert await served.rcode(made) == "NOERROR"
    assert served.kept() == ["db 60 A 10.9.0.1"]


async def test_the_ttl_that_comes_last_is_that_of_all(served):
    made = update()
    made.add("db", 60, "A", "10.9.0.1")
    made.add("db", 7, "A", "10.9.0.2")
    await served.rcode(made)
    assert served.kept() == ["db 7 A 10.9.0.1", "db 7 A 10.9.0.2"]


async def test_names_are_deleted_in_any_case(served):
    made = update()
    made.add("Alias", 60, "CNAME", "Target.example.")
    await served.rcode(made)
    gone = update()
    gone.delete("ALIAS", "CNAME", "tarGET.example.")
    assert await served.rcode(gone) == "NOERROR"
    assert served.kept() == []


async def test_what_does_not_fit_beside_an_alias_is_passed_over(served):
    made = update()
    made.add("a", 60, "CNAME", "x.example.")
    made.add("a", 60, "A", "10.9.0.1")
    made.add("b", 60, "A", "10.9.0.1")
    made.add("b", 60, "CNAME", "x.example.")
    made.add("a", 60, "CNAME", "y.example.")
    assert await served.rcode(made) == "NOERROR"
    assert served.kept() == ["a 60 CNAME y.example.", "b 60 A 10.9.0.1"]


async def test_all_changes_or_none(served):
    made = update()
    made.add("db", 60, "A", "10.9.0.1")
    made.add("web", 60, "A", "10.9.0.1")
    assert await served.rcode(made) == "REFUSED"
    assert served.kept() == []


@pytest.mark.parametrize(
    ("name", "rtype", "data", "rcode"),
    [
        ("web", "A", "10.9.0.1", "REFUSED"),
        ("web", "CNAME", "x.example.", "REFUSED"),
        ("web", "TXT", "x", "NOERROR"),
        ("sub", "NS", "ns.example.", "REFUSED"),
        ("*", "A", "10.9.0.1", "REFUSED"),
        ("x.example.", "A", "10.9.0.1", "NOTZONE"),
        ("a b", "A", "10.9.0.1", "REFUSED"),
        ("123", "A", "10.9.0.1", "REFUSED"),
    ],
)
async def test_what_may_be_added(served, name, rtype, data, rcode):
    made = update()
    owner = dns.name.from_text(name.replace(" ", r"\032"), dns.name.from_text(ORIGIN))
    rrset = dns.rrset.RRset(owner, dns.rdataclass.IN, dns.rdatatype.from_text(rtype))
    rrset.ttl = 60
    rrset.add(dns.rdata.from_text("IN", rtype, data, dns.name.from_text(ORIGIN)), 60)
    made.update.append(rrset)
    assert await served.rcode(made) == rcode


@pytest.mark.parametrize("section", [0, 1])
def test_deletions_and_prerequisites_have_no_ttl(section):
    made = update()
    made.delete(f"db.{ORIGIN}", "A")
    (rrset,) = made.update
    rrset.ttl = 5
    sections = ([rrset], []) if section else ([], [rrset])
    with pytest.raises(UpdateRefused, match="TTL must be 0") as refused:
        ZoneUpdate(dns.name.from_text(ORIGIN), "front", "berth.internal", *sections).decide({}, Zone("n", from_text("front"), 5))
    assert refused.value.rcode == dns.rcode.FORMERR


async def test_the_zone_may_be_the_domain_of_all_networks(served):
    made = update("berth.internal.")
    made.add("db.front", 60, "A", "10.9.0.1")
    assert await served.rcode(made) == "NOERROR"
    assert served.kept() == ["db 60 A 10.9.0.1"]
    made.add("db.back", 60, "A", "10.9.0.1")
    assert await served.rcode(made) == "NOTAUTH"


async def test_the_network_itself_keeps_what_it_has(served):
    made = update()
    made.delete("@")
    made.delete("@", "SOA")
    assert await served.rcode(made) == "NOERROR"


# --- prerequisites ------------------------------------------------------------------------------------------------


async def filled(served):
    made = update()
    made.add("db", 60, "A", "10.9.0.1", "10.9.0.2")
    assert await served.rcode(made) == "NOERROR"


@pytest.mark.parametrize(
    ("form", "words", "rcode"),
    [
        ("present", ("db",), "NOERROR"),
        ("present", ("nobody",), "NXDOMAIN"),
        ("present", ("web",), "NOERROR"),
        ("present", ("@",), "NOERROR"),
        ("present", ("db", "A"), "NOERROR"),
        ("present", ("web", "AAAA"), "NOERROR"),
        ("present", ("db", "AAAA"), "NXRRSET"),
        ("present", ("db", "A", "10.9.0.2", "10.9.0.1"), "NOERROR"),
        ("present", ("web", "A", "10.1.0.2"), "NOERROR"),
        ("present", ("db", "A", "10.9.0.1"), "NXRRSET"),
        ("present", ("db", "TXT", "x"), "NXRRSET"),
        ("absent", ("nobody",), "NOERROR"),
        ("absent", ("db",), "YXDOMAIN"),
        ("absent", ("web",), "YXDOMAIN"),
        ("absent", ("db", "TXT"), "NOERROR"),
        ("absent", ("db", "A"), "YXRRSET"),
        ("present", ("x.example.",), "NOTZONE"),
    ],
)
async def test_prerequisites(served, form, words, rcode):
    await filled(served)
    made = update()
    getattr(made, form)(*words)
    made.add("new", 60, "A", "10.9.0.3")
    assert await served.rcode(made) == rcode
    assert ("new 60 A 10.9.0.3" in served.kept()) is (rcode == "NOERROR")


# --- who may ------------------------------------------------------------------------------------------------------


async def test_only_who_has_the_key_may(served):
    plain = dns.update.UpdateMessage(ORIGIN)
    plain.add("db", 60, "A", "10.9.0.1")
    assert await served.rcode(plain) == "REFUSED"
    wrong = update(keys={dns.name.from_text("ddns"): dns.tsig.Key("ddns", OTHER, "hmac-sha256")})
    wrong.add("db", 60, "A", "10.9.0.1")
    assert tsig_error(await served.updates.answer(wrong.to_wire())) == ("NOTAUTH", dns.rcode.BADSIG)
    unknown = dns.update.UpdateMessage(ORIGIN, keyring={dns.name.from_text("who"): dns.tsig.Key("who", SECRET)}, keyname="who")
    assert tsig_error(await served.updates.answer(unknown.to_wire())) == ("NOTAUTH", dns.rcode.BADKEY)
    assert served.kept() == []


def tsig_error(octets):
    message = dns.message.from_wire(octets, keyring=False)
    return dns.rcode.to_text(message.rcode()), message.tsig[0].error


async def test_old_updates_are_not_taken_again(served, monkeypatch):
    made = update()
    made.add("db", 60, "A", "10.9.0.1")
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: 1_000.0)
        octets = made.to_wire()
    assert tsig_error(await served.updates.answer(octets)) == ("NOTAUTH", dns.rcode.BADTIME)
    assert served.kept() == []


async def test_a_key_is_for_its_networks(served):
    assert await served.rcode(update("back.berth.internal.")) == "REFUSED"
    assert await served.rcode(update("nothing.berth.internal.")) == "NOTAUTH"
    assert await served.rcode(update("berth.internal.")) == "NOTAUTH"


async def test_failures_of_the_store_are_servfail(served, monkeypatch):
    async def fail(_transaction):
        raise Unavailable("the state", "is read-only")

    monkeypatch.setattr(served.static_names._store, "commit", fail)
    await_rcode = served.rcode
    made = update()
    made.add("db", 60, "A", "10.9.0.1")
    assert await await_rcode(made) == "SERVFAIL"
    monkeypatch.setattr(limits, "STATIC_RECORDS", 0)
    assert await await_rcode(made) == "REFUSED"


@pytest.mark.parametrize("octets", [b"\0\1\x28\0" + bytes(8), b"\0\1\x28\0\0\1" + bytes(6), b"\0\1\x28\0\0\0\0\1" + bytes(20)])
async def test_what_is_no_update_is_formerr(served, octets):
    assert dns.message.from_wire(await served.updates.answer(octets)).rcode() == dns.rcode.FORMERR


# --- on the way ---------------------------------------------------------------------------------------------------


async def test_updates_reach_the_service_only_with_keys(served):
    world, sender = World(), Sender()
    made = update()
    made.add("db", 60, "A", "10.9.0.1")
    octets = world.service.on_query(world.client, made.to_wire(), sender, b"p", tcp=False)
    assert octets[3] & 0xF == dns.rcode.NOTIMP
    world.service.on_update = served.updates.take
    assert world.service.on_query(world.client, made.to_wire(), sender, b"p", tcp=False) is None
    await served.updates._task
    assert served.kept() == ["db 60 A 10.9.0.1"]
    assert len(sender.replies) == 1
    await world.service.close()
    await served.updates.close()


@pytest.mark.parametrize("keys", [KEYS, None], ids=["with its key", "without"])
async def test_updates_of_a_sandbox_with_egress_rules_open_nothing(served, keys):
    rules = Rules("ok.test", "network:front")
    zones = tuple(AttachedZone(served.zones[network.id].zone) for network in (FRONT, BACK))
    client, world, sender = Client(View(attached=zones, upstreams=OUTSIDE, policy=rules.policy)), World(), Sender()
    world.service.on_update = served.updates.take
    more = {"keyring": keys, "keyname": "ddns", "keyalgorithm": "hmac-sha256"} if keys else {}
    mine = dns.update.UpdateMessage("berth.internal", **more)
    for name, rtype, value in (
        ("ok.test", "A", "198.51.100.66"), ("ok.test", "HTTPS", "1 bad.test. ipv4hint=198.51.100.67"), ("out", "CNAME", "bad.test."), ("*.x", "CNAME", "out"),
    ):  # fmt: skip
        mine.add(f"{name}.front", 60, rtype, value)
    others = dns.update.UpdateMessage("back.berth.internal", **more)
    others.add("db", 60, "A", "198.51.100.66")
    for made in (mine, others):
        assert world.service.on_query(client, made.to_wire(), sender, b"p", tcp=False) is None
    await served.finish()
    assert [dns.rcode.to_text(octets[3] & 0xF) for octets in sender.replies] == ["NOERROR" if keys else "REFUSED", "REFUSED"]
    asked = [world.ask(name, rtype, client=client) for name, rtype in (("ok.test", "A"), ("ok.test", "HTTPS"), ("out", "A"), ("a.x", "A"))]
    if keys:
        assert [sent.rcode() for sent in asked] == [0, 0, dns.rcode.NXDOMAIN, dns.rcode.NXDOMAIN]
        assert asked[0].answer[0][0].address == "198.51.100.66"
        assert world.pool.asked == []
    assert rules.elements.open == {}
    for address in ("198.51.100.66", "198.51.100.67"):
        assert not rules.states.allows("s", "ok.test", ip_address(address), "tcp", 443).allowed
    await world.service.close()
    await served.updates.close()


class Sender:
    def __init__(self):
        self.replies = []

    def reply(self, peer, octets):
        self.replies.append(octets)


async def test_a_flood_is_bounded(served):
    sender = Sender()
    octets = update().to_wire()
    for _ in range(10 * limits.UPDATES_WAITING):
        served.updates.take(octets, sender, b"")
    await asyncio.wait_for(served.updates._task, 60)
    assert len(sender.replies) == limits.UPDATES_WAITING


async def test_who_has_no_key_keeps_nobody_waiting(served, monkeypatch):
    """Such updates are answered at once, whatever is in them, are not read, and take no place of those that are signed."""
    monkeypatch.setattr(dns.message, "from_wire", lambda *_, **__: pytest.fail("it is read"))
    long = b"".join(b"\1a" for _ in range(120)) + b"\0"
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)
    sender = Sender()
    for count, number in ((limits.UPDATE_RECORDS, 5), (limits.UPDATE_RECORDS + 1, 5), (4000, 5)):
        head = struct.pack("!HHHHHH", 1, dns.opcode.UPDATE << 11, 1, 0, count, 0)
        served.updates.take(head + long + b"\0\6\0\1" + count * record, sender, b"")
        assert sender.replies.pop()[3] & 0xF == number
    for keys, number in ((None, 5), ({dns.name.from_text("ddns"): dns.tsig.Key("ddns", OTHER, "hmac-sha256")}, 9)):
        made = dns.update.UpdateMessage(ORIGIN, **({"keyring": keys, "keyname": "ddns", "keyalgorithm": "hmac-sha256"} if keys else {}))
        made.add("db", 60, "A", "10.9.0.1")
        octets = made.to_wire()
        for _ in range(2 * limits.UPDATES_WAITING):
            served.updates.take(octets, sender, b"")
        assert [reply[3] & 0xF for reply in sender.replies] == [number] * 2 * limits.UPDATES_WAITING
        sender.replies.clear()
    assert served.updates._task is None


async def test_changed_or_cut_off_updates_are_none(served):
    made = update()
    made.add("db", 60, "A", "10.9.0.1")
    octets = made.to_wire()
    for at in range(12, len(octets)):
        for changed in (octets[:at], octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :], octets[:at] + b"\0" + octets[at:]):
            assert (await served.updates.answer(changed))[3] & 0xF in (1, 5, 9), at
    assert served.kept() == []


async def test_what_one_key_may_store_is_bounded(served, monkeypatch):
    many = update()
    many.add("db", 60, "A", *(f"10.8.{number // 250}.{number % 250}" for number in range(limits.STATIC_VALUES + 1)))
    assert await served.rcode(many) == "REFUSED"
    monkeypatch.setattr(limits, "STATIC_OCTETS", 1000)
    large = update()
    large.add("db", 60, "TXT", " ".join([f'"{"x" * 250}"'] * 4))
    assert await served.rcode(large) == "REFUSED"
    assert served.kept() == []


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "must be a table"),
        ({"a": {"secret_file": "/x"}}, "networks must be a list"),
        ({"a": {"secret_file": "x", "networks": ["front"]}}, "path of a file"),
        ({"a": {"secret_file": "/x", "networks": ["front"], "algorithm": "hmac-md5"}}, "hmac-sha256, hmac-sha384"),
        ({"a": {"secret_file": "/x", "networks": ["front"], "more": 1}}, "must be a table of algorithm"),
        ({"a..b": {"secret_file": "/x", "networks": ["front"]}}, "no domain name"),
    ],
)
def test_keys_that_cannot_be(given, reason):
    with pytest.raises(ConfigError, match=reason):
        parse({"update_keys": given}, "x")


def test_secrets_are_in_files_that_nobody_else_reads(tmp_path):
    path = tmp_path / "key"
    (key,) = parse({"update_keys": {"ddns": {"secret_file": str(path), "networks": ["front"]}}}, "x").update_keys
    text = base64.b64encode(SECRET).decode()

    def read(content, mode=0o600):
        path.write_text(content)
        path.chmod(mode)
        return read_secrets((key,))["ddns"]

    assert read(f"{text}\n") == SECRET
    assert read(f'key "ddns" {{\n\talgorithm hmac-sha256;\n\tsecret "{text}";\n}};\n') == SECRET
    for content, mode, reason in (
        (text, 0o640, "chmod 600"), ("not base64!", 0o600, "tsig-keygen"), ("YQ==", 0o600, "at least 16"),
        (f'key x {{ algorithm hmac-sha512; secret "{text}"; }};', 0o600, "is for hmac-sha512"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=reason):
            read(content, mode)
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        read_secrets((key,))
