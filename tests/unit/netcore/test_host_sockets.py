"""Sockets are kept from one use to the next, each for one at a time."""

import pytest

from netcore import limits
from netcore.kernel.host_sockets import HostSockets

ROUTE, NETFILTER = 0, 12


class Socket:
    def __init__(self, protocol):
        self.protocol = protocol
        self.is_broken = False
        self.is_closed = False

    def close(self):
        self.is_closed = True


@pytest.fixture
def opened():
    return []


@pytest.fixture
def sockets(opened):
    def open_socket(protocol):
        opened.append(Socket(protocol))
        return opened[-1]

    return HostSockets(open_socket)


def test_one_use_after_the_other_takes_one_socket_of_each_protocol(sockets, opened):
    for _ in range(10):
        with sockets.lent(ROUTE) as route, sockets.lent(NETFILTER) as netfilter:
            assert (route.protocol, netfilter.protocol) == (ROUTE, NETFILTER)
    assert len(opened) == 2
    assert not any(socket.is_closed for socket in opened)


def test_two_at_once_have_two(sockets, opened):
    with sockets.lent(ROUTE) as one, sockets.lent(ROUTE) as other:
        assert one is not other
    with sockets.lent(ROUTE), sockets.lent(ROUTE):
        assert len(opened) == 2


def test_a_socket_that_lost_an_answer_is_not_used_again(sockets, opened):
    with sockets.lent(ROUTE) as broken:
        broken.is_broken = True
    assert broken.is_closed
    with sockets.lent(ROUTE) as other:
        assert other is not broken


def test_an_error_of_the_caller_says_nothing_about_the_socket(sockets, opened):
    with pytest.raises(ValueError, match="mine"), sockets.lent(ROUTE):
        raise ValueError("mine")
    with sockets.lent(ROUTE):
        assert len(opened) == 1


def test_no_more_are_kept_than_there_are_workers(sockets, opened):
    lent = [sockets.lent(ROUTE) for _ in range(limits.KERNEL_WORKERS + 2)]
    for each in lent:
        each.__enter__()
    for each in lent:
        each.__exit__(None, None, None)
    assert sum(not socket.is_closed for socket in opened) == limits.KERNEL_WORKERS


def test_close_closes_those_that_are_lent_when_they_come_back(sockets, opened):
    with sockets.lent(ROUTE), sockets.lent(ROUTE):
        pass
    with sockets.lent(ROUTE) as lent:
        sockets.close()
        assert [socket is not lent for socket in opened] == [socket.is_closed for socket in opened]
    assert all(socket.is_closed for socket in opened)
