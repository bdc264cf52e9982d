"""Egress rules in the resolver: the policy of a view, what it has the kernel open, what outlives a restart, what is told."""

import asyncio
import struct
from ipaddress import ip_address, ip_network

import dns.message
import dns.rrset
import pytest

from netcore import limits
from netcore.egress import read
from netcore.egress.layer import Layer
from netcore.egress.policy import Policy
from netcore.egress.refusals import Refusals, Refused
from netcore.egress.settings import EgressSettings
from netcore.egress.surroundings import KnownNetwork, Surroundings
from netcore.errors import Exhausted, KernelError, NotFound
from netcore.kernel.egress_elements import Asked, TrackedFlow
from netcore.kernel.refused_packets import RefusedPacket, read_packet
from netcore.look.opened_flows import ADDRESS_ALONE, number_of
from netcore.look.steps import FlowKey
from resolver.cli.client import Refused as CommandRefused
from resolver.cli.egress_files import with_files
from resolver.daemon import egress_config
from resolver.daemon.egress_states import EgressStates
from resolver.daemon.hidden_names import NOTHING_HIDDEN, HiddenNames
from resolver.engine import received as relaying
from resolver.engine.request import screen
from resolver.wire.message import HEADER
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import RecordSet, StaticName
from resolver.zone.zone import Zone

SOURCE = ip_address("10.0.0.2")
AROUND = Surroundings(networks=(KnownNetwork(name="a", subnets=(ip_network("10.0.0.0/24"),), attached=True),))


FLOW = TrackedFlow(SOURCE, 40_000, ip_address("192.0.2.1"), "tcp", 443, b"", b"")


class Elements:
    """The kernel's part: what is open, by set and key → milliseconds."""

    def __init__(self):
        self.open, self.writes, self.before, self.connections, self.fails, self.kept = {}, 0, [], frozenset(), False, []
        self.moved = 0

    def write(self, opened, closed=(), fresh=()):
        if self.fails:
            raise KernelError("open", "addresses", 2, "no set")
        self.writes += 1
        for one in closed:
            self.open.pop(one.element.key, None)
        written = {one.element.key for one in opened}
        for one in fresh:
            # The kernel would leave its time as it is.
            assert one.element.key in written or one.element.key not in self.open
        for one in sorted([*opened, *fresh], key=lambda one: one.left):
            self.open[one.element.key] = one.left

    def asked(self):
        return self.before

    def live(self, sources):
        return self.connections

    def move_flows(self, moves):
        self.moved += 1
        self.kept += [(move.before, move.after, move.may_go_on(FLOW) if move.may_go_on is not None else None) for move in moves]

    def named(self):
        return sorted(f"{key[4]} {key[6]}" for key in self.open if key[2].startswith("egress_named"))


class World:
    def __init__(self, *rules, settings=None):
        self.now, self.elements, self.refused = 1000.0, Elements(), []
        self.states = EgressStates(settings or EgressSettings(), self.elements, lambda: self.now)
        self.states.on_refused = lambda *told: self.refused.append(told)
        self.policy = None
        if rules:
            self.rules(*rules)

    def rules(self, *rules, sources=(SOURCE,), hidden=NOTHING_HIDDEN, generation=None):
        made = Policy("job", [Layer(read.rules(rules), "sandbox job")], AROUND)
        self.policy = self.states.policy("s", made, hash(rules) if generation is None else generation, sources, hidden)

    def verdict(self, name, qtype=1):
        return self.policy.verdict(from_text(name), qtype)

    def answer(self, name, *texts, qtype="A", ttl=1):
        asked = dns.message.make_query(name, qtype)
        made = dns.message.make_response(asked)
        made.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", qtype, *texts))
        query = screen(asked.to_wire())
        received = relaying.take_apart(made.to_wire(max_size=65_535), HEADER.size + len(query.question))
        return self.policy.open(query, self.policy.shown(query, received))


# --- questions ------------------------------------------------------------------------------------------------------


