import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.engine.answer import Addresses, Services, answer, render
from resolver.engine.received import render as relay
from resolver.engine.received import take_apart
from resolver.engine.request import screen
from resolver.engine.response import render_failure
from resolver.wire.message import ExtendedError, Type
from resolver.wire.name import from_text
from tests.support.zones import view, zone

FRONT = zone("front", (["Web", "www"], ["10.1.0.2"]), (["db"], ["10.1.0.3", "fd01::3"]), (["www"], ["10.1.0.4"]))
BACK = zone("back", (["web"], ["fd01::9"]), (["only"], ["10.1.0.9"]))
BOTH = view(FRONT, BACK)


def ask(where, text, qtype=Type.A):
    return answer(where, from_text(text), qtype)


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
def test_truncation_keeps_the_records_that_fit_and_opt(count, payload):
    values = tuple(bytes([10, 0, i >> 8, i & 255]) for i in range(count))
    message = dns.message.make_query("many", "A", **({} if payload is None else {"use_edns": 0, "payload": payload}))
    wire = render(screen(message.to_wire()), Addresses(values, 5, ""), 0, tcp=False)
    reply = dns.message.from_wire(wire)
    limit = payload or 512
    shown = sum(map(len, reply.answer))
    assert len(wire) <= limit
    assert shown == min(count, (limit - len(message.to_wire())) // 16)
    assert bool(reply.flags & dns.flags.TC) == (shown < count)
    assert (reply.edns >= 0) == (payload is not None)
    assert len(reply_to(message, Addresses(values, 5, ""), tcp=True).answer[0]) == count


def test_each_address_is_among_those_that_fit_in_turn():
    values = tuple(bytes([10, 0, 0, i]) for i in range(60))
    shown = {
        address.address
        for rotation in range(len(values))
        for address in reply_to(dns.message.make_query("many", "A"), Addresses(values, 5, ""), rotation=rotation).answer[0]
    }
    assert len(shown) == 60


def fit(query, wire, *, tcp):
    return relay(query, take_apart(wire, 12 + len(query.question)), tcp=tcp)


def message_with(*, answers=0, authorities=0, additionals=0, edns=False):
    """A response for big.test; each record has 100 octets of text, and a compressed owner that points into the question."""
    made = dns.message.make_response(dns.message.make_query("big.test", "TXT"))
    for count, section in ((answers, made.answer), (authorities, made.authority), (additionals, made.additional)):
        if count:
            owner = "big.test." if section is made.answer else f"s{id(section)}.big.test."
            section.append(dns.rrset.from_text(owner, 60, "IN", "TXT", *(f'"{"x" * 97}{i:03}"' for i in range(count))))
    if edns:
        made.use_edns(0, payload=1232)
    return made.to_wire(max_size=65_535)


@pytest.mark.parametrize("edns", [False, True])
@pytest.mark.parametrize(
    ("sections", "kept", "tc"),
    [
        # Additional records are optional: without them the response is complete.
        ({"answers": 2, "additionals": 4}, (2, 0, 0), False),
        ({"answers": 2, "authorities": 4}, (2, 2, 0), True),
        ({"answers": 6, "authorities": 1, "additionals": 1}, (4, 0, 0), True),
        ({"answers": 2, "additionals": 1}, (2, 0, 1), False),
    ],
)
def test_sections_are_filled_in_their_order(sections, kept, tc, edns):
    query = screen(dns.message.make_query("big.test", "TXT", **({"use_edns": 0, "payload": 512} if edns else {})).to_wire())
    wire = fit(query, message_with(edns=edns, **sections), tcp=False)
    reply = dns.message.from_wire(wire)
    assert len(wire) <= 512
    assert tuple(sum(map(len, section)) for section in (reply.answer, reply.authority, reply.additional)) == kept
    assert bool(reply.flags & dns.flags.TC) == tc
    assert (reply.edns >= 0) == edns


def test_options_give_way_to_the_question():
    query = screen(dns.message.make_query("big.test", "TXT", use_edns=0, payload=512).to_wire())
    message = dns.message.make_response(dns.message.make_query("big.test", "TXT", use_edns=0))
    message.use_edns(0, options=[dns.edns.EDEOption(22, "y" * 600)])
    wire = fit(query, message.to_wire(max_size=65_535), tcp=False)
    reply = dns.message.from_wire(wire)
    assert (len(wire) <= 512, reply.edns, reply.options) == (True, 0, ())


def test_failure_says_why_to_who_speaks_edns():
    query = screen(dns.message.make_query("x.test", "A", use_edns=0).to_wire())
    reply = dns.message.from_wire(render_failure(query, ExtendedError.PROHIBITED, "because"))
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert (reply.options[0].code, reply.options[0].text) == (18, "because")
    assert reply.flags & dns.flags.RA


def test_soa_of_a_zone_of_ours():
    reply = reply_to(dns.message.make_query("berth.internal", "SOA"), ask(BOTH, "berth.internal", Type.SOA))
    assert (reply.answer[0].name.to_text(), reply.answer[0].ttl, reply.authority) == ("berth.internal.", 5, [])
    # A name that merely exists has none.
    reply = reply_to(dns.message.make_query("front.berth.internal", "SOA"), ask(BOTH, "front.berth.internal", Type.SOA))
    assert (reply.answer, reply.authority[0].name.to_text()) == ([], "berth.internal.")


def test_pointer():
    name = "2.0.1.10.in-addr.arpa"
    reply = reply_to(dns.message.make_query(name, "PTR"), ask(BOTH, name, Type.PTR))
    assert reply.answer[0][0].target.to_text() == "web.front."


def large():
    made = dns.message.make_response(dns.message.make_query("big.test", "TXT"))
    made.answer.append(dns.rrset.from_text("big.test.", 60, "IN", "TXT", *(f'"{"x" * 200}{i}"' for i in range(9))))
    return made.to_wire(max_size=65_535)


def test_reply_that_is_too_large_is_cut():
    query, wire = screen(dns.message.make_query("big.test", "TXT").to_wire()), large()
    assert dns.message.from_wire(fit(query, wire, tcp=True)).answer == dns.message.from_wire(wire).answer
    assert len(fit(query, wire, tcp=False)) <= 512


def test_services_have_the_addresses_of_their_targets_if_there_is_room():
    target, query = from_text("web.front"), "_80._tcp.web"
    found = Services((b"\0\x50" + target,), {target: (bytes([10, 1, 0, 2]), bytes(16))}, 5, "")
    reply = reply_to(dns.message.make_query(query, "SRV"), found)
    assert reply.answer[0][0].to_text() == "0 1 80 web.front."
    assert {rrset.rdtype.name for rrset in reply.additional} == {"A", "AAAA"}
    many = Services((b"\0\x50" + target,), {target: tuple(bytes([10, 1, 0, number]) for number in range(200))}, 5, "")
    assert reply_to(dns.message.make_query(query, "SRV"), many).additional == []
