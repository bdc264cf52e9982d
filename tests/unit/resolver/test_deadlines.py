"""The clock of forwarding, with a loop and a time of the test's own."""

import pytest

from resolver.transport.deadlines import Deadlines


class Loop:
    """Keeps the one timer."""

    def __init__(self):
        self.timer = None

    def call_later(self, delay, call):
        self.timer = call
        return self

    def cancel(self):
        self.timer = None


class Waiting:
    def __init__(self, then=lambda: None):
        self.called, self.then = [], then

    def on_deadline(self, now):
        self.called.append(now)
        self.then()


class Clock:
    def __init__(self):
        self.now, self.loop = 100.0, Loop()
        self.deadlines = Deadlines(self.loop, lambda: self.now)

    def add(self, waiting, seconds):
        return self.deadlines.add(waiting, self.now + seconds, self.now)

    def go_to(self, seconds):
        self.now = 100.0 + seconds
        if self.loop.timer is not None:
            self.loop.timer()


@pytest.fixture
def clock():
    return Clock()


def test_each_is_called_once_a_tick_late_at_most(clock):
    soon, later = Waiting(), Waiting()
    clock.add(soon, 0.05)
    clock.add(later, 0.4)
    clock.go_to(0.04)
    assert soon.called == []
    clock.go_to(0.061)
    assert soon.called == [100.061]
    clock.go_to(0.3)
    clock.go_to(5.0)
    assert (soon.called, later.called) == ([100.061], [105.0])
    # Nobody waits: no timer.
    assert clock.deadlines._timer is None


def test_what_is_taken_out_is_not_called(clock):
    waiting = Waiting()
    clock.add(waiting, 0.05).pop(waiting)
    clock.go_to(1.0)
    assert waiting.called == []


def test_one_takes_another_out_in_the_same_tick(clock):
    other = Waiting()
    bucket = clock.add(Waiting(lambda: bucket.pop(other)), 0.05)
    clock.add(other, 0.05)
    clock.go_to(1.0)
    assert other.called == []


def test_deadline_that_has_passed_is_due_at_the_next_tick(clock):
    """The loop was busy for long: the query was late before its deadline was set."""
    first, late = Waiting(lambda: clock.add(late, -0.5)), Waiting()
    clock.add(first, 0.01)
    clock.go_to(3.0)
    clock.go_to(3.02)
    assert late.called == [103.02]


def test_last_bucket_serves_again_when_all_in_it_were_answered(clock):
    waiting = Waiting()
    bucket = clock.add(waiting, 0.4)
    del bucket[waiting]
    clock.go_to(0.05)
    assert clock.add(waiting, 0.4) is bucket
    assert len(clock.deadlines._buckets) == 1
    clock.go_to(0.2)
    clock.go_to(0.5)
    assert len(waiting.called) == 1


def test_close_ends_it(clock):
    waiting = Waiting()
    clock.add(waiting, 0.05)
    clock.deadlines.close()
    clock.go_to(1.0)
    assert waiting.called == []
