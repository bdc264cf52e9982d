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
        """Go on as a loop does that is never late, but for less than a tick."""
        while self.now < 100.0 + seconds:
            self.jump_to(min(self.now - 100.0 + 0.01, seconds))

    def jump_to(self, seconds):
        """Stand still until then."""
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
    assert [round(at, 3) for at in soon.called] == [100.06]
    clock.go_to(0.3)
    clock.go_to(5.0)
    assert (len(soon.called), [round(at, 3) for at in later.called]) == (1, [100.41])
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


def test_who_is_answered_while_the_process_stood_still_is_not_called(clock):
    answered, late = Waiting(), Waiting()
    bucket = clock.add(answered, 0.4)
    clock.add(late, 0.4)
    clock.go_to(0.1)
    clock.jump_to(3.0)
    assert (answered.called, late.called) == ([], [])
    # Now the loop reads what waits in its sockets.
    bucket.pop(answered)
    clock.jump_to(3.01)
    assert (answered.called, late.called) == ([], [103.01])


def test_a_process_that_stands_still_again_and_again_calls_all_the_same(clock):
    waiting = Waiting()
    clock.add(waiting, 0.4)
    clock.jump_to(1.0)
    clock.jump_to(2.0)
    assert waiting.called == [102.0]


def test_deadline_that_has_passed_is_due_at_the_next_tick(clock):
    """The loop was busy for long: the query was late before its deadline was set."""
    first, late = Waiting(lambda: clock.add(late, -0.5)), Waiting()
    clock.add(first, 0.01)
    for seconds in (3.0, 3.01, 3.03):
        clock.jump_to(seconds)
    assert late.called == [103.03]


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