def test_verdicts():
    world = World("ok.test", "*.wild.test")
    for name in ("ok.test", "a.wild.test", "_8443._https.ok.test"):
        assert world.verdict(name) is None
    assert (world.verdict("test").rcode, world.verdict("wild.test").rcode, world.verdict("").rcode) == (0, 0, 0)
    refusal = world.verdict("bad.test")
    assert (refusal.rcode, refusal.reason.endswith("bad.test would")) == (3, True)
    assert world.refused == [("s", "bad.test", refusal.reason, "bad.test")]
    for name in ("x.ok.test", "_x._https.ok.test", "_8443._http.ok.test", "ok.test.example"):
        assert world.verdict(name).rcode == 3


def test_labels_with_dots_and_odd_octets_are_below_no_rule():
    world = World("*.wild.test", "ok.test")
    for wire in (
        b"\x07a.wild\x01\x04test\0",
        b"\x0aa.wild.tes\x04test\0",
        b"\x01\0\x04wild\x04test\0",
        b"\x07ok.test\0",
        b"\x02ok\x04te\xfft\0",
    ):
        assert world.policy.verdict(wire, 1).rcode == 3
    assert World("all").policy.verdict(b"\x01\0\x04wild\x04test\0", 1) is None


def test_reverse_names_of_what_is_open_alone():
    world = World("ok.test", "198.51.100.0/24")
    assert world.verdict("1.2.0.192.in-addr.arpa", 12).rcode == 3
    assert world.verdict("9.100.51.198.in-addr.arpa", 12) is None
    assert world.verdict("2.0.192.in-addr.arpa", 12).rcode == 0
    assert world.verdict("in-addr.arpa", 12).rcode == 0
    assert world.verdict("a.b.in-addr.arpa", 12).rcode == 0
    world.answer("ok.test", "192.0.2.1")
    assert world.verdict("1.2.0.192.in-addr.arpa", 12) is None
    world.now += 10_000
    assert world.verdict("1.2.0.192.in-addr.arpa", 12).rcode == 3


def test_new_names_below_a_wildcard_are_bounded():
    world = World("*.wild.test", "ok.test", settings=EgressSettings(new_names=10))
    assert [world.verdict(f"n{number}.wild.test") for number in range(10)] == [None] * 10
    refusal = world.verdict("n10.wild.test")
    assert (refusal.rcode, "too many new names" in refusal.reason) == (5, True)
    assert world.verdict("n3.wild.test") is None
    assert world.verdict("ok.test") is None
    # Another view of the same sandbox does not fill it up again.
    world.rules("*.wild.test")
    assert world.verdict("n11.wild.test").rcode == 5
    world.now += 6
    assert world.verdict("n11.wild.test") is None


def test_a_name_of_a_network_that_is_not_open_says_which_rule_would_do():
    zone = Zone("n", from_text("a"), 5).with_changes(
        (), records(endpoint="e", network="a", endpoint_names=["web"], addresses=[ip_address("10.0.0.3")])
    )
    zone = zone.with_changes((), records(endpoint="f", network="a", endpoint_names=["*.app"], addresses=[ip_address("10.0.0.4")]))
    zone = zone.with_static({from_text("www.shop"): StaticName((RecordSet(16, 5, (b"\1x",)),))})
    known = KnownNetwork(name="a", subnets=(), attached=True)
    world = World()
    world.rules("ok.test", hidden=HiddenNames(from_text("berth.internal"), [(known, PublishedZone(zone))]))
    for name in ("web", "web.a", "web.a.berth.internal", "x.y.app", "x.app.a", "www.shop", "shop", "a", "3.0.0.10.in-addr.arpa"):
        world.refused.clear()
        refusal = world.policy.hidden(from_text(name))
        assert (refusal.rcode, refusal.reason.endswith("no egress rule of sandbox job allows it; network:a would")) == (3, True), name
        assert world.refused == [("s", name, refusal.reason, "network:a")]
    assert (
        world.verdict("web").reason
        == "sandbox job may not ask for web on network a: no egress rule of sandbox job allows it; network:a would"
    )
    for name in ("nobody", "web.b", "x.web", "b.berth.internal", "berth.internal", "ok.test"):
        assert world.policy.hidden(from_text(name)) is None, name
    assert world.verdict("nobody").reason.endswith("nobody would")
    # No other rule helps where one denies it.
    world.rules("all", "deny:network:a", hidden=HiddenNames(from_text("berth.internal"), [(known, PublishedZone(zone))]))
    refusal = world.policy.hidden(from_text("web"))
    assert refusal.reason.endswith("the egress rule deny:network:a of sandbox job denies it")
    assert world.refused[-1][3] is None


