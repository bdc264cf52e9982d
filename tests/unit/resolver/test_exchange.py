"""Forwarding decided without sockets: which upstream gets which message, over which transport, and when to give up."""

import dns.message
import pytest

from resolver import limits
from resolver.engine.classify import Kind
from resolver.engine.exchange import Done, Exchange, GiveUp, Send, first_upstream
from resolver.engine.loop_probes import LoopProbes
from resolver.engine.upstream import Upstream
from resolver.engine.upstream_health import UpstreamHealth
from resolver.wire.message import without_opt

OK, FAIL = b"\0\0\x80\0", b"\0\0\x80\x02"
MESSAGE = dns.message.make_query("www.example.test", "A", use_edns=0, payload=1232).to_wire()[2:]
PLAIN = without_opt(MESSAGE)
QUESTION = PLAIN[10:]
FORMERR = b"\0\0\x80\x01" + bytes(8)


def known(text):
    """An upstream that has been probed for loops."""
    health = UpstreamHealth(Upstream(text)) if isinstance(text, str) else UpstreamHealth(text)
    health.loop_checked = True
    return health


@pytest.fixture
def three():
    return tuple(known(f"10.0.0.{i}") for i in (1, 2, 3))


def exchange(upstreams, now=0.0, probes=None):
    return Exchange(upstreams, MESSAGE, QUESTION, probes or LoopProbes(), now)


def sends(*upstreams, message=MESSAGE, stream=False, since=None):
    return tuple(Send(upstream, message, stream, since=since) for upstream in upstreams)


def answers(made, upstream, now, took=0.01):
    """The upstream answers well: as the transport does, its health is told first."""
    upstream.answered(took)
    return made.on_reply(Send(upstream, MESSAGE), Kind.FINAL, OK, now)


def fails(made, upstream, message, now):
    return made.on_reply(Send(upstream, MESSAGE), Kind.FAILED, message, now)


def failed(upstream, now):
    """It failed, and has been probed for a loop since."""
    upstream.failed(now)
    upstream.loop_checked = True


# --- order and time ---------------------------------------------------------------------------------------------------


def test_first_upstream_is_asked_and_its_answer_is_final(three):
    a, b, _ = three
    made = exchange((a, b))
    assert made.start(0) == sends(a)
    assert answers(made, a, 0.01) == Done(a, OK)
    assert made.done


