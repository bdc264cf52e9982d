"""What of an answer belongs to its question; answers without encrypted server names."""

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from resolver.engine import received as relaying
from resolver.engine.answered import answered, without_ech
from resolver.engine.request import screen
from resolver.wire.message import HEADER
from resolver.wire.name import from_text

ECH = "AAj+DQAEYWJjZA=="


def given(question, *records, qtype="A", rcode=0, flags=0, authority=(), additional=()):
    """(the query, what upstreams answered) of a question."""
    asked = dns.message.make_query(question, qtype, use_edns=0, payload=65_535)
    made = dns.message.make_response(asked, recursion_available=True)
    made.flags |= flags
    made.set_rcode(rcode)
    for section, texts in ((made.answer, records), (made.authority, authority), (made.additional, additional)):
        section += [dns.rrset.from_text(*text) for text in texts]
    query = screen(asked.to_wire())
    return query, relaying.take_apart(made.to_wire(max_size=65_535), HEADER.size + len(query.question))


def addresses(*arguments, **more):
    found = answered(*given(*arguments, **more)).addresses
    return sorted(".".join(map(str, octets)) if len(octets) == 4 else octets.hex() for octets in found)


def test_addresses_of_the_question():
    assert addresses("x.test", ("x.test.", 60, "IN", "A", "192.0.2.1", "192.0.2.2")) == ["192.0.2.1", "192.0.2.2"]
    many = [f"192.0.2.{last}" for last in range(1, 200)]
    assert addresses("x.test", ("x.test.", 60, "IN", "A", *many)) == sorted(many)
    assert addresses("x.test", ("x.test.", 60, "IN", "AAAA", "2001:db8::1"), qtype="AAAA") == ["20010db8000000000000000000000001"]


def test_addresses_along_a_chain_whatever_its_order():
    chain = [
        ("x.test.", 300, "IN", "CNAME", "a.cdn.test."),
        ("a.cdn.test.", 20, "IN", "CNAME", "b.cdn.test."),
        ("b.cdn.test.", 5, "IN", "A", "192.0.2.1", "192.0.2.2"),
    ]
    assert addresses("x.test", *chain) == ["192.0.2.1", "192.0.2.2"]
    assert addresses("X.tEsT", *reversed(chain)) == ["192.0.2.1", "192.0.2.2"]
    assert answered(*given("x.test", *chain)).ttl == 300


def test_what_does_not_belong_to_the_question_opens_nothing():
    assert addresses("x.test", ("y.test.", 60, "IN", "A", "192.0.2.9"), ("x.test.", 60, "IN", "A", "192.0.2.1")) == ["192.0.2.1"]
    broken = (("x.test.", 60, "IN", "CNAME", "a.test."), ("b.test.", 60, "IN", "A", "192.0.2.9"))
    assert addresses("x.test", *broken) == []
    assert addresses("x.test", additional=[("x.test.", 60, "IN", "A", "192.0.2.9")]) == []
    assert addresses("x.test", authority=[("x.test.", 60, "IN", "A", "192.0.2.9")]) == []
    assert addresses("x.test", ("x.test.", 60, "IN", "A", "192.0.2.9"), rcode=3) == []
    # A chain that leads back to itself ends.
    loop = (("x.test.", 60, "IN", "CNAME", "a.test."), ("a.test.", 60, "IN", "CNAME", "x.test."), ("x.test.", 60, "IN", "A", "192.0.2.1"))
    assert addresses("x.test", *loop) == ["192.0.2.1"]


def test_hints_and_targets_of_services():
    record = ("x.test.", 60, "IN", "HTTPS", "1 . alpn=h2 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1")
    found = answered(*given("x.test", record, qtype="HTTPS"))
    assert [len(address) for address in found.addresses] == [4, 4, 16]
    assert found.targets == ()
    other = answered(*given("x.test", ("x.test.", 60, "IN", "HTTPS", "0 pool.cdn.test."), qtype="HTTPS"))
    assert other.targets == (from_text("pool.cdn.test"),)