# --- answers --------------------------------------------------------------------------------------------------------


def test_what_is_answered_is_in_the_kernel_when_open_returns():
    world = World("ok.test", "*.wild.test:8443")
    assert world.answer("ok.test", "192.0.2.1", "192.0.2.2") is None
    assert world.elements.named() == ["192.0.2.1 443", "192.0.2.1 80", "192.0.2.2 443", "192.0.2.2 80"]
    writes = world.elements.writes
    world.now += 100
    world.answer("ok.test", "192.0.2.2", "192.0.2.1")
    assert world.elements.writes == writes
    world.answer("a.wild.test", "169.254.169.254", "10.1.1.1", "10.0.0.9")
    assert world.elements.writes == writes
    assert world.states.allows("s", "ok.test", ip_address("192.0.2.1"), "tcp", 443).allowed
    assert not world.states.allows("s", "a.wild.test", ip_address("192.0.2.1"), "tcp", 8443).allowed
    with pytest.raises(NotFound):
        world.states.allows("other", "ok.test", ip_address("192.0.2.1"), "tcp", 443)


def test_many_names_of_one_address_cost_each_answer_the_same():
    world = World("*.wild.test", settings=EgressSettings(new_names=10_000))
    written = []
    original = world.elements.write
    world.elements.write = lambda opened, closed, fresh: (written.append(len([*opened, *fresh])), original(opened, closed, fresh))
    for number in range(300):
        world.answer(f"n{number}.wild.test", "192.0.2.1")
    # Its two ports and its name: others have the address open for no longer.
    assert set(written[1:]) == {3}


def test_names_are_bounded_and_what_others_have_open_stays(monkeypatch):
    monkeypatch.setattr("netcore.egress.openings.Openings.__init__.__defaults__", (100, 3))
    world = World("*.wild.test")
    world.answer("a.wild.test", "192.0.2.1", ttl=7200)
    for number in range(9):
        world.answer(f"n{number}.wild.test", "192.0.2.1")
    assert world.elements.named() == ["192.0.2.1 443", "192.0.2.1 80"]
    names = [key for key in world.elements.open if key[2].startswith("egress_asked")]
    assert len(names) == 3
    assert not world.states.allows("s", "a.wild.test", ip_address("192.0.2.1"), "tcp", 443).allowed
    assert world.states.allows("s", "n8.wild.test", ip_address("192.0.2.1"), "tcp", 443).allowed
    # It is open for as long as its names are, not as the one that is forgotten was.
    assert {world.elements.open[key] for key in world.elements.open} == {450_000}


def test_an_address_that_two_names_have_is_open_for_the_longer_of_both():
    world = World("*.test")
    world.answer("long.test", "192.0.2.1", ttl=3000)
    longest = max(world.elements.open.values())
    world.now += 10
    world.answer("short.test", "192.0.2.1", ttl=1)
    assert {left for key, left in world.elements.open.items() if "named" in key[2]} == {longest - 10_000}
    world.rules("short.test")
    assert world.elements.named() == ["192.0.2.1 443", "192.0.2.1 80"]
    world.rules("other.test")
    assert world.elements.open == {}


def test_what_the_kernel_refuses_is_not_taken_for_open():
    world = World("ok.test")
    world.elements.fails = True
    with pytest.raises(KernelError):
        world.answer("ok.test", "192.0.2.1")
    assert not world.states.allows("s", "ok.test", ip_address("192.0.2.1"), "tcp", 443).allowed
    world.elements.fails = False
    world.answer("ok.test", "192.0.2.1")
    assert world.elements.named()


def test_a_name_that_a_service_leads_to_may_be_asked_and_opens_for_the_one_that_is_allowed():
    world = World("ok.test")
    assert world.verdict("pool.cdn.test").rcode == 3
    world.answer("ok.test", "1 pool.cdn.test. ipv4hint=192.0.2.7", qtype="HTTPS")
    assert world.elements.named() == ["192.0.2.7 443", "192.0.2.7 80"]
    assert world.verdict("pool.cdn.test") is None
    world.answer("pool.cdn.test", "192.0.2.8")
    assert world.states.allows("s", "ok.test", ip_address("192.0.2.8"), "tcp", 443).allowed
    world.rules("other.test")
    assert world.verdict("pool.cdn.test").rcode == 3
    assert world.elements.open == {}


