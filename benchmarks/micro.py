"""What one query costs in frames of our code, in memory blocks and in system calls, kind by kind; and, for people, in time.

The counts are the same on every machine and gate CI (`tests/unit/resolver/test_costs.py`); times never do.

    python -m benchmarks.micro
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import dns.edns
import dns.message
import dns.rrset
import uvloop

from benchmarks.report import chosen, machine, table, write
from resolver import limits
from resolver.dns_client import Client
from resolver.engine.cache import Cache, CacheSettings
from resolver.engine.query_policy import QueryPolicy, Refusal
from resolver.engine.received import Received
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.view import AttachedZone, View
from resolver.service import DnsService
from resolver.transport import batch
from resolver.transport.poller import Poller
from resolver.transport.udp import UdpListener
from resolver.transport.upstream import UpstreamPool
from resolver.transport.upstream_socket import open_datagram
from resolver.wire.message import Query
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone

ROOT = str(Path(__file__).resolve().parents[1] / "resolver")
BATCH = limits.UDP_DRAIN
MOST_ROUNDS = 1000
"""Batches that are tried at most."""

PATIENCE = 20.0
"""Seconds until a reply must have come."""


@dataclass(frozen=True)
class Cost:
    """Of one query: *frames* of our code entered, *blocks* of memory that it leaves behind, *calls* of the kernel."""

    frames: float
    blocks: float
    calls: float
    microseconds: float


class _AllowAll:
    """A policy that refuses nothing and opens nothing, to see what asking it costs."""

    def verdict(self, qname: bytes, qtype: int) -> Refusal | None:
        return None

    def hidden(self, qname: bytes) -> Refusal | None:
        return None

    def shown(self, query: Query, received: Received) -> Received:
        return received

    def open(self, query: Query, received: Received) -> None:
        return None


class Bench:
    """A service on loopback sockets, driven by hand: the poller's rounds are called, the loop has nothing to do."""

    async def start(self, policy: QueryPolicy | None = None) -> Bench:
        loop = asyncio.get_running_loop()
        self.upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.upstream.bind(("127.0.0.1", 0))
        self.poller = Poller(loop)
        loop.remove_reader(self.poller._epoll.fileno())

        async def open_socket(_sandbox_id: str | None, upstream: Upstream, kind: int) -> socket.socket:
            return open_datagram(upstream, kind)

        pool = UpstreamPool(loop, self.poller, open_socket, time.monotonic)
        self.service = DnsService(pool, Cache(CacheSettings()), time.monotonic)
        zone = Zone("net", from_text("net"), 5).with_changes(
            (), records(endpoint="o", network="net", endpoint_names=["web"], addresses=[ip_address("10.0.0.2")])
        )
        upstreams = UpstreamSet((Upstream("127.0.0.1", self.upstream.getsockname()[1]),))
        asker = Client(View(attached=(AttachedZone(PublishedZone(zone)),), upstreams=upstreams, policy=policy))
        self.listeners, self.clients = [], []
        for _ in range(BATCH):
            served, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            served.bind(("127.0.0.1", 0))
            client.connect(served.getsockname())
            client.setblocking(False)
            self.listeners.append(UdpListener(self.poller, served, self.service, asker))
            self.clients.append(client)
        self.client = self.clients[0]
        # Everything is open and known: the first questions of all.
        for number in range(8):
            self.client.send(_query(f"warm{number}.example"))
            self.poller._round()
            await asyncio.sleep(0.02)
            self.answer_upstream()
            self.poller._round()
        self.drain_client()
        return self

    def serve(self) -> None:
        """Serve all that waits; a socket whose queries are expensive takes several rounds."""
        while self.poller._epoll.poll(0, 1):
            self.poller._round()

    def answer_upstream(self) -> None:
        """Answer what the upstream has got."""
        self.upstream.setblocking(False)
        while True:
            try:
                octets, peer = self.upstream.recvfrom(4096)
            except BlockingIOError:
                return
            end = octets.index(0, 12) + 5
            answer = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\x04\xc0\0\2\1"
            self.upstream.sendto(octets[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + octets[12:end] + answer, peer)

    def drain_client(self) -> int:
        """Return how many replies have come."""
        count = 0
        for client in self.clients:
            with contextlib.suppress(BlockingIOError):
                while client.recv(4096):
                    count += 1
        return count

    def stop(self) -> None:
        for listener in self.listeners:
            listener.close()
        for sock in (*self.clients, self.upstream):
            sock.close()
        for server in self.service._pool._servers.values():
            server.close()
        self.poller.close()


def _query(name: str, **more) -> bytes:
    return dns.message.make_query(name, "A", id=7, **more).to_wire()


def _spelling(number: int) -> str:
    return "".join(char.upper() if number >> i & 1 else char for i, char in enumerate("web.net.berth.internal"))


def _with_cookie(number: int) -> bytes:
    return _query("web", use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, number.to_bytes(8, "big"))])


