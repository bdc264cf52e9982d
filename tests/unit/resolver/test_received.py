"""Replies of upstreams taken apart: TTLs, lifetimes, OPT, rotation, networks they may not point into."""

import random
import struct
from ipaddress import ip_network

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.engine import received as module
from resolver.engine.rebinding import NOTHING, OwnNetworks, Protected
from resolver.engine.received import is_negative, orders, render, take_apart
from resolver.engine.request import screen
from resolver.errors import DecodeError


def response(name="www.example.test", rtype="A", *, answer=(), authority=(), additional=(), rcode=0, **edns):
    made = dns.message.make_response(dns.message.make_query(name, rtype, **edns), recursion_available=True)
    for section, texts in ((made.answer, answer), (made.authority, authority), (made.additional, additional)):
        section += [dns.rrset.from_text(*text) for text in texts]
    made.set_rcode(rcode)
    return made


def received(made):
    wire = made if isinstance(made, bytes) else made.to_wire(max_size=65_535)
    return take_apart(wire, 12 + len(question(wire)))


def question(wire):
    return wire[12 : wire.index(0, 12) + 5]


def told(made, *, name="www.example.test", rtype="A", query=None, **more):
    client = query or dns.message.make_query(name, rtype)
    return dns.message.from_wire(render(screen(client.to_wire()), received(made), tcp=False, **more))


A = ("www.example.test.", 60, "IN", "A", "192.0.2.1", "192.0.2.2", "192.0.2.3")
SOA = ("example.test.", 900, "IN", "SOA", "ns.example.test. host.example.test. 1 2 3 4 300")


def test_lifetime_is_the_least_ttl():
    assert received(response(answer=[A])).lifetime == 60
    chain = [("www.example.test.", 5, "IN", "CNAME", "web.example.test."), ("web.example.test.", 60, "IN", "A", "192.0.2.1")]
    assert received(response(answer=chain)).lifetime == 5


@pytest.mark.parametrize("rcode", [0, 3])
def test_negative_answers_live_as_their_soa_says(rcode):
    made = received(response(authority=[SOA], rcode=rcode))
    assert is_negative(made)
    assert made.lifetime == 300
    assert received(response(authority=[("example.test.", 9, *SOA[2:])], rcode=rcode)).lifetime == 9


def test_what_may_not_be_kept():
    assert received(response(rcode=3)).lifetime == 0
    assert received(response(answer=[A], rcode=4)).lifetime == 0
    assert received(response(answer=[("www.example.test.", 0, *A[2:])])).lifetime == 0
    high = bytearray(response(answer=[("www.example.test.", 60, "IN", "A", "192.0.2.1")]).to_wire())
    struct.pack_into("!I", high, len(high) - 10, 0x80000001)
    assert received(bytes(high)).lifetime == 0
    subnet = response(answer=[A])
    subnet.use_edns(0, options=[dns.edns.ECSOption("192.0.2.0", 24, 24)])
    assert received(subnet).lifetime == 0


def test_opt_is_ours_and_extended_errors_are_passed_on():
    made = response(rcode=2, use_edns=0)
    made.use_edns(0, payload=4096, options=[dns.edns.EDEOption(6, "bogus"), dns.edns.NSIDOption(b"upstream")])
    plain = told(made)
    assert plain.edns == -1
    with_edns = told(made, query=dns.message.make_query("www.example.test", "A", use_edns=0, want_dnssec=True))
    assert [int(option.otype) for option in with_edns.options] == [15]
    assert with_edns.options[0].text == "bogus"
    assert (with_edns.payload, bool(with_edns.ednsflags & dns.flags.DO)) == (1232, True)


def test_opt_before_other_records_is_taken_out():
    made = response(answer=[A], additional=[("ns.www.example.test.", 60, "IN", "A", "192.0.2.9")], use_edns=0)
    wire = made.to_wire()
    # dnspython writes OPT last; put it in front of the other additional record.
    opt = wire[-11:]
    extra = wire.index(b"\x02ns", 12)
    moved = wire[:extra] + opt + wire[extra:-11]
    reply = told(moved)
    assert reply.additional[0].name.to_text() == "ns.www.example.test."
    assert reply.edns == -1


def test_ttls_go_down_and_stay_within_bounds():
    made = response(answer=[A], additional=[("x.example.test.", 5, "IN", "A", "192.0.2.9")])
    reply = told(made, ttls=(0, 60, 10))
    assert (reply.answer[0].ttl, reply.additional[0].ttl) == (50, 0)
    assert told(made, ttls=(0, 30, 10)).answer[0].ttl == 20
    assert told(made, ttls=(100, 100, 0)).answer[0].ttl == 100
    assert told(made).answer[0].ttl == 60


