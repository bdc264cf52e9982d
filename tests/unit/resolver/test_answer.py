from ipaddress import ip_address, ip_network

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.engine.answer import Addresses, Forward, Negative, Pointer, answer, render
from resolver.engine.explain import explain
from resolver.engine.received import render as render_received
from resolver.engine.received import take_apart
from resolver.engine.request import screen
from resolver.engine.response import render_failure
from resolver.engine.upstream import UpstreamSet
from resolver.engine.view import AttachedZone, View
from resolver.wire.message import ExtendedError, Rcode, Type
from resolver.wire.name import from_text, reverse
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.subnets import Subnets
from resolver.zone.zone import Record, Zone


def zone(label, *registrations, ttl=5, forward_single_label=True):
    made = Zone(label, from_text(label), ttl, forward_single_label)
    for number, (names, addresses) in enumerate(registrations):
        made = made.with_changes(
            (), records(endpoint=f"{label}{number}", network=label, endpoint_names=names, addresses=[ip_address(a) for a in addresses])
        )
    return PublishedZone(made)


def view(*zones, links=(), **more):
    attachments = tuple(AttachedZone(item, {from_text(a): from_text(t) for a, t in links} if i == 0 else {}) for i, item in enumerate(zones))
    return View(attached=attachments, subnets=Subnets((ip_network("10.1.0.0/16"), ip_network("fd01::/64"))), **more)


FRONT = zone("front", (["Web", "www"], ["10.1.0.2"]), (["db"], ["10.1.0.3", "fd01::3"]), (["www"], ["10.1.0.4"]))
BACK = zone("back", (["web"], ["fd01::9"]), (["only"], ["10.1.0.9"]))
BOTH = view(FRONT, BACK)


def addresses(found):
    assert isinstance(found, Addresses), found
    return [str(ip_address(value)) for value in found.values]


def ask(where, text, qtype=Type.A):
    return answer(where, from_text(text), qtype)


@pytest.mark.parametrize("text", ["web", "WEB", "web.front", "Web.FRONT", "web.front.berth.internal", "web."])
def test_every_form_of_a_name(text):
    assert addresses(ask(BOTH, text)) == ["10.1.0.2"]


def test_shared_alias_gives_every_address():
    assert addresses(ask(BOTH, "www")) == ["10.1.0.2", "10.1.0.4"]


def test_each_family_is_looked_for_alone():
    assert addresses(ask(BOTH, "web")) == ["10.1.0.2"]
    assert addresses(ask(BOTH, "web", Type.AAAA)) == ["fd01::9"]


def test_first_network_in_order_wins():
    assert addresses(ask(view(BACK, FRONT), "web")) == ["10.1.0.2"]
    other = zone("other", (["db"], ["10.1.9.9"]))
    assert addresses(ask(view(other, FRONT), "db")) == ["10.1.9.9"]
    assert addresses(ask(view(FRONT, other), "db")) == ["10.1.0.3"]


def test_known_name_of_any_type_is_nodata_and_never_forwarded():
    for qtype in (Type.AAAA, 15, 16, 65, 33, 5):
        found = ask(view(FRONT), "web", qtype)
        assert isinstance(found, Negative)
        assert found.rcode is Rcode.NOERROR


def test_any_gives_one_rrset():
    assert addresses(ask(BOTH, "db", Type.ANY)) == ["10.1.0.3"]
    assert addresses(ask(view(BACK), "web", Type.ANY)) == ["fd01::9"]


def test_names_of_networks_not_attached_are_foreign():
    assert isinstance(ask(view(FRONT), "only"), Forward)
    assert isinstance(ask(view(FRONT), "only.back"), Forward)
    assert isinstance(ask(BOTH, "nobody.example.com"), Forward)


def test_private_alias_is_seen_by_its_sandbox_only():
    linked = view(FRONT, links=(("store", "db"),))
    assert addresses(ask(linked, "STORE")) == ["10.1.0.3"]
    assert isinstance(ask(view(FRONT), "store"), Forward)