async def test_answers_wait_while_the_tables_are_written_anew_and_what_is_open_goes_along():
    world = World("ok.test")
    world.answer("ok.test", "192.0.2.1")
    with world.states.rewriting() as openings:
        assert sorted(one.element.set.name for one in openings) == ["egress_asked4", "egress_named4", "egress_named4"]
        waiting = asyncio.ensure_future(world.answer("ok.test", "192.0.2.2"))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert "192.0.2.2 443" not in world.elements.named()
    await waiting
    assert "192.0.2.2 443" in world.elements.named()


async def test_room_is_made_among_what_has_no_connections(monkeypatch):
    monkeypatch.setattr("netcore.egress.openings.Openings.__init__.__defaults__", (2, 100))
    world = World("*.test")
    world.answer("a.test", "192.0.2.1")
    world.answer("a.test", "192.0.2.2")
    world.elements.connections = frozenset([ip_address("192.0.2.1")])
    await world.answer("a.test", "192.0.2.3")
    assert world.elements.named() == ["192.0.2.1 443", "192.0.2.1 80", "192.0.2.3 443", "192.0.2.3 80"]
    world.elements.connections = frozenset(map(ip_address, ("192.0.2.1", "192.0.2.3")))
    with pytest.raises(Exhausted, match="all have connections"):
        await world.answer("a.test", "192.0.2.4")


def test_what_an_earlier_daemon_opened_counts_as_far_as_rules_allow_it():
    world = World()
    world.elements.before = [
        Asked(SOURCE, ip_address("192.0.2.1"), "ok.test", 100.0),
        Asked(SOURCE, ip_address("192.0.2.2"), "gone.test", 100.0),
        Asked(ip_address("10.0.0.9"), ip_address("192.0.2.3"), "ok.test", 100.0),
    ]
    world.states.read_back()
    world.rules("ok.test")
    assert world.states.allows("s", "ok.test", ip_address("192.0.2.1"), "tcp", 443).allowed
    assert not world.states.allows("s", "gone.test", ip_address("192.0.2.2"), "tcp", 443).allowed
    with world.states.rewriting() as openings:
        assert {str(one.element.fields[1]) for one in openings} == {"192.0.2.1"}
        assert {one.left for one in openings} == {100_000}


def test_addresses_of_the_sandbox_come_and_go():
    other = ip_address("10.0.0.7")
    world = World("ok.test")
    world.answer("ok.test", "192.0.2.1")
    world.rules("ok.test", sources=(SOURCE, other))
    assert {key[3] for key in world.elements.open} == {str(SOURCE), str(other)}
    assert (world.states.owner_of(other), world.states.owner_of(ip_address("10.0.0.8"))) == ("s", None)
    world.rules("ok.test", sources=(other,))
    assert {key[3] for key in world.elements.open} == {str(other)}
    assert world.states.owner_of(SOURCE) is None
    world.states.forget("s")
    assert world.elements.open == {}
    assert world.states.owner_of(other) is None


def test_connections_to_names_that_are_still_allowed_are_kept_by_their_mark():
    world = World()
    world.rules("ok.test", generation=1)
    world.rules("ok.test", "b.test", generation=2)
    assert world.elements.kept == [(1, 2, None)], "nothing was opened, so there is nothing to be looked for"
    world.answer("ok.test", "192.0.2.1")
    world.rules("ok.test", generation=3)
    world.now += 10_000
    world.rules("ok.test", "192.0.2.0/24", generation=4)
    world.rules("192.0.2.0/24", generation=5)
    assert world.elements.kept[1:] == [(2, 3, True), (3, 4, True), (4, 5, True)]
    world.rules("b.test", generation=6)
    assert world.elements.kept[4:] in ([(5, 6, None)], [(5, 6, False)])


def test_connections_of_many_sandboxes_are_looked_at_once():
    world = World()
    with world.states.together():
        for generation in (1, 2, 3):
            world.rules("ok.test", generation=generation)
        assert world.elements.moved == 0
    assert (world.elements.moved, [after for _, after, _ in world.elements.kept]) == (1, [2, 3])