def test_every_address_comes_first_in_turn():
    made = response(answer=[("www.example.test.", 60, "IN", "CNAME", "web.example.test."), ("web.example.test.", *A[1:])])
    # dnspython writes the addresses in an order of its own each time.
    made = made.to_wire()
    assert orders(received(made)) == 3
    firsts = []
    for number in range(3):
        reply = told(made, rotation=number)
        assert reply.answer[0].rdtype.name == "CNAME"
        assert {item.address for item in reply.answer[1]} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
        firsts.append(reply.answer[1][0].address)
    assert len(set(firsts)) == 3


@pytest.mark.parametrize("answer", [[], [(*A[:4], "192.0.2.1")], [("www.example.test.", 60, "IN", "TXT", "a", "b")]])
def test_what_has_one_order(answer):
    made = response(answer=answer)
    assert orders(received(made)) == 1
    assert told(made, rotation=1).answer == told(made).answer


def test_authentic_data_is_told_to_who_asks_for_it():
    made = response(answer=[A])
    made.flags |= dns.flags.AD
    assert not told(made).flags & dns.flags.AD
    asked = dns.message.make_query("www.example.test", "A", flags=dns.flags.RD | dns.flags.AD)
    assert told(made, query=asked).flags & dns.flags.AD
    assert told(made, query=dns.message.make_query("www.example.test", "A", want_dnssec=True)).flags & dns.flags.AD


def test_answer_is_not_authoritative_and_has_the_clients_spelling():
    made = response(answer=[A])
    made.flags |= dns.flags.AA
    reply = told(made, query=dns.message.make_query("WWW.example.TEST", "A"))
    assert not reply.flags & dns.flags.AA
    assert reply.flags & dns.flags.RA
    assert reply.question[0].name.to_text() == "WWW.example.TEST."


PROTECTED = Protected(OwnNetworks([ip_network("10.1.0.0/16"), ip_network("172.17.0.0/16"), ip_network("fd01::/64")]))


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (("A", "10.1.2.3"), "10.1.2.3"),
        (("A", "192.0.2.1", "172.17.0.9"), "172.17.0.9"),
        (("A", "10.2.0.1"), None),
        (("AAAA", "fd01::5"), "fd01::5"),
        (("AAAA", "fd02::5"), None),
        (("AAAA", "::ffff:10.1.2.3"), "10.1.2.3"),
        (("TXT", "10.1.2.3"), None),
    ],
)
def test_addresses_in_our_networks_are_found(record, found):
    assert PROTECTED.look(received(response(answer=[("www.example.test.", 60, "IN", *record)]))).network == found


@pytest.mark.parametrize("section", ["authority", "additional"])
def test_addresses_of_every_section_count(section):
    made = response(answer=[A], **{section: [("x.example.test.", 60, "IN", "A", "10.1.2.3")]})
    assert PROTECTED.look(received(made)).network == "10.1.2.3"


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_refused(octets):
    wire = response(answer=[A], authority=[SOA], use_edns=0).to_wire()
    for mixed in (wire[:12] + octets, wire[:40] + octets, octets):
        try:
            made = take_apart(mixed, 34)
        except DecodeError:
            continue
        assert made.lifetime >= 0
        orders(made)
        PROTECTED.look(made)
        query = screen(dns.message.make_query("www.example.test", "A").to_wire())
        render(query, made, tcp=False, ttls=(0, 60, 5), rotation=1)


@given(st.data())
def test_cut_messages_are_refused(data):
    wire = response(answer=[A], authority=[SOA], use_edns=0).to_wire()
    end = data.draw(st.integers(12, len(wire) - 1))
    with pytest.raises(DecodeError):
        take_apart(wire[:end], 34)


def relay(query, wire, *, tcp):
    return render(query, take_apart(wire, 12 + len(query.question)), tcp=tcp)


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
    assert len(dns.message.from_wire(wire).answer[0]) == 2
    assert not dns.message.from_wire(relay(query, upstream.to_wire(max_size=65535), tcp=True)).flags & dns.flags.TC


def test_opt_that_may_not_be_there_is_refused():
    wire = response(answer=[A], use_edns=0).to_wire()
    # Two of them, which no reader agrees on.
    twice = wire[:10] + b"\0\2" + wire[12:] + wire[-11:]
    with pytest.raises(DecodeError):
        take_apart(twice, 34)
    with pytest.raises(DecodeError, match="not one question"):
        take_apart(wire[:4] + b"\0\2" + wire[6:], 34)


def test_end_that_only_looks_like_an_opt_is_part_of_a_record():
    tail = b"\0\0\x29" + bytes(8)
    record = b"\xc0\x0c\0\x10\0\1\0\0\0\x3c" + len(tail).to_bytes(2, "big") + tail
    wire = response().to_wire()
    wire = wire[:10] + b"\0\1" + wire[12:] + record
    made = take_apart(wire, 34)
    assert (made.counts, made.body) == ((0, 0, 1), record)


def test_address_records_of_a_wrong_size_are_no_addresses():
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\5\x0a\1\2\3\4"
    wire = response().to_wire()
    made = take_apart(wire[:6] + b"\0\1" + wire[8:] + record, 34)
    assert PROTECTED.look(made) is NOTHING


