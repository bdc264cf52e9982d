"""Listeners and upstream sockets on the loopback: what hostile or unlucky peers do harms only themselves."""

import asyncio
import socket
from ipaddress import ip_address

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest

from resolver import limits
from resolver.dns_client import Client
from resolver.zone.build import records
from tests.support.served import Absent, Scripted, good, other_id, other_question
from tests.support.waiting import until


@pytest.fixture
async def served(serve):
    return await serve()


async def test_repeated_question_rotates_and_comes_from_rendered_octets(served):
    firsts = {(await served.ask()).answer[0][0].address for _ in range(20)}
    assert firsts == {"10.0.0.2", "10.0.0.3"}
    assert len(served.client.replies.by_octets) == 1
    assert served.client.queries == 20


async def test_queries_are_answered_in_the_middle_of_other_work_on_the_loop(served):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(served.udp_address)
        asking.settimeout(20)
        asking.send(dns.message.make_query("web", "A").to_wire())
        # Nothing is awaited.
        served.poller.answer_waiting()
        assert dns.message.from_wire(asking.recv(512)).rcode() == dns.rcode.NOERROR
    looks = []
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def read():
        looks.append("begin")
        pair[1].recv(1)
        # One answer is not given in the middle of another.
        served.poller.answer_waiting()
        looks.append("end")

    served.poller.add(pair[1].fileno(), read)
    for octet in (b"1", b"2", b"3"):
        pair[0].send(octet)
    served.poller.answer_waiting()
    assert looks == ["begin", "end"] * 3
    served.poller.remove(pair[1].fileno())
    for end in pair:
        end.close()


async def test_changed_zone_is_seen_by_the_next_question(served):
    await served.ask()
    old = records(endpoint="o", network="net", endpoint_names=["web"], addresses=[ip_address("10.0.0.2"), ip_address("10.0.0.3")])
    served.zone.change(old, ())
    assert (await served.ask()).rcode() == dns.rcode.SERVFAIL
    assert served.client.replies.by_octets == {}


async def test_remembered_replies_are_bounded(serve, monkeypatch):
    monkeypatch.setattr(limits, "REPLIES", 12_000)
    monkeypatch.setattr(limits, "REPLIES_LOOKS", 8)
    served = await serve()
    other = Client(served.client.view)
    ask(served, other, "web")
    for number in range(200):
        ask(served, served.client, f"{number}.net.berth.internal")
        assert served.client.replies.size + other.replies.size <= 12_000 * 9 // 8 + 1000
    # The one whose replies take most gave way.
    assert other.replies.by_octets
    assert 0 < len(served.client.replies.by_octets) < 30


def ask(served, client, name, qtype="A", **more):
    query = dns.message.make_query(name, qtype, **more)
    return dns.message.from_wire(served.service.on_query(client, query.to_wire(), None, b"", tcp=False))


async def test_spellings_share_one_rendered_reply(served):
    names = ["".join(c.upper() if bits >> i & 1 else c for i, c in enumerate("web")) for bits in range(8)]
    for name in (*names, *names):
        reply = ask(served, served.client, name)
        assert reply.question[0].name.to_text() == f"{name}."
        assert reply.answer[0].name.to_text() == f"{name}."
    assert len(served.client.replies.by_octets) == 1


async def test_questions_with_odd_options_are_answered_and_not_kept(served):
    for number in range(50):
        option = dns.edns.GenericOption(10, number.to_bytes(8, "big"))
        assert ask(served, served.client, "web", use_edns=0, options=[option]).answer
    assert served.client.replies.by_octets == {}


async def test_forms_of_questions_are_bounded(served):
    for payload in range(512, 512 + 3 * limits.SHAPES_PER_CLIENT):
        ask(served, served.client, "web", use_edns=0, payload=payload)
        assert len(served.client.replies.shapes) <= limits.SHAPES_PER_CLIENT
    ask(served, served.client, "web")
    assert any(len(key) == 2 + 8 + 5 + 4 for key in served.client.replies.by_octets)


async def test_garbage_by_udp_is_survived(served):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for octets in (b"", b"x", b"\xff" * 65_000, b"\0" * 12, bytes(range(256))):
            sock.sendto(octets, served.udp_address)
    assert (await served.ask()).answer


async def connect(served):
    return await asyncio.open_connection(*served.tcp_address)