def test_our_own_domain_is_never_forwarded():
    assert ask(BOTH, "nobody.front.berth.internal").rcode is Rcode.NXDOMAIN
    assert ask(BOTH, "front.berth.internal").rcode is Rcode.NOERROR
    assert ask(BOTH, "berth.internal", Type.SOA).rcode is Rcode.NOERROR


def test_special_names():
    assert addresses(ask(BOTH, "localhost")) == ["127.0.0.1"]
    assert addresses(ask(BOTH, "a.b.LOCALHOST", Type.AAAA)) == ["::1"]
    assert isinstance(ask(BOTH, "notlocalhost"), Forward)
    assert ask(BOTH, "x.invalid").rcode is Rcode.NXDOMAIN
    assert ask(BOTH, "abc.onion").rcode is Rcode.NXDOMAIN
    assert isinstance(ask(BOTH, "printer.local"), Forward)


def test_single_labels_are_forwarded_unless_switched_off():
    assert isinstance(ask(BOTH, "intranet"), Forward)
    closed = view(zone("n", forward_single_label=False))
    assert ask(closed, "intranet").rcode is Rcode.NXDOMAIN
    assert isinstance(ask(closed, "intranet.example"), Forward)


def pointer(where, text):
    return answer(where, reverse(ip_address(text)), Type.PTR)


def test_reverse_mapping():
    assert pointer(BOTH, "10.1.0.2") == Pointer(from_text("web.front"), 5, "network front")
    assert pointer(BOTH, "fd01::3").target == from_text("db.front")
    assert pointer(BOTH, "10.1.77.77").rcode is Rcode.NXDOMAIN
    assert isinstance(pointer(BOTH, "10.2.0.1"), Forward)
    assert pointer(BOTH, "127.0.0.1").target == from_text("localhost")
    assert ask(BOTH, "1.10.in-addr.arpa", Type.SOA).rcode is Rcode.NOERROR
    assert isinstance(ask(BOTH, "10.in-addr.arpa", Type.SOA), Forward)


def test_name_survives_until_its_last_owner_withdraws_it():
    name, value = from_text("x"), ip_address("10.1.0.7").packed
    start = Zone("n", from_text("n"), 5)
    both = start.with_changes((), [Record(name, value, "one"), Record(name, value, "two")])
    assert both.find(name) == (value,)
    one = both.with_changes([Record(name, value, "one")], ())
    assert one.find(name) == (value,)
    assert one.with_changes([Record(name, value, "other")], ()).find(name) == (value,)
    none = one.with_changes([Record(name, value, "two")], ())
    assert none.find(name) is None
    assert (start.size, both.size, none.size) == (0, 2, 0)
    # The old zone is as it was: readers that hold it see no mix.
    assert both.find(name) == (value,)


CHANGES = st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.integers(1, 3), st.sampled_from("xy")), max_size=40)


@given(CHANGES)
def test_zone_is_the_multiset_of_its_entries(changes):
    made, model = Zone("n", from_text("n"), 5), set()
    for add, label, number, owner in changes:
        entry = Record(from_text(label), bytes([10, 0, 0, number]), owner)
        made = made.with_changes((), [entry]) if add else made.with_changes([entry], ())
        (model.add if add else model.discard)(entry)
    for label in "abcdef":
        wanted = {entry.value for entry in model if entry.name == from_text(label)}
        assert set(made.find(from_text(label)) or ()) == wanted
    assert made.size == len(model)


def reply_to(message, found, *, tcp=False, rotation=0):
    return dns.message.from_wire(render(screen(message.to_wire()), found, rotation, tcp=tcp))


def test_positive_answer_header_and_echo():
    message = dns.message.make_query("WeB", "A", use_edns=0, want_dnssec=True)
    reply = reply_to(message, ask(BOTH, "web"))
    assert message.is_response(reply)
    assert reply.question[0].name.to_text() == "WeB."
    assert reply.flags & (dns.flags.AA | dns.flags.RA | dns.flags.RD) == dns.flags.AA | dns.flags.RA | dns.flags.RD
    assert reply.edns == 0
    assert reply.ednsflags & dns.flags.DO
    assert reply.answer[0].ttl == 5
    assert reply.answer[0][0].address == "10.1.0.2"


