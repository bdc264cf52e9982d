"""TCP clients and name servers that take what they can: places, octets, turns of the loop."""

import asyncio
import socket
import struct

import dns.flags
import dns.message
import dns.rcode
import pytest

from benchmarks.hostile import addresses
from resolver import limits
from resolver.dns_client import Client, Strangers
from resolver.transport.pending import PendingQueries
from resolver.transport.tcp import TcpListener
from tests.support.served import Scripted, StreamServer, good
from tests.support.waiting import until


@pytest.fixture
async def served(serve):
    return await serve()


class Gateway:
    """A listener for several clients on the loopback, told apart by address."""

    async def start(self, served):
        self.strangers = Strangers(Client(served.client.view))
        self.writers = []
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        self.address = sock.getsockname()
        self.tcp = TcpListener(served.service, lambda peer: self.strangers.at(socket.inet_aton(peer)))
        await self.tcp.listen(sock)
        return self

    async def connect(self, source):
        """Return a connection from this address; None if it was refused."""
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(source, 0))
        self.writers.append(writer)
        writer.write(framed(query()))
        try:
            size = struct.unpack("!H", await reader.readexactly(2))[0]
            await reader.readexactly(size)
        except (ConnectionError, asyncio.IncompleteReadError):
            return None
        return reader, writer

    async def stop(self):
        for writer in self.writers:
            writer.close()
        await self.tcp.close()


@pytest.fixture
async def gateway(served):
    made = await Gateway().start(served)
    yield made
    await made.stop()


def query(name="web", qtype="A", identity=1):
    return dns.message.make_query(name, qtype, id=identity).to_wire()


def framed(octets):
    return len(octets).to_bytes(2, "big") + octets


async def test_connections_at_a_gateway_are_counted_by_asker(gateway, monkeypatch):
    monkeypatch.setattr(limits, "TCP_CONNECTIONS", 4)
    taken = [await gateway.connect("127.0.0.2") for _ in range(6)]
    assert [one is not None for one in taken] == [True] * 4 + [False] * 2
    assert await gateway.connect("127.0.0.3") is not None
    taken[0][1].close()
    await until(lambda: len(gateway.strangers.at(socket.inet_aton("127.0.0.2")).connections) == 3)
    assert await gateway.connect("127.0.0.2") is not None


async def test_connections_at_a_gateway_are_shared_in_a_crowd(gateway, monkeypatch):
    monkeypatch.setattr(limits, "TCP_CONNECTIONS_OF_ALL", 12)
    greedy = [await gateway.connect("127.0.0.2") for _ in range(12)]
    assert sum(one is not None for one in greedy) == 6
    modest = [await gateway.connect(f"127.0.0.{3 + number % 3}") for number in range(12)]
    assert all(modest[:3])
    assert len(gateway.tcp.connections) <= 12


async def test_connections_of_one_client_are_counted_over_all_listeners(served, gateway, monkeypatch):
    monkeypatch.setattr(limits, "TCP_CONNECTIONS", 3)
    gateway.tcp.client_of = lambda _: served.client
    opened = [await asyncio.open_connection(*served.tcp_address) for _ in range(2)]
    await until(lambda: len(served.client.connections) == 2)
    assert await gateway.connect("127.0.0.2") is not None
    assert await gateway.connect("127.0.0.3") is None
    for _, writer in opened:
        writer.close()


async def test_strangers_share_replies_and_not_shares(served, monkeypatch):
    strangers = Strangers(Client(served.client.view))
    one, two = strangers.at(b"\1\1\1\1"), strangers.at(b"\2\2\2\2")
    assert one is strangers.at(b"\1\1\1\1")
    assert one is not two
    assert one.replies is two.replies
    one.queries = 5
    monkeypatch.setattr(limits, "STRANGERS", 2)
    strangers.at(b"\3\3\3\3")
    assert strangers.at(b"\1\1\1\1") is not one
    assert sum(client.queries for client in strangers) == 5
    assert len(list(strangers)) == 3


async def test_unfinished_messages_take_bounded_octets(served, monkeypatch):
    monkeypatch.setattr(limits, "TCP_OCTETS", 400_000)
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection(*served.tcp_address)
        writer.write(b"\xff\xff" + bytes(60_000))
        writers.append(writer)
    await until(lambda: len(served.client.connections) < 20)

    def kept():
        return sum(connection.octets() for connection in served.client.connections)

    await until(lambda: kept() > 300_000)
    assert kept() <= 400_000
    for writer in writers:
        writer.close()


