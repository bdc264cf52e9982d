"""Flows that are forgotten behind the reply: together, before anybody else has their addresses, and never twice."""

import threading
from ipaddress import ip_address

import pytest

from netcore import limits
from netcore.desired.flows import Flows, PortMove
from netcore.kernel.deferred_flows import DeferredFlows

ONE, TWO, OTHER = (ip_address(f"10.0.0.{last}") for last in (2, 3, 4))

MOVE = PortMove(4, "tcp", None, 80, (ONE, 8080), None)


def of(*addresses):
    return Flows(addresses=frozenset(addresses))


class Tried(DeferredFlows):
    """Notes what is forgotten, and when. *during*: is called while flows are forgotten."""

    def __init__(self, during=lambda: None):
        self.timers = []
        self.delays = []
        self.forgotten = []
        self.during = during
        super().__init__(self.later, None)

    def later(self, delay, body):
        self.delays.append(delay)
        self.timers.append(body)

    def flush(self, flows):
        self.during()
        self.forgotten.append(flows)


def test_what_comes_together_is_forgotten_together():
    tried = Tried()
    tried.put(of(ONE))
    tried.put(of(TWO))
    assert tried.forgotten == []
    (timer,) = tried.timers
    timer()
    assert tried.forgotten == [of(ONE, TWO)]
    tried.put(of(ONE))
    assert len(tried.timers) == 2


def test_ports_do_not_wait_as_long_as_addresses():
    tried, port = Tried(), Flows(ports=frozenset({MOVE}))
    tried.put(of(ONE))
    tried.put(port)
    tried.put(port | of(TWO))
    assert tried.delays == [limits.FORGET_ADDRESSES_AFTER, limits.FORGET_PORTS_AFTER]
    tried.timers[1]()
    assert tried.forgotten == [port | of(ONE, TWO)]
    # Nobody has put anything in since.
    tried.timers[0]()
    tried.put(port | of(ONE))
    assert tried.forgotten == [port | of(ONE, TWO)]
    assert tried.delays[2:] == [limits.FORGET_PORTS_AFTER]


def test_who_has_an_address_again_does_not_wait_for_the_timer():
    tried = Tried()
    tried.put(of(ONE, TWO))
    tried.settle({OTHER})
    assert tried.forgotten == []
    tried.settle({OTHER, TWO})
    assert tried.forgotten == [of(ONE, TWO)]
    tried.settle({ONE})
    tried.timers[0]()
    assert tried.forgotten == [of(ONE, TWO)]


def test_flows_of_a_port_that_leads_where_it_led_are_spared():
    tried, port = Tried(), Flows(ports=frozenset({MOVE}))
    tried.put(port | of(ONE))
    assert not tried.spare({MOVE._replace(before=None, after=(TWO, 8080))})
    assert tried.spare({MOVE._replace(before=None, after=(ONE, 8080))}) == port
    tried.timers[0]()
    assert tried.forgotten == [of(ONE)]


def test_whoever_leads_a_port_back_waits_for_flows_that_are_being_forgotten():
    begun, may_end, spared = threading.Event(), threading.Event(), threading.Event()

    def during():
        begun.set()
        may_end.wait(60)

    tried = Tried(during)
    tried.put(Flows(ports=frozenset({MOVE})))
    timer = threading.Thread(target=tried.timers[0])
    timer.start()
    begun.wait(60)
    waiting = threading.Thread(target=lambda: tried.spare({MOVE._replace(before=None, after=(ONE, 8080))}) or spared.set())
    waiting.start()
    assert not spared.is_set()
    may_end.set()
    for thread in (timer, waiting):
        thread.join(60)
    assert spared.is_set()


def test_flows_that_could_not_be_forgotten_are_spared_too():
    begun, may_end = threading.Event(), threading.Event()

    def during():
        begun.set()
        may_end.wait(60)
        refuse()

    tried, port, spared = Tried(during), Flows(ports=frozenset({MOVE})), []
    tried.put(port)
    timer = threading.Thread(target=tried.timers[0])
    timer.start()
    begun.wait(60)
    waiting = threading.Thread(target=lambda: spared.append(tried.spare({MOVE._replace(before=None, after=(ONE, 8080))})))
    waiting.start()
    may_end.set()
    for thread in (timer, waiting):
        thread.join(60)
    tried.during = lambda: None
    tried.timers[-1]()
    assert spared == [port]
    assert tried.forgotten == []


def test_who_has_an_address_again_waits_for_flows_that_are_being_forgotten():
    begun, may_end = threading.Event(), threading.Event()

    def during():
        begun.set()
        may_end.wait(60)

    tried = Tried(during)
    tried.put(of(ONE))
    timer = threading.Thread(target=tried.timers[0])
    timer.start()
    begun.wait(60)
    # Nobody waits for what others had.
    tried.settle({OTHER})
    settled = []
    waiting = threading.Thread(target=lambda: settled.append(tried.settle({ONE}) or list(tried.forgotten)))
    waiting.start()
    may_end.set()
    for thread in (timer, waiting):
        thread.join(60)
    assert settled == [[of(ONE)]]


def refuse():
    raise OSError(24, "Too many open files")


def test_what_fails_is_tried_again_and_keeps_others_from_the_address(caplog):
    tried = Tried(refuse)
    tried.put(of(ONE))
    tried.timers[0]()
    assert "not forgotten yet" in caplog.text
    for _ in range(2):
        with pytest.raises(OSError, match="Too many open files"):
            tried.settle({ONE})
    tried.put(of(TWO))
    tried.during = lambda: None
    tried.timers[1]()
    assert tried.forgotten == [of(ONE, TWO)]
    assert tried.delays == [limits.FORGET_ADDRESSES_AFTER, limits.DELETE_RETRY]


def test_what_could_not_be_forgotten_at_once_waits():
    tried = Tried()
    tried.put(of(ONE))
    tried.forget(of(TWO))
    assert tried.forgotten == [of(TWO)]
    tried.during = refuse
    tried.forget(of(OTHER))
    assert tried.delays[1:] == [limits.DELETE_RETRY]
    tried.during = lambda: None
    tried.close()
    assert tried.forgotten == [of(TWO), of(ONE, OTHER)]
