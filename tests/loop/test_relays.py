"""Relays of published ports: clients that stay silent, end one side, or take all places."""

import asyncio
import contextlib
import os
import socket
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from netcore import limits
from netcore.keeper.kept_sockets import KeptSockets
from netcore.model import PortMapping
from netcore.plan import published_ports
from netcore.relay import tcp_relay
from netcore.relay.carried import DESCRIPTORS
from netcore.relay.clients import Clients, RelayRule
from netcore.relay.port_proxy import PortProxies
from netcore.relay.shares import PlacesOfPort, Shares, source_of
from netcore.relay.tcp_relay import TcpRelay
from netcore.relay.totals import Kind, Totals, most
from netcore.relay.udp_relay import UdpRelay
from tests.support.waiting import PATIENCE, until


def places(of_port=None, of_all=None):
    """Places of one port."""
    return PlacesOfPort(of_port or Shares(99, 999), of_all or Shares(99, 999), "box", lambda: None)


class Relayed:
    """A TCP relay on the loopback, and an echo server behind it that ends when its client has."""

    async def start(self):
        self.server = await asyncio.start_server(self.echo, "127.0.0.1", 0)
        self.backends, self.closes = [], True
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.listener = listener
        target = ip_address("127.0.0.1"), self.server.sockets[0].getsockname()[1]
        self.relay = TcpRelay(listener, RelayRule(((Clients.IPV4, (target,)),)), lambda *_: False, KeptSockets("", 0), places())
        self.writers = []
        return self

    async def echo(self, reader, writer):
        self.backends.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        if self.closes:
            writer.close()

    async def connect(self, source="127.0.0.1"):
        reader, writer = await asyncio.open_connection(*self.listener.getsockname(), local_addr=(source, 0))
        self.writers.append(writer)
        return reader, writer

    async def works(self, source="127.0.0.1"):
        """Return whether a connection from *source* is relayed."""
        try:
            reader, writer = await self.connect(source)
            writer.write(b"hello")
            return await reader.readexactly(5) == b"hello"
        except (ConnectionError, asyncio.IncompleteReadError):
            return False

    async def stop(self):
        self.relay.close()
        for writer in (*self.writers, *self.backends):
            writer.transport.abort()
        self.server.close()
        await until(lambda: not self.relay._open)
        self.listener.close()


@pytest.fixture
async def relayed():
    made = await Relayed().start()
    yield made
    await made.stop()


async def test_silent_connection_is_closed_on_both_sides(relayed, monkeypatch):
    monkeypatch.setattr(limits, "PROXY_TCP_IDLE", 0.05)
    reader, _ = await relayed.connect()
    assert await reader.read() == b""
    await until(lambda: relayed.backends and relayed.backends[0].transport.is_closing() and not relayed.relay._open)


async def test_connection_of_which_one_side_has_ended_waits_less(relayed, monkeypatch):
    monkeypatch.setattr(limits, "PROXY_HALF_CLOSED", 0.05)
    relayed.closes = False
    reader, writer = await relayed.connect()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    writer.write_eof()
    assert await reader.read() == b""
    await until(lambda: not relayed.relay._open)


