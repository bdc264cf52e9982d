"""Listening sockets that somebody destroys, as `ss -K` does: they are noticed, and nobody waits at them any longer.

A shutdown of the listening socket has the same effect: it listens no more and hangs up.
"""

import asyncio
import socket
from ipaddress import ip_address

import pytest

from netcore.keeper.kept_sockets import KeptSockets
from netcore.kernel.socket_watch import SocketWatch
from netcore.relay.clients import Clients, RelayRule
from netcore.relay.shares import PlacesOfPort, Shares
from netcore.relay.tcp_relay import TcpRelay
from resolver.transport.tcp import TcpListener
from tests.support.waiting import until


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


async def test_a_destroyed_listener_is_told_of_once(listener):
    watch, told = SocketWatch(), []
    asyncio.get_running_loop().add_reader(watch.fileno(), lambda: told.append(watch.read()))
    watch.follow(listener, "box")
    # A client is no news.
    with socket.create_connection(listener.getsockname()):
        assert watch.read() == set()
        listener.shutdown(socket.SHUT_RDWR)
        await until(lambda: told)
    assert (told, watch.read()) == ([{"box"}], set())
    asyncio.get_running_loop().remove_reader(watch.fileno())
    watch.close()


async def test_an_error_that_a_reader_takes_away_is_noted_by_the_owner_of_the_socket(listener):
    watch, told = SocketWatch(), []
    watch.on_note = lambda: told.append(watch.read())
    watch.follow(listener, "box")
    watch.note(listener.fileno())
    watch.note(-1)
    assert told == [{"box"}]
    watch.close()


async def test_a_destroyed_listener_of_a_resolver_does_not_keep_the_loop_busy(listener):
    tcp = TcpListener(None, lambda _: None)
    await tcp.listen(listener)
    tcp.stop_if_destroyed()
    assert tcp._server is not None
    listener.shutdown(socket.SHUT_RDWR)
    tcp.stop_if_destroyed()
    assert tcp._server is None
    await until(lambda: listener.fileno() < 0)
    await tcp.close()


async def test_a_destroyed_listener_of_a_relay_does_not_keep_the_loop_busy(listener):
    target = ip_address("127.0.0.1"), 9
    relay, accepts = (
        TcpRelay(
            listener,
            RelayRule(((Clients.IPV4, (target,)),)),
            lambda *_: False,
            KeptSockets("", 0),
            PlacesOfPort(Shares(9, 9), Shares(9, 9), "box", lambda: None),
        ),
        [],
    )
    accept = relay._accepting._accept
    loop = asyncio.get_running_loop()
    loop.remove_reader(listener.fileno())
    loop.add_reader(listener.fileno(), lambda: (accepts.append(1), accept()))
    listener.shutdown(socket.SHUT_RDWR)
    await until(lambda: accepts)
    # Many turns of the loop later it has still been called once.
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(accepts) == 1
    relay.close()
