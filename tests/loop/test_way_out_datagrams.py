"""The way out's datagrams: each client has its own flow, however close they come to each other."""

import asyncio
import socket
from typing import ClassVar

from netcore.way_out import udp
from netcore.way_out.udp import UdpWayOut


class Listening(socket.socket):
    """Stands for the edge's socket: it goes to the server here, and not to the address that the way out listens on."""

    server = ("", 0)

    def connect(self, address):
        super().connect(self.server)


class StandInEdge:
    def open(self, family, kind):
        return Listening(family, kind | socket.SOCK_NONBLOCK)


class StandInLedger:
    def count(self, kind, carried):
        self.carried = carried

    def changed(self):
        """Nothing is written."""


class Inner(socket.socket):
    """The flow's socket in the nest. Between bind(2) and connect(2), when any client's datagrams come to it, another client sends one."""

    late: ClassVar[list[socket.socket]] = []

    def connect(self, address):
        for client in self.late:
            client.sendto(b"late", self.getsockname())
        self.late.clear()
        super().connect(address)


def datagrams():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(20)
    made.bind(("127.0.0.1", 0))
    return made


def listener(family, kind):
    """Stands for the socket that takes what goes anywhere: it takes what goes to a port of the loopback."""
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    return made


async def test_datagram_of_another_client_that_comes_while_a_flow_is_made_has_its_own(monkeypatch):
    loop, ledger, listening = asyncio.get_running_loop(), StandInLedger(), []
    first, second, server = datagrams(), datagrams(), datagrams()
    monkeypatch.setattr(Listening, "server", server.getsockname())
    monkeypatch.setattr(Inner, "late", [second])
    monkeypatch.setattr(udp, "listener", lambda family, kind: listening.append(listener(family, kind)) or listening[-1])
    way_out = UdpWayOut(StandInEdge(), lambda packet: None, lambda flow: "box", ledger, 100)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Inner)
        first.sendto(b"first", listening[0].getsockname())
        said = [await asyncio.to_thread(server.recvfrom, 100) for _ in range(2)]
    for data, peer in said:
        server.sendto(b"answer to " + data, peer)
    assert await asyncio.to_thread(first.recv, 100) == b"answer to first"
    assert await asyncio.to_thread(second.recv, 100) == b"answer to late"
    assert ledger.carried() == 2
    way_out._clock.cancel()
    for flow in [*way_out._flows.values()]:
        flow.close()
    for each in listening:
        loop.remove_reader(each.fileno())
    for each in (first, second, server, *listening):
        each.close()