LONE = "local, repeated, one in each socket"
KINDS: dict[str, Callable[[int], bytes]] = {
    "local, repeated": lambda _: _query("web"),
    LONE: lambda _: _query("web"),
    "local, new spelling": lambda number: _query(_spelling(number + 1)),
    "local, new octets": _with_cookie,
    "cached, repeated": lambda _: _query("warm1.example"),
    "forwarded": lambda number: _query(f"new{number}.example"),
}


async def measure(kind: str, *, policy: QueryPolicy | None = None, rounds: int = 20) -> Cost:
    """Return the cost of one query of *kind* when they come in full batches, or one in each of as many sockets."""
    bench = await Bench().start(policy)
    numbers = count()
    frames = calls = 0
    taken = blocks = 0.0

    def on_frame(frame, event, _argument) -> None:
        nonlocal frames
        if event == "call" and frame.f_code.co_filename.startswith(ROOT):
            frames += 1

    def counted(call):
        def run(*arguments):
            nonlocal calls
            calls += 1
            return call(*arguments)

        return run

    names = ("_recvmmsg", "_sendmmsg", "_receive_one", "_send_one")
    originals = {name: getattr(batch, name) for name in names}

    def one_round(*, is_counted: bool) -> tuple[float, int, bool]:
        """Return the time of one batch, the blocks that it left, and whether it was served as one.

        A busy kernel delivers datagrams of the loopback late: then some come behind the others.
        """
        for client in bench.clients:
            (client if kind == LONE else bench.client).send(KINDS[kind](next(numbers)))
        gc.collect()
        gc.disable()
        before, start = sys.getallocatedblocks(), time.perf_counter()
        if is_counted:
            vars(batch).update({name: counted(call) for name, call in originals.items()})
            sys.setprofile(on_frame)
        bench.serve()
        if kind == "forwarded":
            sys.setprofile(None)
            between = time.perf_counter()
            bench.answer_upstream()
            start += time.perf_counter() - between
            sys.setprofile(on_frame if is_counted else None)
            bench.serve()
        sys.setprofile(None)
        vars(batch).update(originals)
        took, left = time.perf_counter() - start, sys.getallocatedblocks() - before
        gc.enable()
        replies = bench.drain_client()
        is_whole = replies == BATCH
        end = time.monotonic() + PATIENCE
        while replies < BATCH:
            assert time.monotonic() < end, (kind, replies)
            bench.serve()
            bench.answer_upstream()
            replies += bench.drain_client()
        return took, left, is_whole

    for _ in range(4):
        one_round(is_counted=False)
    for is_counted in (True, False):
        whole = 0
        for _ in range(MOST_ROUNDS):
            before = frames, calls
            took, left, is_whole = one_round(is_counted=is_counted)
            if not is_whole:
                frames, calls = before
                continue
            if not is_counted:
                taken += took
                blocks += left
            whole += 1
            if whole == rounds // 2:
                break
        assert whole == rounds // 2, f"{kind}: of {MOST_ROUNDS} batches only {whole} were served as one"
    bench.stop()
    half = rounds // 2 * BATCH
    return Cost(round(frames / half, 2), round(blocks / half, 2), round(calls / half, 3), round(taken * 1e6 / half, 2))


def costs(*, policy: QueryPolicy | None = None) -> dict[str, Cost]:
    """Return the cost of every kind of query."""

    async def run() -> dict[str, Cost]:
        return {kind: await measure(kind, policy=policy) for kind in KINDS}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def main() -> None:
    chosen((), sys.argv[1:])
    plain, ruled = costs(), costs(policy=_AllowAll())
    rows = [
        [
            kind,
            f"{cost.frames:.2f}",
            f"{cost.blocks:.2f}",
            f"{cost.calls:.3f}",
            f"{cost.microseconds:.2f}",
            f"{ruled[kind].microseconds:.2f}",
        ]
        for kind, cost in plain.items()
    ]
    print(table(["query", "frames", "blocks left", "system calls", "us", "us with a policy"], rows))
    content = {
        "machine": machine(),
        "costs": {kind: asdict(cost) for kind, cost in plain.items()},
        "with a policy": {kind: asdict(cost) for kind, cost in ruled.items()},
    }
    print(f"\nraw figures: {write('micro', content)}")


if __name__ == "__main__":
    main()
