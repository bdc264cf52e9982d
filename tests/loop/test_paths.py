"""Upstreams that are reached from another address than before: nothing fails that a fresh socket would have got an answer to."""

import asyncio
import socket

import dns.rcode
import msgspec
import pytest

from resolver import limits
from tests.support.served import Absent, Scripted, StreamServer, good
from tests.support.waiting import until


@pytest.fixture
def patient(monkeypatch):
    """No time-out passes: what is answered was answered because of what happened."""
    for name in ("NEXT_UPSTREAM", "HEDGE", "RESEND", "BUDGET", "SOCKET_AGE"):
        monkeypatch.setattr(limits, name, 1000.0)


class FromCurrentAddress(Scripted):
    """A name server that only answers queries from *address*, as if responses to any other one got lost."""

    def __init__(self, address):
        super().__init__(lambda octets: good(octets) if self.peers[-1][0] == self.address else None)
        self.address = address


async def ask_until_all_sockets_are_open(served):
    number = 0
    while served.opened < limits.SOCKETS_PER_UPSTREAM:
        assert (await served.ask(f"n{number}.test")).answer
        number += 1


async def test_upstream_that_refuses_is_passed_over_at_once(serve, patient):
    made = await serve(Absent(), Scripted(good))
    assert (await made.ask("a.test", timeout=20)).answer
    # With queries in one round, too.
    made = await serve(Absent(), Scripted(good))
    replies = await asyncio.gather(*(made.ask(f"n{number}.test", timeout=20) for number in range(20)))
    assert all(reply.answer for reply in replies)


async def test_socket_that_fails_is_replaced_and_the_query_sent_again(serve, patient):
    upstream = Scripted(good)
    made = await serve(upstream)
    await ask_until_all_sockets_are_open(made)
    for sock in made.sockets:
        sock.shutdown(socket.SHUT_WR)
    broken = len(made.sockets)
    for number in range(8):
        assert (await made.ask(f"later{number}.test", timeout=20)).answer
    assert len(made.sockets) > broken
    assert not any(health.failures for health in made.pool.health().values())


async def test_silent_sockets_are_replaced_and_the_query_sent_again(serve, monkeypatch):
    monkeypatch.setattr(limits, "RESEND", 0.1)
    upstream = Scripted(lambda octets: None if upstream.peers[-1] in stale else good(octets))
    stale = set()
    made = await serve(upstream)
    await ask_until_all_sockets_are_open(made)
    stale |= {sock.getsockname() for sock in made.sockets}
    assert (await made.ask("later.test")).answer
    assert {udp._socket.getsockname() for udp in made.pool._servers[upstream.upstream].sockets}.isdisjoint(stale)


async def test_last_of_several_upstreams_is_asked_again_by_a_fresh_socket(serve, monkeypatch):
    monkeypatch.setattr(limits, "NEXT_UPSTREAM", 0.1)
    monkeypatch.setattr(limits, "RESEND", 0.1)
    first, second = Scripted(), Scripted(lambda octets: None if second.peers[-1] in stale else good(octets))
    stale = set()
    made = await serve(first, second)
    while sum(sock.getpeername() == ("127.0.0.1", second.upstream.port) for sock in made.sockets) < limits.SOCKETS_PER_UPSTREAM:
        assert (await made.ask(f"n{made.opened}{len(second.queries)}.test")).answer
    stale |= {sock.getsockname() for sock in made.sockets}
    assert (await made.ask("later.test")).answer


async def test_connection_that_is_silent_is_replaced_and_the_query_sent_again(serve, monkeypatch):
    monkeypatch.setattr(limits, "RESEND", 0.1)
    upstream = await StreamServer(lambda octets: good(octets) if upstream.connections != silent else None).start()
    silent = 0
    made = await serve(upstream)
    assert (await made.ask("a.test")).answer
    silent = 1
    assert (await made.ask("b.test")).answer
    assert upstream.connections == 2
    # From now on nobody waits.
    asked = len(upstream.queries)
    assert (await made.ask("c.test")).answer
    assert (len(upstream.queries), upstream.connections) == (asked + 1, 2)


async def test_response_to_the_first_query_is_still_taken(serve, monkeypatch):
    monkeypatch.setattr(limits, "RESEND", 0.1)
    upstream = Scripted()
    made = await serve(upstream)
    asking = asyncio.create_task(made.ask("a.test"))
    await until(lambda: len([octets for octets in upstream.queries if b"\x01a\x04test" in octets]) == 2)
    octets, peer = next((octets, peer) for octets, peer in zip(upstream.queries, upstream.peers, strict=True) if b"\x01a\x04test" in octets)
    upstream.transport.sendto(good(octets), peer)
    assert (await asking).answer


async def test_queries_follow_the_source_address(serve, patient):
    upstream = FromCurrentAddress("127.0.0.2")
    made = await serve(upstream)
    made.source = "127.0.0.2"
    await ask_until_all_sockets_are_open(made)
    upstream.address = made.source = "127.0.0.3"
    waiting = [asyncio.create_task(made.ask(f"w{number}.test", timeout=20)) for number in range(5)]
    await until(lambda: sum(b"\x04test" in octets and b"\x02w" in octets for octets in upstream.queries) == 5)
    await made.service.look_at_paths(None)
    # What was sent from the old address is sent again.
    assert all(reply.answer for reply in await asyncio.gather(*waiting))
    sent = len(upstream.queries)
    for number in range(8):
        assert (await made.ask(f"l{number}.test", timeout=20)).answer
    # One each, and one that finds out whether the upstream leads back to us now.
    assert len(upstream.queries) <= sent + 9