def test_plain_opt_at_the_end_is_taken_out_without_reading_it():
    made = received(response(answer=[A], use_edns=0))
    assert (made.rcode, made.counts, made.errors) == (0, (3, 0, 0), b"")
    # The upper bits of the RCODE are in it: BADVERS.
    assert received(response(rcode=16, use_edns=0)).rcode == 16


def test_record_that_reaches_over_what_looks_like_an_opt_is_cut_off():
    tail = b"\0\0\x29" + bytes(8)
    record = b"\xc0\x0c\0\x10\0\1\0\0\0\x3c" + len(tail).to_bytes(2, "big") + tail
    wire = response().to_wire()
    with pytest.raises(DecodeError):
        take_apart(wire[:6] + b"\0\1\0\0\0\1" + wire[12:] + record, 34)


@pytest.mark.parametrize("counts", [b"\0\1\0\0\0\0", b"\0\0\0\1\0\0"])
def test_opt_in_another_section_is_refused(counts):
    wire = response().to_wire()
    with pytest.raises(DecodeError):
        take_apart(wire[:6] + counts + wire[12:] + b"\0\0\x29\4\xd0\0\0\0\0\0\0", 34)


def with_opt_in_front(made, opt):
    """The octets of *made*, which ends with additional records, with *opt* before them. Pointers behind it are moved."""
    wire = made.to_wire()
    first = wire.index(b"\x05extra")
    behind = wire[first:]
    return wire[:10] + (int.from_bytes(wire[10:12], "big") + 1).to_bytes(2, "big") + wire[12:first] + opt + behind


OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0a\0\x0f\0\x06\0\x06bogu"


def test_opt_with_options_before_other_records_is_taken_out_and_pointers_are_moved():
    question_end = 34
    made = response(answer=[A], additional=[("extra.example.test.", 60, "IN", "A", "192.0.2.9")])
    wire = with_opt_in_front(made, OPT)
    at = wire.index(b"\x05extra")
    # One more record whose name points behind the OPT, one whose name points into it, and a last one.
    pointing = (0xC000 | at).to_bytes(2, "big") + b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7"
    into = (0xC000 | (at - 4)).to_bytes(2, "big") + b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x08"
    wire = wire[:10] + b"\0\5" + wire[12:] + pointing + into + pointing
    kept = take_apart(wire, question_end)
    assert kept.counts == (3, 0, 2)
    reply = dns.message.from_wire(render(screen(dns.message.make_query("www.example.test", "A").to_wire()), kept, tcp=False))
    assert [rrset.name.to_text() for rrset in reply.additional] == ["extra.example.test."]
    assert {item.address for item in reply.additional[0]} == {"192.0.2.9", "192.0.2.7"}
    assert kept.errors == OPT[11:]


def test_opt_where_none_may_be_is_refused():
    wire = response(answer=[A]).to_wire()
    for section in (6, 8):
        counted = wire[:section] + (int.from_bytes(wire[section : section + 2], "big") + 1).to_bytes(2, "big") + wire[section + 2 :]
        with pytest.raises(DecodeError, match="an OPT record where none may be"):
            take_apart(counted + OPT, 34)
    twice = wire[:10] + b"\0\2" + wire[12:] + OPT + OPT
    with pytest.raises(DecodeError, match="two OPT records"):
        take_apart(twice, 34)


@pytest.mark.parametrize("edns", [None, 0], ids=["plain", "EDNS"])
@pytest.mark.parametrize("count", [1, 2, 16, 17])
@pytest.mark.parametrize(("rtype", "address"), [("A", "192.0.2.{}"), ("AAAA", "2001:db8::{}")])
def test_answers_of_few_addresses_are_read_as_all_others_are(monkeypatch, rtype, address, count, edns):
    made = dns.message.make_response(dns.message.make_query("web.example", rtype, use_edns=edns), our_payload=1232)
    made.answer.append(dns.rrset.from_text("web.example.", 300, "IN", rtype, *(address.format(number) for number in range(count))))
    wire, start = made.to_wire(), 12 + 17
    noise = random.Random(f"{rtype} {count} {edns}")
    changed = [wire, *(wire[:end] for end in range(start, len(wire), 5))]
    for _ in range(400):
        octets = bytearray(wire)
        for _ in range(noise.randint(1, 3)):
            # In the header, the first records or the OPT; mostly to what means something there.
            at = noise.choice((*range(2, 12), *range(start, min(len(wire), start + 60)), *range(len(wire) - 12, len(wire))))
            octets[at] = noise.choice((0, 1, 0xC0, 0x80, 0x29, noise.randrange(256)))
        changed.append(bytes(octets) + noise.choice((b"", b"", b"\0")))

    def read():
        found = []
        for octets in changed:
            try:
                found.append(take_apart(octets, start))
            except DecodeError as error:
                found.append(str(error))
        return found

    quick = read()
    if count <= 16:
        # Made once for all of them.
        assert quick[0].runs is take_apart(wire, start).runs
    monkeypatch.setattr(module, "_STEPS", {})
    assert quick == read()
