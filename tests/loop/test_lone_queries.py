"""Many sandboxes that ask for one thing each, beside those that ask for many."""

import asyncio
import contextlib
import socket
from ipaddress import ip_address

import dns.message
import dns.rcode
import pytest

from resolver import limits
from resolver.dns_client import Client
from resolver.transport import batch
from resolver.transport.udp import UdpListener
from resolver.zone.build import records
from tests.support.served import Scripted, good

ASKERS = 100


class Asker:
    """One more sandbox of *served*: its listener, and a socket that asks there."""

    def __init__(self, served, stack):
        self.client = Client(served.client.view)
        served.zone.watchers.add(self.client)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self.listener = UdpListener(served.poller, sock, served.service, self.client)
        stack.callback(self.listener.close)
        self.socket = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.socket.connect(sock.getsockname())
        self.socket.setblocking(False)

    def ask(self, name, **more):
        self.socket.send(dns.message.make_query(name, "A", **more).to_wire())

    async def answer(self):
        return dns.message.from_wire(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65_535), 20))


@pytest.fixture
async def served(serve):
    return await serve(Scripted(good))


@pytest.fixture
def askers(served):
    with contextlib.ExitStack() as stack:
        yield [Asker(served, stack) for _ in range(ASKERS)]


async def all_ask(askers, name, **more):
    """Ask from all before the loop gets its turn; return the answers."""
    for number, asker in enumerate(askers):
        asker.ask(name, id=number, **more)
    answers = [await asker.answer() for asker in askers]
    assert [answer.id for answer in answers] == list(range(len(askers)))
    return answers


@pytest.fixture
def reads(monkeypatch):
    """How often sockets are read in full, and one query at a time, from now on."""
    made = {"_recvmmsg": 0, "_receive_one": 0}
    for name in made:
        call = getattr(batch, name)

        def counted(*arguments, name=name, call=call):
            made[name] += 1
            return call(*arguments)

        monkeypatch.setattr(batch, name, counted)
    return made


async def test_every_sandbox_gets_its_own_answers(served, askers, reads):
    before = served.service.rcodes[0]
    for _ in range(20):
        for answer in await all_ask(askers, "web"):
            assert {item.address for item in answer.answer[0]} == {"10.0.0.2", "10.0.0.3"}
    assert [asker.client.queries for asker in askers] == [20] * ASKERS
    assert served.service.rcodes[0] - before == 20 * ASKERS
    # All are read in full at first and now and then; it is one query at a time that is read in between.
    assert reads["_receive_one"] > 2 * reads["_recvmmsg"] > 0


async def test_names_that_are_new_unknown_or_elsewhere_are_answered_in_their_place(served, askers):
    for turn in range(3):
        assert all(answer.answer for answer in await all_ask(askers, "web"))
        assert {answer.rcode() for answer in await all_ask(askers, f"none{turn}.net.berth.internal")} == {dns.rcode.NXDOMAIN}
        assert {answer.answer[0][0].address for answer in await all_ask(askers, f"out{turn}.example")} == {"192.0.2.1"}
        assert all(answer.answer for answer in await all_ask(askers, "wEb"))
    assert [asker.client.in_flight for asker in askers] == [0] * ASKERS


async def test_changed_names_are_seen_by_all(served, askers):
    await all_ask(askers, "web")
    await all_ask(askers, "web")
    old = records(endpoint="o", network="net", endpoint_names=["web"], addresses=[ip_address("10.0.0.2"), ip_address("10.0.0.3")])
    new = records(endpoint="o", network="net", endpoint_names=["web"], addresses=[ip_address("10.0.0.9")])
    served.zone.change(old, new)
    for answer in await all_ask(askers, "web"):
        assert [item.address for item in answer.answer[0]] == ["10.0.0.9"]


async def test_sandbox_that_asks_for_much_is_read_in_full(served, askers, reads):
    for _ in range(4):
        await all_ask(askers, "web")
    busy, *others = askers
    reads.update(dict.fromkeys(reads, 0))
    for _ in range(2 * limits.UDP_DRAIN):
        busy.ask("web")
    for asker in others:
        asker.ask("web")
    for _ in range(2 * limits.UDP_DRAIN):
        assert (await busy.answer()).answer
    for asker in others:
        assert (await asker.answer()).answer
    assert sum(reads.values()) < 2 * limits.UDP_DRAIN


async def test_sandbox_that_goes_is_read_no_more(served, askers):
    for _ in range(3):
        await all_ask(askers, "web")
    gone, *others = askers
    gone.ask("web")
    gone.listener.close()
    assert all(answer.answer for answer in await all_ask(others, "web"))
    # Another socket may have its number now.
    with contextlib.ExitStack() as stack:
        fresh = Asker(served, stack)
        assert all(answer.answer for answer in await all_ask([fresh, *others], "web"))
        assert (fresh.client.queries, gone.client.queries) == (1, 3)
