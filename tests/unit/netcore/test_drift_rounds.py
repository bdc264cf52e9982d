"""Turns of the comparison that nobody asked for."""

import pytest

from netcore import limits
from netcore.controller.drift.rounds import Rounds
from netcore.plan.drift import TABLES, Concern, Part


def concerns(count):
    return [TABLES, *(Concern(Part.SANDBOX, str(number)) for number in range(count - 1))]


def turns(rounds, begin, end):
    """Return (time, how many) of each turn from *begin* to *end*, and all that were taken."""
    taken, found, now = [], [], begin
    while now < end:
        some = rounds.take(now)
        if some:
            taken.append((now, len(some)))
            found += some
        assert rounds.next_turn() > now
        now = rounds.next_turn()
    return taken, found


@pytest.mark.parametrize("count", [1, 2, 7, 60, 61, 1000, 6000])
def test_everything_has_its_turn_once_in_each_round_and_few_come_at_once(count):
    everything = concerns(count)
    rounds = Rounds(lambda: everything, 100.0)
    assert rounds.take(100.0) == []
    for begin in (160.0, 220.0, 280.0):
        taken, found = turns(rounds, begin, begin + limits.DRIFT_INTERVAL - 0.001)
        assert found == everything
        assert max(number for _, number in taken) <= -(-count // 60) + 1


def test_beyond_the_rate_a_round_takes_longer():
    everything = concerns(12_000)
    rounds = Rounds(lambda: everything, 0.0)
    taken, found = turns(rounds, 60.0, 179.9)
    assert found == everything
    assert max(number for _, number in taken) <= limits.DRIFT_RATE + 1


def test_lost_notifications_begin_a_short_round_that_more_losses_do_not_begin_again():
    everything = concerns(500)
    rounds = Rounds(lambda: everything, 0.0)
    rounds.begin_anew(1.0)
    _, found = turns(rounds, 1.0, 6.0)
    rounds.begin_anew(6.0)
    taken, rest = turns(rounds, 6.0, 10.999)
    assert found + rest == everything
    assert max(number for _, number in taken) <= 51
    # The next one is an ordinary one.
    taken, found = turns(rounds, rounds.next_turn(), rounds.next_turn() + 59.999)
    assert found == everything
    assert max(number for _, number in taken) <= 10


def test_a_call_that_comes_late_takes_all_that_were_due():
    everything = concerns(600)
    rounds = Rounds(lambda: everything, 0.0)
    assert len(rounds.take(60.0)) == 10
    assert len(rounds.take(90.0)) == 300
    assert len(rounds.take(500.0)) == 290