def test_no_opt_without_one_in_the_query():
    assert reply_to(dns.message.make_query("web", "A"), ask(BOTH, "web")).edns == -1


def test_negative_answer_has_soa_with_the_ttl():
    reply = reply_to(dns.message.make_query("web", "TXT"), ask(BOTH, "web", 16))
    assert (reply.rcode(), len(reply.answer)) == (dns.rcode.NOERROR, 0)
    assert reply.authority[0].ttl == 5
    assert reply.authority[0][0].minimum == 5


def test_rotation_puts_each_address_first():
    found = ask(BOTH, "www")
    firsts = {reply_to(dns.message.make_query("www", "A"), found, rotation=i).answer[0][0].address for i in range(2)}
    assert firsts == {"10.1.0.2", "10.1.0.4"}


@given(st.integers(1, 300), st.sampled_from([None, 512, 1232, 4096]))
def test_truncation_never_splits_an_rrset_and_keeps_opt(count, payload):
    values = tuple(bytes([10, 0, i >> 8, i & 255]) for i in range(count))
    message = dns.message.make_query("many", "A", **({} if payload is None else {"use_edns": 0, "payload": payload}))
    wire = render(screen(message.to_wire()), Addresses(values, 5, ""), 0, tcp=False)
    reply = dns.message.from_wire(wire)
    assert len(wire) <= (payload or 512)
    assert sum(map(len, reply.answer)) in (0, count)
    assert bool(reply.flags & dns.flags.TC) == (not reply.answer)
    assert (reply.edns >= 0) == (payload is not None)
    assert len(reply_to(message, Addresses(values, 5, ""), tcp=True).answer[0]) == count


def relay(query, wire, *, tcp):
    return render_received(query, take_apart(wire, 12 + len(query.question)), tcp=tcp)


def test_relayed_reply_has_the_clients_id_and_spelling():
    query = screen(dns.message.make_query("WWW.example.test", "A", id=7).to_wire())
    upstream = dns.message.make_response(dns.message.make_query("www.example.test", "A", id=999))
    upstream.answer.append(dns.rrset.from_text("www.example.test.", 60, "IN", "A", "192.0.2.1"))
    reply = dns.message.from_wire(relay(query, upstream.to_wire(), tcp=False))
    assert reply.id == 7
    assert reply.question[0].name.to_text() == "WWW.example.test."
    assert reply.answer[0].ttl == 60


def test_relayed_reply_is_cut_to_the_clients_size():
    query = screen(dns.message.make_query("big.test", "TXT").to_wire())
    upstream = dns.message.make_response(dns.message.make_query("big.test", "TXT"))
    upstream.answer.append(dns.rrset.from_text("big.test.", 60, "IN", "TXT", *(f'"{"x" * 200}{i}"' for i in range(9))))
    wire = relay(query, upstream.to_wire(max_size=65535), tcp=False)
    assert len(wire) <= 512
    assert dns.message.from_wire(wire).flags & dns.flags.TC
    assert not dns.message.from_wire(relay(query, upstream.to_wire(max_size=65535), tcp=True)).flags & dns.flags.TC


def test_failure_says_why_to_who_speaks_edns():
    query = screen(dns.message.make_query("x.test", "A", use_edns=0).to_wire())
    reply = dns.message.from_wire(render_failure(query, ExtendedError.PROHIBITED, "because"))
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert (reply.options[0].code, reply.options[0].text) == (18, "because")
    assert reply.flags & dns.flags.RA


def test_explanation_ends_with_the_decision():
    assert explain(BOTH, from_text("web"), Type.A)[-1] == "answered from network front with TTL 5"
    assert "not forwarded" in explain(view(FRONT, upstreams=UpstreamSet((), "closed")), from_text("x.test"), Type.A)[-1]
