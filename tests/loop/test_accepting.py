"""Accepting connections while no descriptor is free: those who connect wait, the loop does not turn for them, and they are served later."""

import asyncio
import errno
import os
import resource
import socket
from ipaddress import ip_address

import pytest

from netcore import limits
from netcore.keeper import program
from netcore.keeper.kept_sockets import KeptSockets
from netcore.relay.accepting import Accepting
from netcore.relay.clients import Clients, RelayRule
from netcore.relay.shares import PlacesOfPort, Shares
from netcore.relay.tcp_relay import TcpRelay
from tests.support.waiting import until

TURNS = 100


class Counting(socket.socket):
    """A listening socket that counts how often it is asked, and says *says* in place of accepting if that is set."""

    asked = 0
    says: int | None = None

    def accept(self):
        self.asked += 1
        if self.says is not None:
            raise OSError(self.says, os.strerror(self.says))
        return super().accept()


@pytest.fixture
def listening():
    with Counting() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        made.setblocking(False)
        yield made


@pytest.fixture
def full():
    """Have no descriptor free, until it is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def lower():
        # The next descriptor gets the lowest number that is free.
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))

    def raise_again():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    yield lower, raise_again
    raise_again()


async def turn():
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_nothing_is_asked_while_no_descriptor_is_free(listening, caplog):
    accepted = []
    accepting = Accepting(listening, lambda sock, _: accepted.append(sock), 64, "a test")
    listening.says = errno.EMFILE
    with socket.create_connection(listening.getsockname()) as client:
        await until(lambda: listening.asked)
        await turn()
        assert listening.asked == 1
        accepting.try_again()
        await until(lambda: listening.asked == 2)
        await turn()
        assert listening.asked == 2
        listening.says = None
        accepting.try_again()
        await until(lambda: accepted)
        assert accepted[0].getpeername() == client.getsockname()
    said = [record.message for record in caplog.records]
    assert said == ["no connection can be accepted, those who connect wait at=a test reason=Too many open files"]
    accepting.close()
    accepted[0].close()


async def test_it_is_tried_again_after_a_moment_and_not_when_it_is_closed(listening, monkeypatch):
    monkeypatch.setattr(limits, "ACCEPT_PAUSE", 0.01)
    accepting = Accepting(listening, lambda sock, _: sock.close(), 64, "a test")
    listening.says = errno.ENFILE
    with socket.create_connection(listening.getsockname()):
        await until(lambda: listening.asked >= 3)
        accepting.close()
        asked = listening.asked
        accepting.try_again()
        await turn()
        assert listening.asked == asked


async def test_a_client_that_is_gone_keeps_nobody_waiting(listening):
    accepted = []
    accepting = Accepting(listening, lambda sock, _: accepted.append(sock), 3, "a test")
    listening.says = errno.ECONNABORTED
    with socket.create_connection(listening.getsockname()):
        await until(lambda: listening.asked >= 3)
        listening.says = None
        await until(lambda: accepted)
    accepting.close()
    accepted[0].close()


async def test_a_relay_without_descriptors_does_not_keep_the_loop_busy(listening, full):
    lower, raise_again = full
    target = ip_address("127.0.0.1"), 9
    relay = TcpRelay(
        listening,
        RelayRule(((Clients.IPV4, (target,)),)),
        lambda *_: False,
        KeptSockets("", 0),
        PlacesOfPort(Shares(9, 9), Shares(9, 9), "box", lambda: None),
    )
    with socket.socket() as client:
        lower()
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        await until(lambda: listening.asked)
        await turn()
        assert listening.asked == 1
        raise_again()
        # It is served in the end: nobody listens at the target.
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(client, 1)
    relay.close()


def test_the_keeper_waits_where_no_descriptor_is_left(tmp_path, monkeypatch):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(tmp_path / "keeper"))
    door, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            raise InterruptedError

    class Full:
        """What a listening socket is where no descriptor is left."""

        def __init__(self, sock):
            self.listen, self.fileno, self.getsockname = sock.listen, sock.fileno, sock.getsockname

        def _accept(self):
            raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(program, "sleep", wait)
    keeper = program.Keeper(Full(listening), door)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client, pytest.raises(InterruptedError):
        client.connect(str(tmp_path / "keeper"))
        keeper.run()
    assert waits == [program._SHORT_PAUSE] * 3
    for sock in (listening, door, other):
        sock.close()