def test_a_connection_to_an_address_of_several_names_goes_on_only_if_all_may():
    """Unless somebody knows for which of them it was begun."""
    for number, is_kept in ((None, False), (number_of("ok.test"), True), (number_of("b.test"), False), (ADDRESS_ALONE, True)):
        shared_address(number, is_kept)


def shared_address(number, is_kept):
    world = World()
    world.states.name_number = {FlowKey(SOURCE, 40_000, FLOW.address, 443): number}.get
    world.rules("ok.test", "b.test", generation=1)
    world.answer("ok.test", "192.0.2.1")
    world.answer("b.test", "192.0.2.1")
    world.rules("ok.test", "b.test", "c.test", generation=2)
    world.rules("ok.test", "c.test", generation=3)
    assert world.elements.kept == [(1, 2, True), (2, 3, is_kept)]


def test_exact_names_are_due_before_they_are_closed_and_others_are_not():
    world = World("ok.test", "*.wild.test")
    world.answer("ok.test", "192.0.2.1")
    world.answer("ok.test", "2001:db8::1", qtype="AAAA")
    world.answer("a.wild.test", "192.0.2.1")
    assert world.states.due() == []
    world.now += 300
    assert sorted(world.states.due()) == [("s", "ok.test", 4), ("s", "ok.test", 6)]
    world.policy = world.policy.asked_by_us()
    world.answer("ok.test", "192.0.2.1")
    assert world.states.due() == [("s", "ok.test", 6)]
    world.now += limits.EGRESS_ASKED_LATELY
    assert world.states.due() == []


# --- what was refused -----------------------------------------------------------------------------------------------


def refused(number=0, sandbox="s", last=0.0):
    return Refused(
        sandbox=sandbox, sandbox_id=sandbox, kind="question", name=f"n{number}.test", address="", protocol="", port=0, reason="no", lacks=None,
        first=last, last=last,
    )  # fmt: skip


def test_memory_of_refusals_is_bounded_for_each_sandbox_and_for_all():
    memory = Refusals()
    memory.put(refused(sandbox="other"))
    for number in range(limits.EGRESS_REFUSALS + 50):
        memory.put(refused(number, last=float(number)))
    assert len([one for one in memory if one.sandbox == "s"]) == limits.EGRESS_REFUSALS
    assert [one.name for one in memory if one.sandbox == "other"] == ["n0.test"]
    for number in range(limits.EGRESS_REFUSING_SANDBOXES + 5):
        memory.put(refused(sandbox=f"s{number}"))
    assert len({one.sandbox for one in memory}) == len(memory.counts) == limits.EGRESS_REFUSING_SANDBOXES


def test_repetitions_are_counted_and_told_again_after_a_minute():
    memory = Refusals()
    assert memory.put(refused(last=1.0))[1]
    merged, is_news = memory.put(refused(last=2.0))
    assert (merged.count, merged.first, merged.last, is_news) == (2, 1.0, 2.0, False)
    assert memory.put(refused(last=2.0 + limits.EGRESS_TOLD_AGAIN + 1))[1]
    assert memory.counts == {"s": 3}


def test_packets_are_read_as_far_as_they_go():
    four = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 192, 0, 2, 1]) + struct.pack("!HH", 40_000, 8443)
    assert read_packet(four) == RefusedPacket(ip_address("10.0.0.2"), ip_address("192.0.2.1"), "tcp", 8443)
    assert read_packet(four[:22]).port == 0
    fragment = four[:6] + b"\0\x10" + four[8:]
    assert read_packet(fragment).port == 0
    addresses = ip_address("fd00::2").packed + ip_address("2001:db8::1").packed
    six = bytes([0x60, 0, 0, 0, 0, 16, 0, 64]) + addresses + bytes([17, 0, 0, 0, 0, 0, 0, 0]) + struct.pack("!HH", 1, 9999)
    assert read_packet(six) == RefusedPacket(ip_address("fd00::2"), ip_address("2001:db8::1"), "udp", 9999)
    icmp = bytes([0x60, 0, 0, 0, 0, 8, 58, 64]) + addresses + b"\x80\0\0\0"
    assert (read_packet(icmp).protocol, read_packet(icmp).port) == ("ipv6-icmp", 0)
    for wrong in (b"", b"\x45", four[:19], b"\x60" + bytes(38), b"\x00" * 60):
        assert read_packet(wrong) is None