def test_a_name_can_still_be_read_behind_the_records_that_others_point_to():
    query, received = given("x.test", ("x.test.", 60, "IN", "A", "192.0.2.1"), ("x.test.", 60, "IN", "AAAA", "2001:db8::1"), qtype="ANY")
    assert len(answered(query, received).addresses) == 2


# --- without ech ----------------------------------------------------------------------------------------------------


def shown(query, received):
    reply = relaying.render(query, without_ech(query, received), tcp=True)
    return dns.message.from_wire(reply)


def test_an_answer_without_it_is_the_same_object():
    for texts in ([("x.test.", 60, "IN", "A", "192.0.2.1")], [("x.test.", 60, "IN", "HTTPS", "1 . alpn=h2")]):
        query, received = given("x.test", *texts, qtype="HTTPS", flags=dns.flags.AD)
        assert without_ech(query, received) is received


def test_it_goes_with_its_signature_and_the_rest_stays():
    query, received = given(
        "www.x.test",
        ("www.x.test.", 300, "IN", "CNAME", "svc.x.test."),
        ("svc.x.test.", 60, "IN", "HTTPS", f"1 . mandatory=alpn,ech alpn=h2,h3 no-default-alpn ech={ECH} ipv4hint=192.0.2.1", f"2 b.x.test. ech={ECH}"),
        ("svc.x.test.", 60, "IN", "RRSIG", "HTTPS 13 3 60 20300101000000 20200101000000 1 x.test. AAAA"),
        qtype="HTTPS", flags=dns.flags.AD,
        authority=[("x.test.", 60, "IN", "NS", "ns.x.test.")],
        additional=[("b.x.test.", 60, "IN", "A", "192.0.2.7", "192.0.2.8"), ("c.x.test.", 60, "IN", "HTTPS", f"1 . ech={ECH}")],
    )  # fmt: skip
    reply = shown(query, received)
    assert "ech" not in reply.to_text()
    assert not reply.flags & dns.flags.AD
    assert sorted(line for rrset in reply.answer for line in rrset.to_text().splitlines()) == [
        'svc.x.test. 60 IN HTTPS 1 . mandatory="alpn" alpn="h2,h3" no-default-alpn ipv4hint="192.0.2.1"',
        "svc.x.test. 60 IN HTTPS 2 b.x.test.",
        "www.x.test. 300 IN CNAME svc.x.test.",
    ]
    assert [rrset.rdtype for rrset in reply.additional] == [dns.rdatatype.A, dns.rdatatype.HTTPS]
    assert without_ech(query, received).lifetime == received.lifetime
    assert answered(query, without_ech(query, received)) == answered(query, received)


def test_the_only_mandatory_parameter_goes_with_it():
    query, received = given("x.test", ("x.test.", 60, "IN", "HTTPS", f"1 . mandatory=ech ech={ECH}"), qtype="HTTPS")
    assert shown(query, received).answer[0].to_text() == "x.test. 60 IN HTTPS 1 ."


@pytest.mark.parametrize("count", [1, 64, 70])
def test_it_is_found_behind_any_number_of_parameters(count):
    parameters = " ".join(f"key{number}=x" for number in range(65_000, 65_000 + count))
    # dnspython sorts parameters by their number, so it is written behind them by hand.
    asked = dns.message.make_query("x.test", "HTTPS", use_edns=0)
    made = dns.message.make_response(asked)
    made.answer.append(dns.rrset.from_text("x.test.", 60, "IN", "HTTPS", f"1 . {parameters} ech={ECH}"))
    wire = made.to_wire()
    start = wire.index(b"\0\5\0\x0a")
    octets = wire[start : start + 14]
    end = len(wire) - 11 if wire.endswith(b"\0\0") and wire[-11:-8] == b"\0\0\x29" else len(wire)
    moved = wire[:start] + wire[start + 14 : end] + octets + wire[end:]
    query = screen(asked.to_wire())
    received = relaying.take_apart(moved, HEADER.size + len(query.question))
    assert octets not in without_ech(query, received).body