async def test_connection_follows_the_source_address(serve, patient):
    upstream = await StreamServer(lambda octets: good(octets) if upstream.connections > 1 or b"first" in octets else None).start()
    made = await serve(upstream)
    made.source = "127.0.0.2"
    assert (await made.ask("first.test", timeout=20)).answer
    made.source = "127.0.0.3"
    waiting = asyncio.create_task(made.ask("second.test", timeout=20))
    await until(lambda: any(b"second" in octets for octets in upstream.queries))
    await made.service.look_at_paths(None)
    assert (await waiting).answer
    assert upstream.connections == 2


async def test_other_changes_of_the_host_change_nothing(serve, patient):
    upstream, stream = Scripted(good), await StreamServer(good).start()
    made = await serve(upstream)
    await ask_until_all_sockets_are_open(made)
    before = [*made.pool._servers[upstream.upstream].sockets]
    rtt = made.pool.health()[upstream.upstream].rtt
    await made.service.look_at_paths(None)
    await made.service.look_at_paths("another")
    assert made.pool._servers[upstream.upstream].sockets == before
    assert made.pool.health()[upstream.upstream].rtt == rtt
    made = await serve(stream)
    await made.ask("a.test", timeout=20)
    await made.service.look_at_paths(None)
    await made.ask("b.test", timeout=20)
    assert stream.connections == 1


async def test_failures_are_forgotten_when_the_upstream_is_reached_again(serve, patient):
    upstream = FromCurrentAddress("127.0.0.3")
    made = await serve(upstream)
    # An address that the host lacks: as without a route, no socket can be opened.
    made.source = "192.0.2.77"
    for name in ("a.test", "a.test", "b.test"):
        assert (await made.ask(name, timeout=20)).rcode() == dns.rcode.SERVFAIL
    made.source = "127.0.0.3"
    await made.service.look_at_paths(None)
    for name in ("a.test", "b.test"):
        assert (await made.ask(name, timeout=20)).answer


# --- asked from inside a sandbox: what it sends is forwarded and translated by the host ---------------------------------


def in_sandbox(server):
    """Have *server* asked from inside a sandbox."""
    server.upstream = msgspec.structs.replace(server.upstream, sandbox_id="box")
    return server


async def test_failures_of_a_sandboxes_upstream_are_forgotten_when_the_host_reaches_it_again(serve, patient):
    upstream = in_sandbox(await Scripted(lambda octets: good(octets) if works else None).start())
    works = False
    made = await serve()
    made.show(upstream.upstream)
    made.source = "192.0.2.77"
    waiting = [asyncio.create_task(made.ask(f"w{number}.test", timeout=20)) for number in range(3)]
    await until(lambda: sum(b"\x02w" in octets for octets in upstream.queries) == 3)
    made.pool.health()[upstream.upstream].failed(0.0)
    await made.service.look_at_ways_out()
    made.source, works = "127.0.0.3", True
    await made.service.look_at_paths("box")
    await made.service.look_at_ways_out()
    # What waits is asked again at once, and nothing is held against the upstream.
    assert all(reply.answer for reply in await asyncio.gather(*waiting))
    assert made.pool.health()[upstream.upstream].state(made.service._clock()) == "ok"
    await upstream.stop()


async def test_connections_from_a_sandbox_are_renewed_when_the_host_has_another_way(serve, patient):
    upstream = in_sandbox(
        await StreamServer(lambda octets: good(octets) if upstream.connections > 1 or b"first" in octets else None).start()
    )
    made = await serve()
    made.show(upstream.upstream)
    made.source = "127.0.0.2"
    assert (await made.ask("first.test", timeout=20)).answer
    await made.service.look_at_ways_out()
    waiting = asyncio.create_task(made.ask("second.test", timeout=20))
    await until(lambda: any(b"second" in octets for octets in upstream.queries))
    assert upstream.connections == 1
    made.source = "127.0.0.3"
    await made.service.look_at_ways_out()
    assert (await waiting).answer
    assert upstream.connections == 2
    await upstream.stop()


async def test_first_answer_after_an_outage_ends_the_memory_of_failures(serve, monkeypatch):
    monkeypatch.setattr(limits, "BUDGET", 0.2)
    monkeypatch.setattr(limits, "PROBE_PAUSE", 0.0)
    monkeypatch.setattr(limits, "FAILURE_FIRST", 1000.0)
    upstream = Scripted(lambda octets: good(octets) if works else None)
    works = False
    made = await serve(upstream)
    for name in ("a.test", "b.test"):
        assert (await made.ask(name)).rcode() == dns.rcode.SERVFAIL
    works = True
    assert (await made.ask("a.test")).rcode() == dns.rcode.SERVFAIL
    assert (await made.ask("c.test")).answer
    assert (await made.ask("a.test")).answer
    assert (await made.ask("b.test")).answer


async def test_query_is_asked_again_as_long_as_somebody_waits(serve, monkeypatch):
    monkeypatch.setattr(limits, "RESEND", 0.1)
    upstream = Scripted(lambda octets: good(octets) if sum(b"\x01a\x04test" in other for other in upstream.queries) >= 4 else None)
    made = await serve(upstream)
    assert (await made.ask("a.test")).answer
