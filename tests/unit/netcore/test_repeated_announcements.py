"""When addresses are announced again: each as often as was asked, never many at once."""

from collections import Counter
from ipaddress import ip_address
from itertools import pairwise

import pytest

from netcore import limits
from netcore.desired.objects import Announcement
from netcore.kernel import repeated_announcements
from netcore.kernel.repeated_announcements import RepeatedAnnouncements


class Socket:
    def __init__(self, error=None):
        self.error = error
        self.is_closed = False

    def close(self):
        assert not self.is_closed
        self.is_closed = True


class World:
    """A clock whose timers run when it is moved. *cost*: seconds that the kernel needs for an announcement."""

    def __init__(self, monkeypatch, cost=0.0):
        self.now, self.cost = 100.0, cost
        self.timers = []
        self.sent = []
        self.sockets = []
        monkeypatch.setattr(repeated_announcements.announce, "send", self.send)
        self.repeated = RepeatedAnnouncements(lambda delay, body: self.timers.append((self.now + delay, body)), lambda: self.now)

    def send(self, sock, _mac, addresses):
        self.now += self.cost
        if sock.error is not None:
            raise sock.error
        self.sent.append((self.now, str(addresses[0])))

    def put(self, number=1, left=2, interval=1.0, error=None):
        announcement = Announcement(
            sandbox_id="s",
            ifname="eth0",
            port=None,
            mac="02:00:00:00:00:01",
            addresses=(ip_address("10.0.0.0") + number,),
            count=left + 1,
            interval=interval,
        )
        self.sockets.append(Socket(error))
        self.repeated.put(self.sockets[-1], announcement, left)

    def pass_time(self, seconds, early=0.0):
        """*early*: seconds by which timers fire too soon."""
        end = self.now + seconds
        self.timers = [(moment - early, body) for moment, body in self.timers]
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = max(self.now, end)


@pytest.mark.parametrize("left", [0, 1, 2, 5])
def test_one_is_sent_as_often_as_was_asked_an_interval_apart(monkeypatch, left):
    world = World(monkeypatch)
    world.put(left=left, interval=0.25)
    world.pass_time(10)
    assert [moment for moment, _ in world.sent] == pytest.approx([100 + 0.25 * (number + 1) for number in range(left)], abs=0.1)
    assert world.sockets[0].is_closed
    assert world.timers == []


def test_a_timer_that_fires_too_soon_is_not_the_end(monkeypatch):
    world = World(monkeypatch)
    world.put(left=2)
    world.pass_time(10, early=0.05)
    assert len(world.sent) == 2
    assert world.sockets[0].is_closed


def test_a_thousand_at_once_are_sent_a_few_at_a_time_and_none_is_left_out(monkeypatch):
    world = World(monkeypatch, cost=0.005)
    for number in range(1000):
        world.put(number)
    world.pass_time(600)
    assert Counter(address for _, address in world.sent) == {str(ip_address("10.0.0.0") + number): 2 for number in range(1000)}
    moments = [moment for moment, _ in world.sent]
    assert min(after - before for before, after in pairwise(moments)) >= limits.ANNOUNCE_PAUSE
    assert all(sock.is_closed for sock in world.sockets)
    assert world.timers == []


def test_cheap_ones_go_together(monkeypatch):
    world = World(monkeypatch)
    for number in range(1000):
        world.put(number, left=1)
    world.pass_time(1.01)
    assert len(world.sent) == 1000


def test_others_that_come_keep_no_pause_from_being_made(monkeypatch):
    world = World(monkeypatch, cost=0.005)
    for number in range(100):
        world.put(number, left=1)
    for number in range(200):
        world.put(1000 + number, left=0)
        world.pass_time(0.01)
    moments = [moment for moment, _ in world.sent]
    assert min(after - before for before, after in pairwise(moments)) >= limits.ANNOUNCE_PAUSE


def test_one_whose_link_is_gone_ends(monkeypatch):
    world = World(monkeypatch)
    world.put(error=OSError(100, "Network is down"))
    world.pass_time(10)
    assert world.sent == []
    assert world.sockets[0].is_closed
    assert world.timers == []
