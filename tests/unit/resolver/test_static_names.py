"""Static names: what may be written, what stands beside what, what is stored, and what is answered."""

import asyncio
import logging
import re
from ipaddress import ip_address

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import Conflict, Exhausted, InvalidRequest, NotFound
from netcore.model import NetworkRequest
from netcore.store.protocol import Transaction
from resolver import limits
from resolver.daemon.record_operations import RecordOperations
from resolver.daemon.record_shapes import RecordBody
from resolver.daemon.static_names import StaticNames
from resolver.engine.aliased import render, target_query
from resolver.engine.answer import Addresses, Aliased, Forward, Negative, Pointer, Records, Services, answer
from resolver.engine.explain import Trace, explain
from resolver.engine.query_policy import Refusal
from resolver.engine.request import screen
from resolver.wire import name as names
from resolver.wire.message import Rcode, Type
from resolver.wire.name import from_text, reverse
from resolver.zone.record_text import data_text, read, type_text
from resolver.zone.static_changes import added, without
from resolver.zone.static_names import by_name
from resolver.zone.zone import Record
from tests.support.memory_store import MemoryStore
from tests.support.networks import bridge_network, pool
from tests.support.zones import view, zone
from tests.unit.resolver.daemon_fakes import World as Daemon
from tests.unit.resolver.test_service import World

LABEL = {"label": "front", "suffix": "berth.internal"}


def record(name, rtype, data, ttl=None):
    return read(name, rtype, data, ttl, **LABEL)


def made(*records, registrations=((["web", "shop"], ["10.1.0.2", "fd01::2"]),)):
    """A zone called front with these static records."""
    published = zone("front", *registrations)
    published.change_static(by_name([record(*one) for one in records], 5))
    return published


# --- what may be written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rtype", "data", "kept", "shown"),
    [
        ("WWW", "cname", "web", "www", "web.front.berth.internal."),
        ("www.front", "CNAME", "Example.com", "www", "Example.com."),
        ("www.front.berth.internal.", "CNAME", "web.back", "www", "web.back."),
        ("w2", "CNAME", "web.front", "w2", "web.front.berth.internal."),
        ("w3", "CNAME", "web.front.", "w3", "web.front."),
        ("_sip._udp", "SRV", "0 5 5060 pbx", "_sip._udp", "0 5 5060 pbx.front.berth.internal."),
        ("@.mail", "MX", "10 mx.example.org.", "@.mail", "10 mx.example.org."),
        ("spf", "TXT", 'v=spf1 "-all', "spf", '"v=spf1 \\"-all"'),
        ("two", "TXT", '"one" "two"', "two", '"one" "two"'),
        ("long", "TXT", "x" * 300, "long", f'"{"x" * 255}" "{"x" * 45}"'),
        ("ca", "CAA", "0 issue letsencrypt.org", "ca", '0 issue "letsencrypt.org"'),
        ("10.1.0.77", "PTR", "printer", "77.0.1.10.in-addr.arpa", "printer.front.berth.internal."),
        ("fd01::7", "PTR", "printer", "7." + "0." * 27 + "1.0.d.f.ip6.arpa", "printer.front.berth.internal."),
        ("h", "HTTPS", "1 . alpn=h2,h3 ipv4hint=10.1.0.2", "h", '1 . alpn="h2,h3" ipv4hint="10.1.0.2"'),
        ("s", "SVCB", "0 web", "s", "0 web.front.berth.internal."),
        ("n", "NAPTR", '100 10 "S" "SIP+D2U" "" _sip._udp.example.', "n", '100 10 "S" "SIP+D2U" "" _sip._udp.example.'),
        ("_443._tcp", "TLSA", "3 1 1 " + "ab" * 32, "_443._tcp", "3 1 1 " + "ab" * 32),
        ("key", "SSHFP", "4 2 " + "ab" * 32, "key", "4 2 " + "ab" * 32),
        ("u", "URI", '10 1 "https://x/"', "u", '10 1 "https://x/"'),
        ("z", "TYPE65280", r"\# 2 abcd", "z", r"\# 2 abcd"),
        ("*.dev", "AAAA", "fd01::9", "*.dev", "fd01::9"),
    ],
)  # fmt: skip
def test_records_are_written_as_in_a_zone_file(name, rtype, data, kept, shown):
    found = record(name, rtype, data)
    assert (found.name, type_text(found.rtype), data_text(found.rtype, found.data)) == (kept, rtype.upper(), shown)
    # What is shown can be written again.
    assert record(found.name, type_text(found.rtype), shown) == found