async def test_the_kernel_asks_whether_peers_are_still_there():
    with socket.socket() as sock:
        tcp_relay.keep_alive(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == limits.PROXY_KEEPALIVE[0]


async def test_one_source_does_not_take_all_places(relayed, monkeypatch):
    relayed.relay._places = places(Shares(3, 20))
    assert [await relayed.works("127.0.0.2") for _ in range(5)] == [True] * 3 + [False] * 2
    assert await relayed.works("127.0.0.3")
    relayed.writers[0].close()
    await until(lambda: len(relayed.relay._open) == 3)
    assert await relayed.works("127.0.0.2")


async def test_one_source_does_not_take_all_places_of_a_udp_port():
    loop = asyncio.get_running_loop()
    sock, target = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for each in (sock, target):
        each.setblocking(False)
        each.bind(("127.0.0.1", 0))
    relay = UdpRelay(
        sock,
        RelayRule(((Clients.IPV4, ((ip_address("127.0.0.1"), target.getsockname()[1]),)),)),
        lambda *_: False,
        places(Shares(3, 6)),
    )
    clients = []
    for source, count in (("127.0.0.2", 5), ("127.0.0.3", 1)):
        for number in range(count):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.bind((source, 0))
            client.sendto(b"%s %d" % (source.encode(), number), sock.getsockname())
            clients.append(client)
    received = {await loop.sock_recv(target, 100) for _ in range(4)}
    assert received == {b"127.0.0.2 0", b"127.0.0.2 1", b"127.0.0.2 2", b"127.0.0.3 0"}
    for client in [*relay._clients.values()]:
        client.close()
    assert relay._places.take("127.0.0.2")
    relay.close()
    for each in (*clients, sock, target):
        each.close()


class Hurried(socket.socket):
    """Is sent a datagram by another one between bind(2) and connect(2), when any sender's comes to it."""

    others = None

    def connect(self, target):
        self.bind(("127.0.0.1", 0))
        self.others.sendto(b"no answer", self.getsockname())
        super().connect(target)


async def test_what_another_sends_before_the_socket_has_its_target_is_no_answer(monkeypatch):
    client, sock, target, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4))
    for each in (client, sock, target, other):
        each.settimeout(20)
        each.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    monkeypatch.setattr(Hurried, "others", other)
    rule = RelayRule(((Clients.IPV4, ((ip_address("127.0.0.1"), target.getsockname()[1]),)),))
    relay = UdpRelay(sock, rule, lambda *_: False, places())
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Hurried)
        client.sendto(b"question", sock.getsockname())
        data, relayed_from = await asyncio.to_thread(target.recvfrom, 100)
    target.sendto(b"answer to " + data, relayed_from)
    assert await asyncio.to_thread(client.recv, 100) == b"answer to question"
    relay.close()
    for each in (client, sock, target, other):
        each.close()


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("2001:db8:0:1::7", 1, 0, 0), "2001:db8:0:1::/64"),
        (("::1", 1, 0, 0), "::1%"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1%eth0"),
    ],
)
def test_who_a_peer_counts_as(peer, source):
    assert source_of(peer) == source


def test_shares_are_equal_in_a_crowd():
    shares = Shares(100, 12)
    assert sum(shares.take("a") for _ in range(20)) == 6
    assert sum(shares.take("b") for _ in range(20)) == 3
    assert shares.take("c")
    assert shares.take("d")
    assert shares.take("e")
    assert not shares.take("f")
    shares.give_back("a")
    assert shares.take("f")


def test_whoever_has_several_sources_leaves_some_to_others():
    shares = Shares(512, 1024)
    taken = [sum(shares.take(source) for _ in range(1024)) for source in "abcde"]
    assert taken == [512, 256, 128, 64, 32]


def test_what_is_carried_already_keeps_its_place_whatever_its_share_is_now():
    of_port, of_all = Shares(2, 4), Shares(99, 8)
    made = places(of_port, of_all)
    for _ in range(4):
        made.keep("a")
    assert not made.take("a")
    assert not made.take("b")
    for _ in range(3):
        made.give_back("a")
    assert made.take("b")


@pytest.mark.parametrize(("descriptors", "connections", "clients"), [(1 << 20, 8192, 8192), (4096, 256, 512), (256, 16, 32), (8, 1, 1)])
def test_relays_leave_half_of_the_descriptors_to_the_rest(descriptors, connections, clients):
    assert most(descriptors) == {Kind.CONNECTIONS: connections, Kind.CLIENTS: clients}


async def test_ports_of_one_sandbox_leave_places_to_those_of_another(caplog):
    totals = Totals(256)
    ports = [totals.places(Kind.CONNECTIONS, "greedy") for _ in range(4)]
    assert [sum(port.take("192.0.2.1") for _ in range(5)) for port in ports] == [5, 3, 0, 0]
    other = totals.places(Kind.CONNECTIONS, "other")
    assert other.take("192.0.2.1")
    assert totals.refused == {Kind.CONNECTIONS: 12, Kind.CLIENTS: 0}
    assert [record.message for record in caplog.records] == ["a published port relays no more sandbox=greedy connections=16"]
    # What could not be had is not counted as had.
    for _ in range(5):
        ports[0].give_back("192.0.2.1")
    assert sum(ports[3].take("192.0.2.1") for _ in range(5)) == 4


