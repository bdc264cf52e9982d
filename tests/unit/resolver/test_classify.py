"""Which messages of an upstream are taken for the response to our query."""

import dns.message
import pytest

from resolver.engine.classify import Kind, classify

QUERY = dns.message.make_query("www.example.test", "A", id=77)
QUESTION = QUERY.to_wire()[12:]


def reply(**changes):
    made = dns.message.make_response(dns.message.make_query(changes.get("name", "WWW.example.test"), "A", id=changes.get("id", 77)))
    made.flags |= changes.get("flags", 0)
    made.set_rcode(changes.get("rcode", 0))
    return made.to_wire()


SAME = reply(name="www.example.test")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (reply(), Kind.FINAL),
        (SAME, Kind.FINAL),
        (reply(rcode=3), Kind.FINAL),
        (reply(rcode=4), Kind.NO_EDNS),
        (reply(rcode=2), Kind.FAILED),
        (reply(rcode=5), Kind.FAILED),
        (reply(flags=0x0200), Kind.TRUNCATED),
        (reply(id=78), Kind.UNRELATED),
        (reply(name="evil.test"), Kind.UNRELATED),
        (QUERY.to_wire(), Kind.UNRELATED),
        (reply()[:4] + b"\0\2" + reply()[6:], Kind.UNRELATED),
        (SAME[:4] + b"\0\2" + SAME[6:], Kind.UNRELATED),
        (reply()[:4] + b"\0\0" + reply()[6:], Kind.UNRELATED),
        (SAME[:4] + b"\0\0" + SAME[6:], Kind.UNRELATED),
        (b"", Kind.UNRELATED),
        (b"\0\x4d\x80\x01" + b"\0" * 8, Kind.NO_EDNS),
        (b"\0\x4d\x80\x00\0\1" + b"\0" * 60, Kind.UNRELATED),
    ],
)
def test_only_the_reply_to_our_question_is_taken(message, kind):
    assert classify(QUESTION, 77, message) is kind


def test_question_that_can_not_be_read_is_not_ours():
    assert classify(QUESTION, 77, reply()[:12] + b"\x40" * 40) is Kind.UNRELATED