@pytest.mark.parametrize(
    ("name", "rtype", "data", "reason"),
    [
        ("*", "A", "10.0.0.1", "such as *.app"),
        ("@", "A", "10.0.0.1", "the network itself"),
        ("front", "A", "10.0.0.1", "the network itself"),
        ("front.berth.internal.", "A", "10.0.0.1", "the network itself"),
        ("x.example.", "A", "10.0.0.1", "not on this network; give a name such as www"),
        ("123", "A", "10.0.0.1", "take 123 for an address"),
        ("a..b", "A", "10.0.0.1", "1 to 63"),
        ("bücher", "A", "10.0.0.1", "xn--"),
        (".".join("a" * 60 for _ in range(4)), "A", "10.0.0.1", "longer than 255"),
        ("my.localhost", "A", "10.0.0.1", "meaning of their own"),
        ("7.0.1.10.in-addr.arpa", "A", "10.0.0.1", "type PTR"),
        ("x", "AAA", "::1", "did you mean"),
        ("x", "A", "fd01::1", "like 10.0.0.5"),
        ("x", "SRV", "0 5 web", "like 0 5 5060 web"),
        ("x", "NS", "ns", "forward="),
        ("x", "SOA", "a b 1 1 1 1 1", "makes it"),
        ("x", "DNAME", "y", "CNAME for each"),
        ("x", "DS", "1", "not signed"),
        ("x", "ANY", "1", "no type of data"),
        ("x", "TYPE41", r"\# 0", "no type of data"),
        ("x", "TYPE200", r"\# 0", "no type of data"),
        ("x", "TXT", "x" * 40_000, "at most 32768"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_would_be_right(name, rtype, data, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        record(name, rtype, data)


@pytest.mark.parametrize("ttl", [-1, limits.LONGEST_TTL + 1])
def test_ttl_has_bounds(ttl):
    with pytest.raises(ValueError, match="must be 0 to"):
        record("x", "A", "10.0.0.1", ttl)


def test_alias_stands_alone():
    alias, address, text = record("x", "CNAME", "web"), record("x", "A", "10.0.0.1"), record("x", "TXT", "t")
    with pytest.raises(ValueError, match="is an alias"):
        added([alias], address)
    with pytest.raises(ValueError, match="has other records"):
        added([address], alias)
    with pytest.raises(ValueError, match="is an alias already"):
        added([alias], record("x", "CNAME", "db"))
    assert added([alias], alias) == (alias,)
    assert added([address], text) == (address, text)


def test_records_of_one_type_have_one_ttl():
    one = record("x", "A", "10.0.0.1", 60)
    assert [found.ttl for found in added([one], record("x", "A", "10.0.0.2"))] == [60, 60]
    assert [found.ttl for found in added([one], record("x", "A", "10.0.0.2", 9))] == [9, 9]
    assert [found.ttl for found in added([one], record("x", "A", "10.0.0.1", 9))] == [9]
    assert [found.ttl for found in added([one], record("x", "TXT", "t"))] == [60, None]


def test_records_of_a_name_and_type_fit_into_a_response():
    records = ()
    with pytest.raises(ValueError, match="fit into a response"):
        for number in range(2000):
            records = added(records, record("x", "TXT", f"{number:0200}"))
    assert without(records, Type.A) == records
    assert len(without(records, Type.TXT, records[0].data)) == len(records) - 1
    assert without(records) == ()


# --- what is answered ---------------------------------------------------------------------------------------------

PUBLISHED = made(
    ("www", "CNAME", "web"), ("chain", "CNAME", "www"), ("out", "CNAME", "example.com."), ("loop", "CNAME", "loop2"), ("loop2", "CNAME", "loop"),
    ("gone", "CNAME", "nobody.front"), ("printer", "A", "192.168.1.20", 60), ("printer", "A", "192.168.1.21"), ("web", "TXT", "hello"),
    ("shop", "A", "192.168.1.30"), ("10.1.0.2", "PTR", "override"), ("_sip._udp", "SRV", "0 5 5060 web"), ("a.deep", "TXT", "x"),
)  # fmt: skip
VIEW = view(PUBLISHED)


def asked(name, rtype, where=VIEW):
    return answer(where, from_text(name), Type[rtype] if isinstance(rtype, str) else rtype)


@pytest.mark.parametrize("name", ["printer", "printer.front", "printer.front.berth.internal"])
def test_static_addresses_are_answered_like_those_of_sandboxes(name):
    found = asked(name, "A")
    assert isinstance(found, Addresses)
    assert (found.ttl, [str(ip_address(value)) for value in found.values]) == (60, ["192.168.1.20", "192.168.1.21"])
    assert asked(name, "AAAA") == Negative(Rcode.NOERROR, from_text(name), 5, "network front")
    assert asked(name, "ANY") == found


def test_static_addresses_replace_those_of_sandboxes_and_other_types_stand_beside_them():
    assert [str(ip_address(value)) for value in asked("shop", "A").values] == ["192.168.1.30"]
    # It is another machine than the sandbox that is called shop, so no address of the sandbox is given.
    assert asked("shop", "AAAA").rcode is Rcode.NOERROR
    assert [str(ip_address(value)) for value in asked("web", "A").values] == ["10.1.0.2"]
    assert asked("web", "TXT") == Records(Type.TXT, (b"\x05hello",), 5, "network front")


def test_static_pointer_replaces_that_of_a_sandbox():
    name = reverse(ip_address("10.1.0.2"))
    assert answer(VIEW, name, Type.PTR) == Records(Type.PTR, (from_text("override.front.berth.internal"),), 5, "network front")
    assert isinstance(answer(VIEW, reverse(ip_address("fd01::2")), Type.PTR), Pointer)


def test_static_service_replaces_that_of_a_sandbox():
    published = made(("_80._tcp.web", "SRV", "1 2 8080 other"))
    published.change((), [Record(from_text(f"_{port}._tcp.web"), port.to_bytes(2) + from_text("web.front"), "e") for port in (80, 81)])
    assert asked("_80._tcp.web", "SRV", view(published)).values == (b"\0\1\0\2\x1f\x90" + from_text("other.front.berth.internal"),)
    assert isinstance(asked("_81._tcp.web", "SRV", view(published)), Services)
    assert asked("_sip._udp", "SRV").values == (b"\0\0\0\5\x13\xc4" + from_text("web.front.berth.internal"),)


def test_aliases_are_followed_as_far_as_they_are_ours():
    found = asked("chain", "A")
    assert [(owner, target) for owner, _, target in found.links] == [
        (from_text("chain"), from_text("www.front.berth.internal")),
        (from_text("www.front.berth.internal"), from_text("web.front.berth.internal")),
    ]  # fmt: skip
    assert [str(ip_address(value)) for value in found.end.values] == ["10.1.0.2"]
    assert asked("www", "TXT").end.values == (b"\x05hello",)
    assert asked("www", 15).end.rcode is Rcode.NOERROR
    assert asked("gone", "A").end.rcode is Rcode.NXDOMAIN
    assert asked("www", "CNAME") == Records(Type.CNAME, (from_text("web.front.berth.internal"),), 5, "network front")
    assert isinstance(asked("out", "A").end, Forward)
    assert asked("loop", "A").end.rcode is Rcode.SERVFAIL


def test_first_network_that_has_the_type_answers():
    back = zone("back", (["printer"], ["10.2.0.9"]))
    assert [str(ip_address(value)) for value in asked("printer", "A", view(back, PUBLISHED)).values] == ["10.2.0.9"]
    # Each type is searched for itself, as each address family is.
    assert asked("web", "TXT", view(zone("other", (["web"], ["10.3.0.9"])), PUBLISHED)).values == (b"\x05hello",)


def test_removed_names_are_gone():
    published = made(("printer", "A", "192.168.1.20"), ("web", "TXT", "t"))
    published.change_static({from_text("printer"): None, from_text("web"): None})
    assert isinstance(asked("printer", "A", view(published)), Forward)
    assert asked("web", "TXT", view(published)).rcode is Rcode.NOERROR
    assert published.current.size == zone("front", (["web", "shop"], ["10.1.0.2", "fd01::2"])).current.size


# --- as messages --------------------------------------------------------------------------------------------------


def on_front(*records, **view):
    world = World(**view)
    world.zone.change_static(by_name([record(*one) for one in records], 5))
    return world


def query(name, rtype, **more):
    return dns.message.make_query(name, rtype, **more)


def texts(section):
    return [f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}" for rrset in section for rdata in rrset]


def reply(world, name, rtype, *, tcp=False, **more):
    octets = world.service.on_query(world.client, query(name, rtype, **more).to_wire(), world, b"peer", tcp=tcp)
    return None if octets is None else dns.message.from_wire(octets)


def test_messages_of_every_kind_are_well_formed():
    world = on_front(
        ("www", "CNAME", "web"), ("web", "TXT", "hello"), ("gone", "CNAME", "nobody.front"), ("loop", "CNAME", "loop"), ("s", "CNAME", "_x._tcp.front"),
        ("_x._tcp", "SRV", "0 0 1 web"),
    )  # fmt: skip
    for _ in range(2):
        assert texts(reply(world, "WWW.", "A").answer) == [
            "WWW. 5 CNAME web.front.berth.internal.",
            "web.front.berth.internal. 5 A 10.1.0.2",
        ]
        assert texts(reply(world, "www.", "TXT").answer) == [
            "www. 5 CNAME web.front.berth.internal.",
            'web.front.berth.internal. 5 TXT "hello"',
        ]
        assert texts(reply(world, "web.", "TXT").answer) == ['web. 5 TXT "hello"']
    assert texts(reply(world, "s.", "SRV").answer)[1] == "_x._tcp.front.berth.internal. 5 SRV 0 0 1 web.front.berth.internal."
    none = reply(world, "www.", "MX")
    assert (none.rcode(), len(none.answer), none.authority[0].rdtype) == (0, 1, dns.rdatatype.SOA)
    gone = reply(world, "gone.", "A")
    assert (gone.rcode(), texts(gone.answer)) == (dns.rcode.NXDOMAIN, ["gone. 5 CNAME nobody.front.berth.internal."])
    loop = reply(world, "loop.", "A", use_edns=0)
    assert loop.rcode() == dns.rcode.SERVFAIL
    assert "aliases" in loop.options[0].text


def test_answer_of_an_alias_follows_its_target():
    world = on_front(("www", "CNAME", "two"))
    assert len(reply(world, "www.", "A").answer[1]) == 2
    world.zone.change([one for one in records_of(world, "two") if one.value == ip_address("10.1.0.4").packed], ())
    assert texts(reply(world, "www.", "A").answer)[1:] == ["two.front.berth.internal. 5 A 10.1.0.3"]


def records_of(world, name):
    wire = from_text(name)
    return [Record(wire, value, endpoint, unhealthy) for value, endpoint, unhealthy in world.zone.current.look(wire).published]


def test_large_sets_are_truncated_over_udp_and_whole_over_tcp():
    world = on_front(*(("big", "TXT", f"{number:0200}") for number in range(40)))
    udp = reply(world, "big.", "TXT", use_edns=0, payload=4096)
    assert udp.flags & dns.flags.TC
    assert 0 < len(udp.answer[0]) < 40
    assert len(reply(world, "big.", "TXT", tcp=True).answer[0]) == 40


async def test_alias_of_an_external_name_is_asked_for_outside():
    world = on_front(("out", "CNAME", "mid"), ("mid", "CNAME", "Example.com."))
    assert reply(world, "OUT.", "A", use_edns=0) is None
    world.pool.answer()
    sent = world.replies[-1]
    assert str(sent.question[0].name) == "OUT."
    assert texts(sent.answer) == [
        "OUT. 5 CNAME mid.front.berth.internal.",
        "mid.front.berth.internal. 5 CNAME Example.com.",
        "Example.com. 60 A 192.0.2.1",
    ]
    assert sent.edns == 0
    # The answer for the target is in the cache now, also for those who ask for it by its name.
    assert len(texts(reply(world, "out.", "A").answer)) == 3
    assert reply(world, "example.com.", "A").answer[0][0].address == "192.0.2.1"
    await world.service.close()


RECORDS = [
    "A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "TXT hello", "MX 10 mail.ok.test.", "MX 20 mx.example.", "NS ns.test.", "NS ns2.test.",
    "PTR ok.test.", "SRV 0 5 5060 sip.ok.test.", "SOA ns.test. admin.ok.test. 1 2 3 4 5", "RP admin.ok.test. txt.ok.test.",
    "AFSDB 1 db.ok.test.", "NAPTR 1 1 s a b ok.test.", "HTTPS 1 . alpn=h2", "CAA 0 issue ca.test", "CNAME next.ok.test.",
]  # fmt: skip
SECTION = st.lists(
    st.tuples(st.sampled_from(["ok.test.", "next.ok.test.", "a.b.ok.test.", "other.example.", "."]), st.sampled_from(RECORDS)), max_size=12
)


@given(SECTION, SECTION, SECTION, st.integers(1, 3), st.sampled_from(["x.", "a-rather-long-alias.with-labels.front."]), st.booleans())
def test_names_behind_an_alias_are_those_of_the_answer(answers, authorities, additionals, links, name, edns):
    chain = [
        (from_text(f"l{number}.test."), 5, from_text(f"L{number + 1}.test." if number + 1 < links else "OK.test."))
        for number in range(links)
    ]
    aliased = Aliased(((from_text(name), 5, chain[0][2]), *chain[1:]), Forward(), "network front")
    asked = screen(query(name, "A", use_edns=0 if edns else -1).to_wire())
    _, octets = target_query(asked, aliased)
    made = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
    for section, given_records in ((made.answer, answers), (made.authority, authorities), (made.additional, additionals)):
        for owner, text in given_records:
            section.append(dns.rrset.from_text(owner, 60, "IN", *text.split(" ", 1)))
    sent = dns.message.from_wire(render(asked, aliased, made.to_wire(), tcp=True), one_rr_per_rrset=True)
    assert texts(sent.answer)[:links] == [
        f"{owner} 5 CNAME {names.to_text(target)}"
        for owner, (_, _, target) in zip([name, *[f"l{at}.test." for at in range(1, links)]], aliased.links, strict=True)
    ]
    assert texts(sent.answer)[links:] == texts(made.answer)
    assert (texts(sent.authority), texts(sent.additional)) == (texts(made.authority), texts(made.additional))
    assert (sent.edns >= 0, sent.rcode()) == (edns, 0)


@pytest.mark.parametrize(
    "record",
    [
        # A pointer at the end of what pointers reach, a name that leaves its data, and one that does not end.
        b"\xff\xff\0\1\0\1\0\0\0\5\0\4abcd",
        b"\xc0\x0c\0\5\0\1\0\0\0\5\0\1\x05\xc0\x0c\0\1\0\1\0\0\0\5\0\4abcd",
        b"\xc0\x0c\0\2\0\1\0\0\0\5\0\2\x3f\x01",
        b"\xc0\x0c\0\1\0\1",
    ],
)
def test_answers_that_can_not_be_told_behind_an_alias_are_servfail(record):
    aliased = Aliased(((from_text("out"), 5, from_text("ok.test")),), Forward(), "network front")
    asked = screen(query("out.", "A", use_edns=0).to_wire())
    _, octets = target_query(asked, aliased)
    sent = dns.message.from_wire(
        render(asked, aliased, octets[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked_for("ok.test") + record, tcp=False)
    )
    assert (sent.rcode(), "can't be told" in sent.options[0].text) == (dns.rcode.SERVFAIL, True)


def asked_for(name):
    return from_text(name) + b"\0\1\0\1"


def test_large_answers_behind_an_alias_are_truncated_over_udp():
    aliased = Aliased(((from_text("out"), 5, from_text("ok.test")),), Forward(), "network front")
    asked = screen(query("out.", "A", use_edns=0).to_wire())
    _, octets = target_query(asked, aliased)
    made = dns.message.make_response(dns.message.from_wire(octets))
    made.answer.append(dns.rrset.from_text("ok.test.", 60, "IN", "A", *(f"10.0.{number // 250}.{number % 250}" for number in range(3000))))
    reply = made.to_wire(max_size=65_535)
    whole, cut = (dns.message.from_wire(render(asked, aliased, reply, tcp=tcp)) for tcp in (True, False))
    assert (len(whole.answer[1]), whole.flags & dns.flags.TC) == (3000, 0)
    assert cut.flags & dns.flags.TC
    assert 20 < len(cut.answer[1]) < 100
    # What was cut off already says so.
    again = dns.message.from_wire(render(asked, aliased, reply[:2] + b"\x83\x80" + reply[4:], tcp=True))
    assert again.flags & dns.flags.TC


async def test_failure_behind_an_alias_says_why():
    world = on_front(("out", "CNAME", "example.com."))
    assert reply(world, "out.", "A", use_edns=0) is None
    world.pool.fail()
    sent = world.replies[-1]
    assert (sent.rcode(), "did not answer" in sent.options[0].text) == (dns.rcode.SERVFAIL, True)
    await world.service.close()


def test_policy_judges_what_an_alias_leads_to():
    class Policy:
        def verdict(self, qname, qtype):
            return Refusal(5, "not there") if qname == from_text("example.com") else None

    world = on_front(("out", "CNAME", "example.com."), policy=Policy())
    assert reply(world, "out.", "A").rcode() == dns.rcode.REFUSED


def test_explanation_names_aliases_and_static_records():
    world = on_front(("www", "CNAME", "web"), ("web", "TXT", "x"))
    trace = Trace()
    world.service.on_query(world.client, query("www.", "A").to_wire(), world, b"", tcp=True, trace=trace)
    lines = explain(trace)
    assert lines[0] == "network front: www. is a static name with 1 records of type CNAME"
    assert lines[-1] == "answered from network front: an alias of web.front.berth.internal.; answered from network front with TTL 5"
    assert isinstance(trace.answer, Aliased)


# --- what is stored -----------------------------------------------------------------------------------------------

FRONT = bridge_network("front", pool("10.1.0.0/24", "10.1.0.1"))


def body(name, rtype, data, ttl=None):
    return RecordBody(name=name, type=rtype, data=data, ttl=ttl)


@pytest.fixture
async def stored():
    made = StaticNames(MemoryStore())
    return made, RecordOperations(made, "berth.internal")


async def test_names_outlive_the_daemon(stored):
    static_names, operations = stored
    assert (await operations.add(FRONT, body("www", "CNAME", "web", 60))).ttl == 60
    await operations.add(FRONT, body("a/b", "TXT", "x"))
    again = StaticNames(static_names._store)
    await again.load()
    assert again.of(FRONT.id) == static_names.of(FRONT.id)
    assert [(view.name, view.ttl, view.type, view.data) for view in operations.views(FRONT)] == [
        ("a/b", 5, "TXT", '"x"'), ("www", 60, "CNAME", "web.front.berth.internal."),
    ]  # fmt: skip
    await static_names.drop(FRONT.id)
    assert (await static_names._store.load()).items == {}


async def test_changes_are_told_of_once_they_are_stored(stored):
    static_names, operations = stored
    told = []
    static_names.on_change = lambda network, changed: told.append({name: len(records) for name, records in changed.items()})
    await operations.add_all(FRONT, [body("a", "A", "10.0.0.1"), body("a", "A", "10.0.0.2"), body("b", "TXT", "x")])
    await operations.add(FRONT, body("b", "TXT", "x"))
    assert [view.data for view in await operations.remove(FRONT, "A.front", "A", "10.0.0.1")] == ["10.0.0.1"]
    assert len(await operations.remove(FRONT, "a", None, None)) == 1
    assert told == [{"a": 2, "b": 1}, {"a": 1}, {"a": 0}]


async def test_all_of_several_records_or_none(stored):
    static_names, operations = stored
    with pytest.raises(Conflict, match="is an alias"):
        await operations.add_all(FRONT, [body("a", "CNAME", "web"), body("a", "A", "10.0.0.2")])
    assert static_names.of(FRONT.id) == ()


async def test_refusals_name_the_record(stored, monkeypatch):
    _, operations = stored
    with pytest.raises(InvalidRequest, match="invalid record www: 'x y' is no data of a A record"):
        await operations.add(FRONT, body("www", "A", "x y"))
    with pytest.raises(NotFound, match="no such static record: www A; `berth network record ls front` lists them"):
        await operations.remove(FRONT, "www", "A", None)
    with pytest.raises(InvalidRequest, match="invalid record"):
        await operations.remove(FRONT, "www", "AAB", None)
    with pytest.raises(Conflict, match="user-defined networks only"):
        await operations.add(bridge_network("bridge"), body("www", "A", "10.0.0.1"))
    monkeypatch.setattr(limits, "STATIC_RECORDS", 1)
    await operations.add(FRONT, body("a", "A", "10.0.0.1"))
    with pytest.raises(Exhausted, match="network front: it has 1 static records, which is the most"):
        await operations.add(FRONT, body("b", "A", "10.0.0.1"))
    assert len(operations.problems([body("a", "CNAME", "b"), body("a", "A", "10.0.0.1"), body("*", "A", "10.0.0.1")], "front")) == 2


async def test_damaged_record_harms_no_other(stored, caplog):
    static_names, operations = stored
    await operations.add(FRONT, body("a", "A", "10.0.0.1"))
    await static_names._store.commit(Transaction({f"static/{FRONT.id}/b": b"{", f"static/{FRONT.id}/": b'{"records": []}'}))
    again = StaticNames(static_names._store)
    with caplog.at_level(logging.ERROR):
        await again.load()
    assert len(again.of(FRONT.id)) == 1
    assert "can't be read" in caplog.text


async def test_changes_at_once_are_all_kept(stored):
    static_names, operations = stored
    await asyncio.gather(*(operations.add(FRONT, body("a", "A", f"10.0.0.{number}")) for number in range(1, 20)))
    assert len(static_names.of(FRONT.id)) == 19


async def test_names_go_with_their_network():
    world = Daemon()
    network, _ = await world.operations.create_network(NetworkRequest(name="front"))
    await RecordOperations(world.static_names, "berth.internal").add(network, body("a", "A", "10.0.0.1"))
    await world.operations.remove_network("front")
    assert world.static_names.of(network.id) == ()
    world.close()
