import dns.message
import pytest

from resolver import limits
from resolver.engine.exchange import Done, Exchange, GiveUp, Health, Kind, Send, classify
from resolver.zone.view import Upstream

A, B, C = Upstream("10.0.0.1"), Upstream("10.0.0.2"), Upstream("10.0.0.3")
OK, FAIL = b"\0\0\x80\0", b"\0\0\x80\x02"


def exchange(*upstreams, health=None, now=0.0):
    health = health if health is not None else {}
    for item in upstreams:
        health.setdefault(item, Health())
    return Exchange(upstreams, health, now), health


def test_first_upstream_is_asked_and_its_answer_is_final():
    made, _ = exchange(A, B)
    assert made.start(0) == Send(A)
    assert made.on_message(A, Kind.FINAL, OK, 0.01) == Done(A, OK)
    assert made.done


def test_next_is_asked_while_the_first_may_still_answer():
    made, _ = exchange(A, B)
    made.start(0)
    assert made.deadline == limits.NEXT_UPSTREAM
    assert made.on_deadline(made.deadline) == Send(B)
    assert made.on_message(A, Kind.FINAL, OK, 0.5) == Done(A, OK)


def test_servfail_fails_over_at_once_and_is_told_when_nobody_else_is_left():
    made, _ = exchange(A, B)
    made.start(0)
    assert made.on_message(A, Kind.FAILED, FAIL, 0.01) == Send(B)
    assert made.on_message(B, Kind.FAILED, b"\0\0\x80\x05", 0.02) == GiveUp("10.0.0.1 answered SERVFAIL; 10.0.0.2 answered REFUSED")


def test_silence_is_given_up_within_the_budget():
    made, health = exchange(A, B)
    made.start(0)
    made.on_deadline(made.deadline)
    end = made.on_deadline(limits.BUDGET)
    assert isinstance(end, GiveUp)
    assert "10.0.0.1 did not answer" in end.reason
    assert limits.BUDGET * 2 < 5
    assert health[A].down_until > limits.BUDGET


def test_silent_upstream_is_asked_last_for_a_while():
    made, health = exchange(A, B)
    made.start(0)
    made.on_deadline(0.4)
    made.on_message(B, Kind.FINAL, OK, 0.41)
    second, _ = exchange(A, B, health=health, now=1)
    assert second.start(1) == Send(B)
    third, _ = exchange(A, B, health=health, now=0.41 + limits.DOWN)
    assert third.start(0.41 + limits.DOWN) == Send(A)


def test_only_upstream_is_asked_twice():
    made, _ = exchange(A)
    made.start(0)
    assert made.deadline == limits.RESEND
    assert made.on_deadline(made.deadline) == Send(A)
    assert made.deadline == limits.BUDGET


def test_when_all_failed_one_probes_and_the_rest_is_refused_at_once():
    health = {A: Health(), B: Health()}
    for item in health.values():
        item.failed(0)
    soon, _ = exchange(A, B, health=health, now=0.1)
    assert isinstance(soon.start(0.1), GiveUp)
    probe, _ = exchange(A, B, health=health, now=2)
    assert isinstance(probe.start(2), Send)
    other, _ = exchange(A, B, health=health, now=2.1)
    assert isinstance(other.start(2.1), GiveUp)
    assert isinstance(probe.on_message(A, Kind.FINAL, OK, 2.2), Done)
    again, _ = exchange(A, B, health=health, now=2.3)
    assert again.start(2.3) == Send(A)


def test_refused_connection_goes_to_the_next_and_is_remembered():
    made, health = exchange(A, B, C)
    made.start(0)
    assert made.on_failure(A, "Connection refused", 0) == Send(B)
    assert health[A].down_until > 0


QUERY = dns.message.make_query("www.example.test", "A", id=77)
QUESTION = QUERY.to_wire()[12:]


def reply(**changes):
    made = dns.message.make_response(dns.message.make_query(changes.get("name", "WWW.example.test"), "A", id=changes.get("id", 77)))
    made.flags |= changes.get("flags", 0)
    made.set_rcode(changes.get("rcode", 0))
    return made.to_wire()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (reply(), Kind.FINAL),
        (reply(rcode=3), Kind.FINAL),
        (reply(rcode=4), Kind.FINAL),
        (reply(rcode=2), Kind.FAILED),
        (reply(rcode=5), Kind.FAILED),
        (reply(flags=0x0200), Kind.TRUNCATED),
        (reply(id=78), Kind.FOREIGN),
        (reply(name="evil.test"), Kind.FOREIGN),
        (QUERY.to_wire(), Kind.FOREIGN),
        (b"", Kind.FOREIGN),
        (b"\0\x4d\x80\x01" + b"\0" * 8, Kind.FAILED),
        (b"\0\x4d\x80\x00\0\1" + b"\0" * 60, Kind.FOREIGN),
    ],
)
def test_only_the_reply_to_our_question_is_taken(message, kind):
    assert classify(QUESTION, 77, message) is kind