async def test_responses_that_nobody_reads_take_bounded_octets(serve, monkeypatch):
    records = addresses(3900)

    def large(octets):
        end = octets.index(0, 12) + 5
        return octets[:2] + b"\x81\x80\0\1" + struct.pack("!3H", 3900, 0, 0) + octets[12:end] + records

    upstream = StreamServer(large)
    served = await serve(await upstream.start())
    peak = 0
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, served.tcp_address)
    sent = 0
    for number in range(200):
        try:
            sent += client.send(framed(query(f"n{number}.test", identity=number)))
        except BlockingIOError:
            break
    for _ in range(400):
        await asyncio.sleep(0)
        peak = max(peak, sum(connection.octets() for connection in served.client.connections))
    await until(lambda: len(upstream.queries) >= limits.TCP_IN_FLIGHT or not served.client.connections)
    peak = max(peak, sum(connection.octets() for connection in served.client.connections))
    assert sent
    assert peak <= limits.TCP_OCTETS
    client.close()
    await upstream.stop()


async def test_who_waits_for_an_answer_sees_a_reset_and_who_does_not_an_end(serve):
    """So does the kernel end them when the process is killed; glibc asks again after a reset alone."""
    served = await serve(Scripted())
    waiting, idle = [await asyncio.open_connection(*served.tcp_address) for _ in range(2)]
    waiting[1].write(framed(query("never.example")))
    idle[1].write(framed(query()))
    assert await idle[0].readexactly(2)
    await until(lambda: any(connection._waiting for connection in served.client.connections))
    (asked,) = [connection for connection in served.client.connections if connection._waiting]
    linger = asked._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    assert struct.unpack("ii", linger) == (1, 0)
    await served.tcp.close()
    with pytest.raises(ConnectionResetError):
        await waiting[0].read()
    await idle[0].read()
    for _, writer in (waiting, idle):
        writer.close()


async def test_one_turn_writes_a_bounded_number_of_octets(served, monkeypatch):
    turns = []
    original = TcpListener._take_turns

    def counted(self):
        original(self)
        turns.append(self.written)

    monkeypatch.setattr(TcpListener, "_take_turns", counted)
    monkeypatch.setattr(limits, "TCP_TURN_OCTETS", 200)
    opened = [await asyncio.open_connection(*served.tcp_address) for _ in range(8)]
    for _, writer in opened:
        writer.write(framed(query()) * 40)
    for reader, writer in opened:
        for _ in range(40):
            await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
        writer.close()
    longest = limits.TCP_SHARE * (2 + 12 + 9 + 2 * 16)
    assert max(turns) <= 200 + longest


async def test_thousands_of_messages_of_a_name_server_wait_for_their_turn(serve, monkeypatch):
    """A name server that sends a flood of small messages does not keep the loop from others, and its answer still comes."""
    taken = []

    class Flooding(StreamServer):
        async def serve(self, reader, writer):
            writer.write(framed(b"\xff\xfe\x81\x80" + bytes(8)) * 20_000)
            await super().serve(reader, writer)

    original = PendingQueries.on_messages
    monkeypatch.setattr(
        PendingQueries, "on_messages", lambda self, messages, now: (taken.append(len(messages)), original(self, messages, now))
    )
    upstream = await Flooding(good).start()
    served = await serve(upstream)
    reply = await served.ask("a.test", use_edns=0)
    assert reply.answer, reply.options
    assert sum(taken) > 20_000
    assert max(taken) <= limits.STREAM_TURN
    await upstream.stop()


async def test_name_server_that_does_not_speak_dns_is_cut_off(serve):
    class Mute(StreamServer):
        async def serve(self, reader, writer):
            self.connections += 1
            await reader.readexactly(2)
            writer.write(b"\0\0" * 50_000)
            await reader.read()
            writer.close()

    upstream = await Mute(good).start()
    served = await serve(upstream)
    reply = await served.ask("a.test", use_edns=0)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert "closed the connection" in reply.options[0].text
    await upstream.stop()


async def test_long_datagrams_of_a_name_server_are_read_a_few_at_a_time(serve, monkeypatch):
    records = addresses(600)

    def long(octets):
        end = octets.index(0, 12) + 5
        return octets[:2] + b"\x81\x80\0\1" + struct.pack("!3H", 600, 0, 0) + octets[12:end] + records

    taken = []
    original = PendingQueries.on_messages
    monkeypatch.setattr(
        PendingQueries, "on_messages", lambda self, messages, now: (taken.append(len(messages)), original(self, messages, now))
    )
    served = await serve(Scripted(long))
    assert len((await served.ask("first.test", use_edns=0, payload=4096)).answer[0]) > 200
    del taken[:]
    replies = await asyncio.gather(*(served.ask(f"n{number}.test") for number in range(20)))
    assert all(reply.flags & dns.flags.TC for reply in replies)
    # Only what comes to a fresh socket first is read before its length is known.
    assert sum(count > limits.UPSTREAM_OCTETS // len(records) for count in taken) <= limits.SOCKETS_PER_UPSTREAM