# --- configuration and files ----------------------------------------------------------------------------------------


def test_configuration():
    made = egress_config.parse({"default": ["none"], "ceiling": ["none", "*.Example.org"], "sets": {"b": ["x.test:1"]}, "hold": 60})
    assert egress_config.as_table(made) == {
        "default": ["none"], "ceiling": ["none", "*.example.org"], "sets": {"b": ["x.test:1"]}, "hold": 60, "new_names": 600,
    }  # fmt: skip
    assert egress_config.parse(egress_config.as_table(made)) == made
    by_address = egress_config.parse({"sets": {"cdn": {"rules": ["x.test", "deny:y.test"], "check": "address"}}})
    assert [*map(str, by_address.sets["cdn"])] == ["x.test+address", "deny:y.test"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "must be a table"), ({"ceilling": []}, "did you mean ceiling"), ({"default": []}, "default must be a list of rules"),
        ({"default": "none"}, "default must be a list of rules"), ({"ceiling": ["a..b"]}, "egress.ceiling rule 'a..b'"),
        ({"sets": []}, "sets must be a table"), ({"sets": {"a/b": ["x.test"]}}, "can't be part of a rule"),
        ({"sets": {"a": [1]}}, "sets.a must be a list"), ({"hold": 0}, "hold must be a whole number from 1"), ({"hold": True}, "hold must be"),
    ],
)  # fmt: skip
def test_mistakes_of_the_configuration(value, says):
    with pytest.raises(Exception, match=says):
        egress_config.parse(value)


def test_lists_in_files(tmp_path):
    (tmp_path / "build").write_text("# index\nx.test\n@forge\n")
    (tmp_path / "forge").write_text("y.test:22\n")
    (tmp_path / ".hidden").write_text("a..b")
    (tmp_path / "old~").write_text("a..b")
    made = egress_config.with_files(EgressSettings(sets={"forge": read.rules(["z.test"])}), str(tmp_path))
    assert {name: [*map(str, rules)] for name, rules in made.sets.items()} == {"build": ["x.test", "@forge"], "forge": ["z.test"]}
    assert egress_config.with_files(EgressSettings(), str(tmp_path / "none")) == EgressSettings()
    (tmp_path / "bad").write_text("fine.test\na..b\n")
    with pytest.raises(Exception, match=r"bad rule 'a\.\.b'"):
        egress_config.with_files(EgressSettings(), str(tmp_path))
    (tmp_path / "bad").write_text("@gone")
    with pytest.raises(Exception, match="there is no list gone"):
        egress_config.with_files(EgressSettings(), str(tmp_path))


def test_files_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config/berth/egress").mkdir(parents=True)
    (tmp_path / "config/berth/egress/mine").write_text("m.test, deny:n.test\n@theirs\n")
    (tmp_path / "list.txt").write_text("x.test # one\n\n@mine\n@./list.txt\n")
    assert with_files(["@./list.txt", "y.test,x.test"]) == ["x.test", "m.test", "deny:n.test", "@theirs", "@./list.txt", "y.test"]
    assert with_files(["deny:@mine"]) == ["deny:m.test", "deny:n.test", "deny:@theirs"]
    assert with_files(["@unknown", "plain.test"]) == ["@unknown", "plain.test"]
    (tmp_path / "cdn.txt").write_text('check = "address"\nc.test:443, @mine, 10.0.0.0/8\n')
    assert with_files(["@./cdn.txt"]) == ["c.test+address:443", "m.test", "deny:n.test", "@theirs", "10.0.0.0/8"]
    assert with_files(["deny:@./cdn.txt"])[0] == "deny:c.test:443"
    (tmp_path / "bad.txt").write_text("check = x\nc.test\n")
    with pytest.raises(CommandRefused, match="check is there once"):
        with_files(["@./bad.txt"])
    with pytest.raises(CommandRefused, match=r"invalid egress list \./gone"):
        with_files(["@./gone"])