async def test_connections_beyond_those_of_all_ports_are_reset(relayed):
    relayed.relay._places = places(of_all=Shares(2, 20))
    assert [await relayed.works("127.0.0.2") for _ in range(3)] == [True, True, False]
    relayed.writers[0].close()
    await until(lambda: len(relayed.relay._open) == 1)
    assert await relayed.works("127.0.0.2")


def mapping(family, protocol, port):
    return PortMapping(family=family, protocol=protocol, host_address=None, host_port=8080, sandbox_port=port)


class Published:
    """A port of all addresses, relayed to a server at each of them, which says where it was reached, and echoes then."""

    async def start(self):
        self.server = await asyncio.start_server(
            self.serve, sock=socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        )
        self.port = self.server.sockets[0].getsockname()[1]
        self.held = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.held.setblocking(False)
        self.kept = KeptSockets("", 0)
        self.relays = PortProxies(self, lambda *_: False, self.kept)
        self.writers = []
        return self

    async def serve(self, reader, writer):
        self.writers.append(writer)
        writer.write(writer.get_extra_info("sockname")[0].removeprefix("::ffff:").encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)

    def opened(self, _):
        return self.held

    def settle(self, ipv4=(), ipv6=()):
        """Relay clients of each family to these addresses."""
        by_family = {4: tuple(map(ip_address, ipv4)), 6: tuple(map(ip_address, ipv6))}
        wanted = {
            mapping(family, "tcp", self.port): published_ports.Relayed(addresses, self.port, only_loopback=False)
            for family, addresses in by_family.items()
            if addresses
        }
        self.relays.settle("box", wanted)

    def take_over(self):
        """Be the next daemon, which finds what this one has kept."""
        left = {name: os.dup(descriptor) for name, (descriptor, _) in self.kept._ours.items()}
        self.relays.leave()
        self.kept = KeptSockets("", 0)
        self.kept._left = left
        self.relays = PortProxies(self, lambda *_: False, self.kept)

    async def connect(self, host="127.0.0.1"):
        """Return a connection from *host*, and the address of the server that has it."""
        reader, writer = await asyncio.open_connection(host, self.held.getsockname()[1])
        self.writers.append(writer)
        return (reader, writer), (await reader.readline()).decode().strip()

    async def stop(self):
        self.settle()
        for writer in self.writers:
            writer.transport.abort()
        self.server.close()
        self.held.close()


@pytest.fixture
async def published():
    made = await Published().start()
    yield made
    await made.stop()


async def echoes(connection):
    """Return whether *connection* is carried; it is not after its end."""
    reader, writer = connection
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(b"hello")
            return await reader.readexactly(5) == b"hello"
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


@pytest.mark.parametrize("is_taken_over", [False, True])
async def test_connection_goes_on_while_its_target_is_one_of_its_clients(published, is_taken_over):
    published.settle(ipv4=["127.0.0.1"])
    connection, where = await published.connect()
    assert where == "127.0.0.1"
    if is_taken_over:
        published.take_over()
        published.settle(ipv4=["127.0.0.1"])
    for targets in (["127.0.0.1", "::1"], ["127.0.0.2", "127.0.0.1"]):
        published.settle(ipv4=targets)
        assert await echoes(connection)
    other, where = await published.connect()
    assert where == "127.0.0.2"
    published.settle(ipv4=["127.0.0.2", "::1"])
    assert not await echoes(connection)
    assert await echoes(other)
    await until(lambda: len(published.kept._ours) == DESCRIPTORS)


@pytest.mark.parametrize("is_taken_over", [False, True])
async def test_connection_ends_when_clients_of_its_family_are_relayed_no_more(published, is_taken_over):
    published.settle(ipv4=["127.0.0.1"], ipv6=["127.0.0.1"])
    (ipv4, _), (ipv6, _) = await published.connect(), await published.connect("::1")
    if is_taken_over:
        published.take_over()
        published.settle(ipv4=["127.0.0.1"], ipv6=["127.0.0.1"])
    published.settle(ipv6=["127.0.0.1"])
    assert not await echoes(ipv4)
    assert await echoes(ipv6)


def has_peer(sock):
    try:
        return sock.getpeername()
    except OSError:
        return None


