import struct

import dns.message
import dns.rcode
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resolver.engine.request import screen
from resolver.wire.message import Query, Rcode


def query(qname="web", qtype="A", **more):
    return dns.message.make_query(qname, qtype, **more).to_wire()


def rcode_of(reply):
    return reply[3] & 0xF


def test_query_is_read():
    read = screen(query("WEB.Net", "AAAA", use_edns=0, payload=1400, want_dnssec=True))
    assert isinstance(read, Query)
    assert (read.qname, read.qtype, read.qclass) == (b"\x03web\x03net\0", 28, 1)
    assert read.question[:5] == b"\x03WEB\x03"
    assert (read.edns.payload, read.edns.do, read.edns.version) == (1400, True, 0)


def test_short_messages_and_responses_are_ignored():
    assert screen(b"") is None
    assert screen(b"\0" * 11) is None
    assert screen(dns.message.make_response(dns.message.make_query("web", "A")).to_wire()) is None


def test_unknown_opcode_is_not_implemented():
    octets = bytearray(query())
    octets[2] |= 2 << 3
    reply = screen(bytes(octets))
    assert rcode_of(reply) == Rcode.NOTIMP
    assert (reply[2] >> 3) & 0xF == 2
    assert len(reply) == 12


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (2, 0, 0, 0), (1, 2, 0, 0), (1, 0, 2, 0), (1, 0, 0, 3), (1, 1, 0, 0)])
def test_wrong_counts_are_format_errors_without_question(counts):
    octets = query()
    reply = screen(octets[:4] + struct.pack("!4H", *counts) + octets[12:])
    assert rcode_of(reply) == Rcode.FORMERR
    assert reply[4:6] == b"\0\0"


def test_future_edns_version_is_badvers_with_our_version():
    message = dns.message.make_query("web", "A", use_edns=1)
    reply = dns.message.from_wire(screen(message.to_wire()))
    assert reply.rcode() == dns.rcode.BADVERS
    assert reply.edns == 0


def test_class_chaos_is_refused_and_class_any_is_taken():
    assert rcode_of(screen(query("version.bind", "TXT", rdclass="CH"))) == Rcode.REFUSED
    assert isinstance(screen(query("web", "A", rdclass="ANY")), Query)


def test_two_opt_records_are_a_format_error():
    octets = query(use_edns=0)
    opt = octets[octets.index(b"\0\0\x29") :]
    assert rcode_of(screen(octets[:10] + b"\0\x02" + octets[12:] + opt)) == Rcode.FORMERR


@given(st.binary(max_size=80))
@example(b"\0" * 4 + b"\0\1" + b"\0" * 6 + b"\xc0\x0c\0\1\0\1")
@example(b"\0" * 4 + b"\0\1" + b"\0" * 6 + b"\x3f" + b"a" * 20)
def test_any_octets_are_a_query_a_refusal_or_silence(octets):
    result = screen(octets)
    assert result is None or isinstance(result, bytes | Query)


def test_zone_transfers_are_refused():
    assert rcode_of(screen(query("web", "AXFR"))) == Rcode.REFUSED
