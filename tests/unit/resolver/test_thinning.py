"""Whose datagrams a gateway's socket lets through in part, and that the kernel does what the filter says."""

import contextlib
import socket

import pytest

from resolver import limits
from resolver.transport.thinning import Load, levels, program
from resolver.transport.udp import set_filter

ONE, TWO, THREE = (bytes([127, 0, 0, last]) for last in (2, 3, 4))


def load(*, full=True, reads=128, **counts):
    """What came from ONE, TWO and THREE."""
    made = Load()
    made.counts = {{"one": ONE, "two": TWO, "three": THREE}[name]: count for name, count in counts.items()}
    made.total, made.reads, made.full = sum(counts.values()), reads, reads if full else 0
    return made


def test_who_sends_most_is_halved_until_there_is_room():
    first = levels(load(one=1000, two=24), {}, 0.1)
    assert first == {ONE: 2}
    assert levels(load(one=600, two=424), first, 0.1) == {ONE: 4, TWO: 1}
    # It is no more than the socket takes: nobody is halved further, and who sends as much as before stays.
    assert levels(load(full=False, one=1000, two=20), first, 1.0) == first
    assert levels(load(one=1000, two=20), {ONE: limits.GATEWAY_HALVINGS}, 0.1) == {ONE: limits.GATEWAY_HALVINGS}


def test_many_who_send_little_are_left_alone():
    assert levels(load(one=256, two=256, three=256), {}, 0.1) == {}
    assert levels(load(full=False, one=5000), {}, 1.0) == {}


def test_who_sends_less_is_let_through_again():
    assert levels(load(full=False, one=100), {ONE: 2}, 1.0) == {ONE: 1}
    assert levels(load(full=False, one=100), {ONE: 1}, 1.0) == {}
    assert levels(load(full=False), {ONE: 1}, 1.0) == {}


def test_filter_has_room_for_those_who_send_most():
    made = Load()
    made.total, made.reads, made.full = 100_000, 100, 100
    made.counts = {bytes([10, 0, 0, number]): 1000 + number for number in range(50)}
    assert set(levels(made, {}, 1.0)) == {bytes([10, 0, 0, number]) for number in range(34, 50)}


@pytest.fixture
def sockets():
    """One socket, and a function that sends so many datagrams to it from an address."""
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)

        def send(source, count):
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.bind((socket.inet_ntoa(source), 0))
            came = 0
            for _ in range(count):
                sender.sendto(b"x", receiver.getsockname())
                with contextlib.suppress(BlockingIOError):
                    came += len(receiver.recv(1))
            return came

        yield receiver, send


def test_kernel_lets_through_some_of_one_and_all_of_others(sockets):
    receiver, send = sockets
    set_filter(receiver, program({ONE: 2, THREE: 8}))
    assert send(TWO, 300) == 300
    # One of 4: 100 of 400, give or take seven deviations of the binomial distribution.
    assert 39 <= send(ONE, 400) <= 161
    assert send(THREE, 400) <= 20
    set_filter(receiver, None)
    assert send(ONE, 100) == 100


def test_filter_compares_whole_ipv6_addresses():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        receiver.bind(("::1", 0))
        receiver.setblocking(False)

        def came():
            number = 0
            for _ in range(100):
                sender.sendto(b"x", receiver.getsockname())
                with contextlib.suppress(BlockingIOError):
                    number += len(receiver.recv(1))
            return number

        own = socket.inet_pton(socket.AF_INET6, "::1")
        for other in (own[:15] + b"\2", b"\1" + own[1:], own[:8] + b"\1" + own[9:]):
            set_filter(receiver, program({other: 8}))
            assert came() == 100
        set_filter(receiver, program({own[:15] + b"\2": 8, own: 8}))
        assert came() <= 10