async def test_several_questions_on_one_connection(served):
    reader, writer = await connect(served)
    for identity in (1, 2, 3):
        wire = dns.message.make_query("web", "A", id=identity).to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
    seen = set()
    for _ in range(3):
        size = int.from_bytes(await reader.readexactly(2), "big")
        seen.add(dns.message.from_wire(await reader.readexactly(size)).id)
    assert seen == {1, 2, 3}
    writer.close()


async def test_stalled_connection_does_not_block_others_and_is_closed(served, monkeypatch):
    monkeypatch.setattr(limits, "TCP_FIRST_READ", 0.2)
    reader, writer = await connect(served)
    writer.write(b"\x00\x50half")
    assert (await served.ask()).answer
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


async def test_connection_that_sends_rubbish_closes_only_itself(served):
    good_reader, good_writer = await connect(served)
    reader, writer = await connect(served)
    # A message with length 0, one that is a response, one that is shorter than a header.
    for octets in (b"\x00\x00", b"\x00\x0c\0\0\x80" + b"\0" * 9, b"\x00\x01x"):
        writer.write(octets)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    wire = dns.message.make_query("web", "A").to_wire()
    good_writer.write(len(wire).to_bytes(2, "big") + wire)
    assert int.from_bytes(await asyncio.wait_for(good_reader.readexactly(2), 20), "big") > 12
    for one in (writer, good_writer):
        one.close()


@pytest.mark.timed
async def test_connections_are_bounded(served, monkeypatch):
    monkeypatch.setattr(limits, "TCP_CONNECTIONS", 3)
    opened = [await connect(served) for _ in range(3)]
    await until(lambda: len(served.tcp.connections) == 3)
    reader, writer = await connect(served)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        writer.write(b"\0")
        await asyncio.wait_for(reader.readexactly(1), 20)
    for _, one in (*opened, (reader, writer)):
        one.close()


async def test_forged_replies_are_passed_over(serve):
    upstream = Scripted(other_id, other_question, lambda _: b"junk", good)
    made = await serve(upstream)
    assert (await made.ask("x.test")).answer[0][0].address == "192.0.2.1"


async def test_ids_are_fresh_and_sockets_few(serve):
    upstream = Scripted(good)
    made = await serve(upstream)
    await asyncio.gather(*(made.ask(f"n{i}.test", id=1) for i in range(100)))
    identities = {octets[:2] for octets in upstream.queries}
    assert len(identities) > 90
    assert len(upstream.sources) <= limits.SOCKETS_PER_UPSTREAM
    assert made.opened <= limits.SOCKETS_PER_UPSTREAM


async def test_worn_socket_is_replaced(serve, monkeypatch):
    monkeypatch.setattr(limits, "SOCKET_QUERIES", 5)
    upstream = Scripted(good)
    made = await serve(upstream)
    for i in range(60):
        await made.ask(f"n{i}.test")
    assert len(upstream.sources) > limits.SOCKETS_PER_UPSTREAM


async def test_idle_sockets_are_closed(serve, monkeypatch):
    monkeypatch.setattr(limits, "SOCKET_IDLE", 0.1)
    upstream = Scripted(good)
    made = await serve(upstream)
    await made.ask("x.test")
    await until(lambda: not any(server.sockets for server in made.pool._servers.values()))


async def test_closed_port_is_noticed_at_once(serve, monkeypatch):
    for name in ("NEXT_UPSTREAM", "RESEND", "BUDGET"):
        monkeypatch.setattr(limits, name, 1000.0)
    made = await serve(Absent())
    reply = await made.ask("x.test", use_edns=0)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert "refused" in reply.options[0].text.lower()


async def test_too_many_questions_in_flight_are_refused_at_once(serve, monkeypatch):
    monkeypatch.setattr(limits, "IN_FLIGHT_PER_CLIENT", 3)
    monkeypatch.setattr(limits, "BUDGET", 0.5)
    upstream = Scripted()
    made = await serve(upstream)
    replies = await asyncio.gather(*(made.ask(f"n{i}.test", use_edns=0) for i in range(6)))
    texts = [reply.options[0].text for reply in replies]
    assert sum("too many" in text for text in texts) == 3
    assert made.service.counters["limited"] == 3
    # The slots are free again.
    assert made.client.in_flight == 0
    # A local name never waits for them.
    assert (await made.ask()).answer
