import dns.message
import pytest

from resolver import limits
from resolver.engine.exchange import Done, Exchange, GiveUp, Health, Kind, Send, classify
from resolver.engine.upstream import Upstream

OK, FAIL = b"\0\0\x80\0", b"\0\0\x80\x02"


@pytest.fixture
def three():
    return tuple(Health(Upstream(f"10.0.0.{i}")) for i in (1, 2, 3))


def answers(made, upstream, now, took=0.01):
    """The upstream answers well: as the transport does, its health is told first."""
    upstream.answered(took)
    return made.on_message(upstream, Kind.FINAL, OK, now)


def test_first_upstream_is_asked_and_its_answer_is_final(three):
    a, b, _ = three
    made = Exchange((a, b), 0)
    assert made.start(0) == Send(a)
    assert answers(made, a, 0.01) == Done(a, OK)
    assert made.done


def test_next_is_asked_while_the_first_may_still_answer(three):
    a, b, _ = three
    made = Exchange((a, b), 0)
    made.start(0)
    assert made.deadline == limits.NEXT_UPSTREAM
    assert made.on_deadline(made.deadline) == Send(b)
    assert answers(made, a, 0.5) == Done(a, OK)


def test_next_is_asked_sooner_if_the_first_is_usually_fast(three):
    a, b, _ = three
    for _ in range(20):
        a.answered(0.002)
    made = Exchange((a, b), 0)
    made.start(0)
    assert made.deadline == limits.HEDGE
    for took in (0.05, 0.15, 0.1, 0.2) * 5:
        a.answered(took)
    made = Exchange((a, b), 0)
    made.start(0)
    assert 0.2 < made.deadline <= limits.NEXT_UPSTREAM


def test_servfail_fails_over_at_once_and_is_told_when_nobody_else_is_left(three):
    a, b, _ = three
    made = Exchange((a, b), 0)
    made.start(0)
    assert made.on_message(a, Kind.FAILED, FAIL, 0.01) == Send(b)
    end = made.on_message(b, Kind.FAILED, b"\0\0\x80\x05", 0.02)
    assert end == GiveUp("10.0.0.1 answered SERVFAIL; 10.0.0.2 answered REFUSED")


def test_silence_is_given_up_within_the_budget(three):
    a, b, _ = three
    made = Exchange((a, b), 0)
    made.start(0)
    made.on_deadline(made.deadline)
    end = made.on_deadline(limits.BUDGET)
    assert isinstance(end, GiveUp)
    assert "10.0.0.1 did not answer" in end.reason
    assert limits.BUDGET * 2 < 5
    assert a.down_until > limits.BUDGET


def test_silent_upstream_is_asked_last_for_a_while_then_beside_a_good_one(three):
    a, b, _ = three
    made = Exchange((a, b), 0)
    made.start(0)
    made.on_deadline(0.4)
    answers(made, b, 0.41)
    second = Exchange((a, b), 1)
    assert second.start(1) == Send(b)
    due = 0.41 + limits.DOWN
    assert Exchange((a, b), due).start(due) == Send(b, probe=a)
    # One trial is enough until it is known what came of it.
    assert Exchange((a, b), due + 0.1).start(due + 0.1) == Send(b)
    # Silence to the trial is one more failure.
    later = due + 0.5
    assert Exchange((a, b), later).start(later) == Send(b)
    assert a.down_until > later + limits.DOWN - 1
    # An answer to it puts the upstream back in its place.
    a.answered(0.01)
    assert Exchange((a, b), later).start(later) == Send(a)


def test_upstream_that_is_late_again_and_again_counts_as_failed(three):
    a, b, _ = three
    a.answered(0.001)
    b.answered(0.001)
    for number in range(limits.MISSES):
        now = float(number)
        made = Exchange((a, b), now)
        assert made.start(now) == Send(a)
        assert made.on_deadline(made.deadline) == Send(b)
        answers(made, b, now + limits.HEDGE + 0.001)
    assert Exchange((a, b), 3.0).start(3.0) == Send(b)


def test_only_upstream_is_asked_twice(three):
    a = three[0]
    made = Exchange((a,), 0)
    made.start(0)
    assert made.deadline == limits.RESEND
    assert made.on_deadline(made.deadline) == Send(a)
    assert made.deadline == limits.BUDGET


def test_when_all_failed_one_probes_and_the_rest_is_refused_at_once(three):
    a, b, _ = three
    a.failed(0)
    b.failed(0)
    assert Exchange((a, b), 0.1).start(0.1) == GiveUp("all nameservers failed a moment ago", asked=False)
    probe = Exchange((a, b), 2)
    assert isinstance(probe.start(2), Send)
    assert isinstance(Exchange((a, b), 2.1).start(2.1), GiveUp)
    assert isinstance(answers(probe, a, 2.2), Done)
    assert Exchange((a, b), 2.3).start(2.3) == Send(a)


def test_refused_connection_goes_to_the_next_and_is_remembered(three):
    a, b, c = three
    made = Exchange((a, b, c), 0)
    made.start(0)
    assert made.on_failure(a, "Connection refused", 0) == Send(b)
    assert a.down_until > 0


def test_only_the_upstream_that_leads_back_is_left_out(three):
    a, b, _ = three
    a.looping_until = 60
    assert Exchange((a, b), 1).start(1) == Send(b)
    end = Exchange((a,), 1).start(1)
    assert end == GiveUp("10.0.0.1 leads back to this resolver", asked=False)
    assert Exchange((a,), 61).start(61) == Send(a)


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