def test_next_is_asked_while_the_first_may_still_answer(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    assert made.deadline == limits.NEXT_UPSTREAM
    assert made.on_deadline(made.deadline) == sends(b)
    assert answers(made, a, 0.5) == Done(a, OK)


def test_next_is_asked_sooner_if_the_first_is_usually_fast(three):
    a, b, _ = three
    for _ in range(20):
        a.answered(0.002)
    made = exchange((a, b))
    made.start(0)
    assert made.deadline == limits.HEDGE
    for took in (0.05, 0.15, 0.1, 0.2) * 5:
        a.answered(took)
    made = exchange((a, b))
    made.start(0)
    assert 0.2 < made.deadline <= limits.NEXT_UPSTREAM


def test_servfail_fails_over_at_once_and_is_told_when_nobody_else_is_left(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    assert fails(made, a, FAIL, 0.01) == sends(b)
    end = fails(made, b, b"\0\0\x80\x05", 0.02)
    assert end == GiveUp("10.0.0.1 answered SERVFAIL; 10.0.0.2 answered REFUSED")


def test_failure_of_one_waits_for_the_other_that_may_still_answer(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    made.on_deadline(made.deadline)
    assert fails(made, a, b"\0\0\x80\x09", 0.5) == ()
    assert fails(made, b, FAIL, 0.6) == GiveUp("10.0.0.1 answered 9; 10.0.0.2 answered SERVFAIL")


def test_silence_is_given_up_within_the_budget(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    while made.deadline < limits.BUDGET:
        made.on_deadline(made.deadline)
    assert made.deadline == limits.BUDGET
    end = made.on_deadline(limits.BUDGET)
    assert isinstance(end, GiveUp)
    assert "10.0.0.1 did not answer" in end.reason
    assert limits.BUDGET * 2 < 5
    assert a.down_until > limits.BUDGET


def test_what_comes_after_the_end_changes_nothing(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    answers(made, a, 0.1)
    assert answers(made, a, 0.2) == ()
    assert made.on_failure(b, "Connection refused", 0.2) == ()
    assert not b.failures


def test_silent_upstream_is_asked_last_for_a_while_then_beside_a_good_one(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    made.on_deadline(0.4)
    answers(made, b, 0.41)
    a.loop_checked = True
    assert exchange((a, b), 1).start(1) == sends(b)
    due = 0.41 + limits.DOWN
    assert exchange((a, b), due).start(due) == sends(b, a)
    # One trial is enough until it is known what came of it.
    assert exchange((a, b), due + 0.1).start(due + 0.1) == sends(b)
    # Silence to the trial is one more failure.
    later = due + 0.5
    assert exchange((a, b), later).start(later) == sends(b)
    assert a.down_until > later + limits.DOWN - 1
    # An answer to it puts the upstream back in its place.
    a.answered(0.01)
    a.loop_checked = True
    assert exchange((a, b), later).start(later) == sends(a)


def test_upstream_that_is_late_again_and_again_counts_as_failed(three):
    a, b, _ = three
    a.answered(0.001)
    b.answered(0.001)
    for number in range(limits.MISSES):
        now = float(number)
        made = exchange((a, b), now)
        assert made.start(now) == sends(a)
        assert made.on_deadline(made.deadline) == sends(b)
        answers(made, b, now + limits.HEDGE + 0.001)
    assert exchange((a, b), 3.0).start(3.0) == sends(b)


def test_only_upstream_is_asked_again_by_fresh_sockets_until_the_end(three):
    a = three[0]
    made = exchange((a,), 5.0)
    made.start(5.0)
    assert made.deadline == 5.0 + limits.RESEND
    assert made.on_deadline(made.deadline) == sends(a, since=5.0)
    second = 5.0 + limits.RESEND
    assert made.deadline == second + limits.RESEND
    assert made.on_deadline(made.deadline) == sends(a, since=second)
    assert made.deadline == 5.0 + limits.BUDGET


def test_all_that_are_silent_are_asked_again(three):
    a, b, c = three
    made = exchange((a, b, c))
    made.start(0)
    made.on_deadline(0.4)
    made.on_deadline(0.8)
    assert fails(made, b, FAIL, 0.9) == ()
    assert made.deadline == 0.8 + limits.RESEND
    assert made.on_deadline(made.deadline) == sends(a, since=0) + sends(c, since=0.8)
    assert made.deadline == limits.BUDGET
    # An answer to the second query says nothing against the other: its first one was perhaps lost by our socket.
    assert answers(made, c, 1.61) == Done(c, OK)
    assert not a.is_unsure


# --- sockets that fail ------------------------------------------------------------------------------------------------


def test_query_of_a_socket_that_failed_goes_out_by_a_fresh_one(three):
    a, b, _ = three
    made = exchange((a, b), 1.0)
    made.start(1.0)
    assert made.on_failure(a, "Network is unreachable", 1.1, sent=1.0, is_socket=True) == sends(a, since=1.0)
    assert not a.failures
    assert answers(made, a, 1.11) == Done(a, OK)


def test_fresh_socket_that_fails_too_is_the_upstreams_failure(three):
    a, b, _ = three
    made = exchange((a, b), 1.0)
    made.start(1.0)
    made.on_failure(a, "No route to host", 1.1, sent=1.0, is_socket=True)
    assert made.on_failure(a, "No route to host", 1.2, sent=1.1, is_socket=True) == sends(b)
    assert a.failures == 1


def test_next_upstream_is_asked_while_the_fresh_socket_is_silent(three):
    a, b, _ = three
    a.answered(0.002)
    made = exchange((a, b), 1.0)
    made.start(1.0)
    made.on_failure(a, "No route to host", 1.01, sent=1.0, is_socket=True)
    assert made.deadline == 1.01 + limits.HEDGE
    assert made.on_deadline(made.deadline) == sends(b)


def test_refusal_is_the_upstreams_own_word(three):
    a, b, _ = three
    made = exchange((a, b), 1.0)
    made.start(1.0)
    assert made.on_failure(a, "Connection refused", 1.1, sent=1.0, is_socket=False) == sends(b)


def test_failure_of_a_query_that_was_sent_again_changes_nothing(three):
    a = three[0]
    made = exchange((a,), 1.0)
    made.start(1.0)
    made.on_deadline(made.deadline)
    assert made.on_failure(a, "No route to host", 1.9, sent=1.0, is_socket=True) == ()
    assert answers(made, a, 1.91) == Done(a, OK)


def test_query_is_sent_again_when_the_upstream_is_reached_from_another_address(three):
    a, b, _ = three
    made = exchange((a, b), 1.0)
    made.start(1.0)
    assert made.on_other_path(b, 1.1) == ()
    assert made.on_other_path(a, 1.1) == sends(a, since=1.1)
    assert made.on_other_path(a, 1.2) == sends(a, since=1.2)
    answers(made, a, 1.3)
    assert made.on_other_path(a, 1.4) == ()


def test_truncated_response_to_the_second_query_is_fetched_by_a_fresh_connection(three):
    a = three[0]
    made = exchange((a,), 1.0)
    made.start(1.0)
    (again,) = made.on_deadline(made.deadline)
    assert made.on_reply(again, Kind.TRUNCATED, OK, 1.9) == sends(a, stream=True, since=1.0)


def test_failures_say_nothing_once_the_path_is_another(three):
    a, b, _ = three
    for upstream in (a, b):
        upstream.answered(0.001)
        failed(upstream, 0)
        upstream.path_changed()
    probe, query = exchange((a, b), 0.1).start(0.1)
    # It may lead back to us now.
    assert (probe.is_loop_probe, query) == (True, *sends(a))
    assert a.patience == limits.NEXT_UPSTREAM


def test_when_all_failed_those_of_one_moment_try_and_the_rest_is_refused_at_once(three):
    a, b, _ = three
    failed(a, 0)
    failed(b, 0)
    assert exchange((a, b), 0.1).start(0.1) == GiveUp("all nameservers failed a moment ago", asked=False)
    trial = exchange((a, b), 2)
    assert trial.start(2) == sends(a)
    late = 2.1 + limits.NEXT_UPSTREAM
    assert isinstance(exchange((a, b), late).start(late), GiveUp)
    assert isinstance(answers(trial, a, late), Done)
    assert exchange((a, b), late).start(late) == sends(a)


def test_when_all_failed_a_and_aaaa_are_tried_together(three):
    a, b, _ = three
    failed(a, 0)
    failed(b, 0)
    trials = [exchange((a, b), 2), exchange((a, b), 2.001)]
    assert [made.start(2) for made in trials] == [sends(a), sends(a)]
    assert all(isinstance(answers(made, a, 2.1), Done) for made in trials)
    assert not a.is_unsure


def test_refused_connection_goes_to_the_next_and_is_remembered(three):
    a, b, c = three
    made = exchange((a, b, c))
    made.start(0)
    assert made.on_failure(a, "Connection refused", 0) == sends(b)
    assert a.down_until > 0


def test_without_upstreams_there_is_nothing_to_do():
    assert exchange(()).start(0) == GiveUp("", asked=False)


# --- the usual case, without an exchange ------------------------------------------------------------------------------


def test_sound_upstreams_need_no_exchange(three):
    a, b, _ = three
    assert first_upstream((a, b), 1) is a
    assert first_upstream((), 1) is None
    b.loop_checked = False
    assert first_upstream((a, b), 1) is None
    b.loop_checked, b.no_edns_until = True, 2
    assert first_upstream((a, b), 1) is None
    b.no_edns_until, b.looping_until = 0, 2
    assert first_upstream((a, b), 1) is None
    b.looping_until = 0
    failed(b, 0)
    assert first_upstream((a, b), 1) is None
    assert first_upstream((known(Upstream("10.0.0.1", transport="tcp")),), 1) is None


def test_exchange_takes_up_a_query_that_was_sent(three):
    a, b, _ = three
    made = Exchange.begun((a, b), MESSAGE, QUESTION, LoopProbes(), a, 0.0)
    assert made.deadline == limits.NEXT_UPSTREAM
    assert made.on_deadline(made.deadline) == sends(b)
    made = Exchange.begun((a, b), MESSAGE, QUESTION, LoopProbes(), a, 0.0)
    assert fails(made, a, FAIL, 0.1) == sends(b)


# --- truncation, EDNS -------------------------------------------------------------------------------------------------


def test_truncated_response_is_fetched_over_tcp(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    again = made.on_reply(Send(a, MESSAGE), Kind.TRUNCATED, OK, 0.01)
    assert again == sends(a, stream=True)
    assert not made.done
    assert made.on_reply(again[0], Kind.FINAL, OK, 0.02) == Done(a, OK)


def test_response_that_is_truncated_over_tcp_too_is_a_failure(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    (again,) = made.on_reply(Send(a, MESSAGE), Kind.TRUNCATED, OK, 0.01)
    assert made.on_reply(again, Kind.TRUNCATED, OK, 0.02) == sends(b)
    assert fails(made, b, FAIL, 0.03) == GiveUp("10.0.0.1 truncated its response over TCP; 10.0.0.2 answered SERVFAIL")


def test_upstream_for_streams_is_asked_over_its_stream():
    for transport in ("tcp", "tls"):
        made = exchange((upstream := known(Upstream("10.0.0.1", 53, None, transport)),))
        assert made.start(0) == sends(upstream, stream=True)


def test_upstream_that_does_not_know_edns_is_asked_without(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    again = made.on_reply(Send(a, MESSAGE), Kind.NO_EDNS, FORMERR, 0.01)
    assert again == sends(a, message=PLAIN)
    assert made.on_reply(again[0], Kind.FINAL, OK, 0.02) == Done(a, OK)
    # It is remembered for a while.
    assert exchange((a, b), 1).start(1) == sends(a, message=PLAIN)
    later = 1 + limits.NO_EDNS
    assert exchange((a, b), later).start(later) == sends(a)


def test_formerr_that_has_another_reason_is_an_answer_or_a_failure(three):
    a, b, _ = three
    made = exchange((a, b))
    made.start(0)
    (again,) = made.on_reply(Send(a, MESSAGE), Kind.NO_EDNS, FORMERR, 0.01)
    # With the question echoed it is about the question, and any server would say so.
    whole = FORMERR + QUESTION
    assert made.on_reply(again, Kind.NO_EDNS, whole, 0.02) == Done(a, whole)
    assert not a.no_edns_until
    made = exchange((a, b), 1)
    made.start(1)
    (again,) = made.on_reply(Send(a, MESSAGE), Kind.NO_EDNS, FORMERR, 1.01)
    assert made.on_reply(again, Kind.NO_EDNS, FORMERR, 1.02) == sends(b)


def test_late_answer_with_edns_does_not_say_that_the_upstream_lacks_it(three):
    a = three[0]
    made = exchange((a,))
    made.start(0)
    made.on_reply(Send(a, MESSAGE), Kind.NO_EDNS, FORMERR, 0.01)
    assert answers(made, a, 0.02) == Done(a, OK)
    assert not a.no_edns_until


# --- loops ------------------------------------------------------------------------------------------------------------


def test_upstream_is_probed_for_a_loop_before_its_first_query():
    probes = LoopProbes(draw_label=lambda: b"secret")
    a = UpstreamHealth(Upstream("10.0.0.1"))
    made = exchange((a,), probes=probes)
    probe, query = made.start(0)
    assert (probe.upstream, probe.is_loop_probe, query) == (a, True, *sends(a))
    asked = dns.message.from_wire(b"\0\0" + probe.message).question[0]
    assert asked.to_text() == "secret._loop. IN TXT"
    # Once is enough, until it fails.
    assert exchange((a,), 1, probes).start(1) == sends(a)
    a.failed(2)
    probe, _ = exchange((a,), 4, probes).start(4)
    assert probe.is_loop_probe


def test_probe_of_an_upstream_for_streams_goes_over_its_stream():
    probe, _ = exchange((UpstreamHealth(Upstream("10.0.0.1", transport="tcp")),)).start(0)
    assert probe.stream


def test_only_the_upstream_that_leads_back_is_left_out(three):
    a, b, _ = three
    a.loops(0)
    assert exchange((a, b), 1).start(1) == sends(b)
    end = exchange((a,), 1).start(1)
    assert end == GiveUp("10.0.0.1 leads back to this resolver", asked=False)
    later = 1 + limits.LOOP
    probe, query = exchange((a,), later).start(later)
    assert (probe.is_loop_probe, query) == (True, *sends(a))