async def test_what_a_server_has_left_arrives_though_nobody_knows_any_more_where_it_was(published):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (client, accepted), (backend, server) = (
            (socket.create_connection(listening.getsockname()), listening.accept()[0]) for _ in range(2)
        )
    server.sendall(b"left")
    server.close()
    backend.shutdown(socket.SHUT_WR)
    await until(lambda: not has_peer(backend))
    for sock in (accepted, backend):
        sock.setblocking(False)
    pipes = [end for _ in range(2) for end in os.pipe2(os.O_NONBLOCK)]
    name = f"relayed/{tcp_relay.cookie(published.held)}/1"
    published.kept._left = {f"{name}/{number}": end for number, end in enumerate((accepted.detach(), backend.detach(), *pipes))}
    published.settle(ipv4=["127.0.0.1"])
    published.settle(ipv4=["127.0.0.2"])
    with client:
        assert client.recv(100) == b"left"
        assert client.recv(100) == b""
        published.settle(ipv6=["::1"])
        await until(lambda: not published.kept._ours)


async def test_clients_of_both_families_at_one_socket_each_have_their_own_targets(published):
    published.settle(ipv4=["127.0.0.1", "::1"], ipv6=["::1", "127.0.0.1"])
    assert [(await published.connect(host))[1] for host in ("127.0.0.1", "::1")] == ["127.0.0.1", "::1"]


async def test_connection_is_still_being_made_when_the_rule_changes(published, monkeypatch):
    connect, tried, goes_on = TcpRelay._connect_to, [], asyncio.Event()

    async def wait(relay, target, peer):
        tried.append(str(target[0]))
        await goes_on.wait()
        return await connect(relay, target, peer)

    monkeypatch.setattr(TcpRelay, "_connect_to", wait)
    published.settle(ipv4=["127.0.0.1"])
    stays = asyncio.create_task(published.connect())
    await until(lambda: tried)
    published.settle(ipv4=["127.0.0.1", "127.0.0.2"])
    goes_on.set()
    assert (await stays)[1] == "127.0.0.1"
    goes_on.clear()
    ends = asyncio.create_task(published.connect())
    await until(lambda: len(tried) == 2)
    published.settle(ipv4=["127.0.0.2"])
    with pytest.raises(ConnectionResetError):
        await ends
    assert tried == ["127.0.0.1"] * 2


async def test_what_refuses_is_followed_by_the_targets_that_there_are_by_then(published, monkeypatch):
    tried, goes_on = [], asyncio.Event()

    async def refuse(_, target, __):
        tried.append(str(target[0]))
        await goes_on.wait()
        raise ConnectionRefusedError

    monkeypatch.setattr(TcpRelay, "_connect_to", refuse)
    published.settle(ipv4=["127.0.0.1", "127.0.0.2"])
    ends = asyncio.create_task(published.connect())
    await until(lambda: tried)
    published.settle(ipv4=["127.0.0.1", "::1"])
    goes_on.set()
    with pytest.raises(ConnectionResetError):
        await ends
    assert tried == ["127.0.0.1", "::1"]


class Datagrams(asyncio.DatagramProtocol):
    """Answers with where it is, and with the port that it was asked from."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, _, sender):
        self.transport.sendto(f"{self.transport.get_extra_info('sockname')[0]} {sender[1]}".encode(), sender)


async def test_client_of_udp_goes_on_while_its_target_is_one_of_its_own():
    loop = asyncio.get_running_loop()
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.bind(("127.0.0.1", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(held.getsockname())
    first, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    port = first.get_extra_info("sockname")[1]
    second, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.2", port))
    for sock in (held, client):
        sock.setblocking(False)
    relays = PortProxies(SimpleNamespace(opened=lambda _: held), lambda *_: False, KeptSockets("", 0))

    async def ask(*targets):
        relays.settle("box", {mapping(4, "udp", port): published_ports.Relayed(tuple(map(ip_address, targets)), port, only_loopback=False)})
        await loop.sock_sendall(client, b"where?")
        async with asyncio.timeout(PATIENCE):
            return (await loop.sock_recv(client, 100)).decode().split()

    with contextlib.ExitStack() as stack:
        for each in (first, second, client, held):
            stack.callback(each.close)
        stack.callback(relays.settle, "box", {})
        where, flow = await ask("127.0.0.1")
        assert where == "127.0.0.1"
        assert await ask("127.0.0.1", "::1") == [where, flow]
        assert await ask("127.0.0.2", "127.0.0.1") == [where, flow]
        assert (await ask("127.0.0.2", "::1"))[0] == "127.0.0.2"
