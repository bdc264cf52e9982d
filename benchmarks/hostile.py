"""What the most expensive questions and answers of a stranger cost the loop, kind by kind.

The byte codes that are executed are the same on every machine, and gate CI (`tests/unit/resolver/test_hostile_costs.py`); times never do.

    python -m benchmarks.hostile
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import ip_address, ip_network
from types import FrameType
from typing import Any

import dns.edns
import dns.message

from benchmarks.report import chosen, machine, table, write
from resolver.dns_client import Client
from resolver.engine.cache import Cache, CacheSettings
from resolver.engine.exchange import Done
from resolver.engine.loop_probes import LoopProbes
from resolver.engine.rebinding import OwnNetworks, Protected
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.upstream_health import UpstreamHealth
from resolver.engine.view import AttachedZone, View
from resolver.service import DnsService
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.known_zones import KnownZones
from resolver.zone.published import PublishedZone
from resolver.zone.subnets import Subnets
from resolver.zone.zone import Zone

UPSTREAM = Upstream("192.0.2.53")
MANY, LONGEST = 3900, 65_535
_HEAD = b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04"


@dataclass(frozen=True)
class Cost:
    """*steps*: byte codes executed, those of dnspython included. *reply*: octets of the response."""

    steps: int
    microseconds: float
    reply: int


class _Pool:
    """Upstreams whose answer is given at once. *records*: (answer, authority, additional) counts and the octets behind the question."""

    def __init__(self) -> None:
        self.probes = LoopProbes()
        self.waiting: list[tuple[bytes, bytes, Any]] = []

    def forward(self, _upstreams: UpstreamSet, message: bytes, question: bytes, results: Any, _now: float) -> None:
        self.waiting.append((message, question, results))

    def on_loop_query(self, _qname: bytes) -> None:
        return


class World:
    """A service without sockets: a zone with large names, an upstream that gives what it is told to."""

    def __init__(self) -> None:
        self.pool, self.sent, self.number = _Pool(), b"", 0
        self.service = DnsService(self.pool, Cache(CacheSettings()), lambda: 0.0)  # type: ignore[arg-type]
        subnet = ip_network("10.1.0.0/16")
        zone = Zone("n", from_text("front"), 5)
        for number in range(MANY):
            address = ip_address(0x0A010000 + number)
            many = records(
                endpoint=f"e{number}",
                network="front",
                endpoint_names=[f"s{number}", "many"],
                addresses=[address],
                ports=[(80, "tcp")] if number < MANY // 2 else (),
            )
            zone = zone.with_changes((), many)
        published = PublishedZone(zone)
        self.client = Client(
            View(
                attached=(AttachedZone(published),),
                subnets=Subnets([subnet]),
                known=KnownZones([published]),
                upstreams=UpstreamSet((UPSTREAM,)),
            )
        )
        # Networks that share as much as can be with the addresses that are answered, and don't have them.
        self.service.protect(
            Protected(OwnNetworks([subnet, ip_network("10.2.3.0/24"), ip_network("fd01::/64")]), addresses=[ip_address("10.9.0.2")])
        )

    def reply(self, _peer: bytes, octets: bytes) -> None:
        self.sent = octets

    def ask(self, octets: bytes, *, tcp: bool = False) -> bytes:
        self.sent = b""
        self.sent = self.service.on_query(self.client, octets, self, b"", tcp=tcp) or self.sent
        return self.sent

    def answer(self, counts: tuple[int, int, int], octets: bytes) -> None:
        """Answer what waits."""
        waiting, self.pool.waiting = self.pool.waiting, []
        for message, question, results in waiting:
            made = message[:0] + b"\0\0\x81\x80" + struct.pack("!4H", 1, *counts) + question + octets
            results.on_result(Done(UpstreamHealth(UPSTREAM), made[:LONGEST]), 0.0)

    def cache(self, name: str, counts: tuple[int, int, int], octets: bytes) -> None:
        """Have an answer for *name* cached."""
        self.ask(query(name))
        self.answer(counts, octets)


def query(name: str, qtype: str = "A", *, cookie: int | None = None, **more: Any) -> bytes:
    if cookie is not None:
        more |= {"use_edns": 0, "options": [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie.to_bytes(8, "big"))]}
    return dns.message.make_query(name, qtype, id=7, **more).to_wire()


def addresses(count: int, network: int = 0x0A020000) -> bytes:
    return b"".join(_HEAD + (network + number).to_bytes(4, "big") for number in range(count))


def different(count: int) -> bytes:
    """Records that have nothing in common with those before and after them."""
    return b"".join(
        b"\xc0\x0c\0\x10\0\x01\0\0\x0e" + bytes([number % 251, 0, 1 + number % 2]) + bytes(1 + number % 2) for number in range(count)
    )


def chain(count: int) -> bytes:
    """CNAME records, each of a name of 127 labels, which consists of pointers as far as that goes."""
    labels = b"".join(b"\1" + bytes([97 + number % 26]) for number in range(110))
    made = b"\xc0\x0c\0\x05\0\x01\0\0\x0e\x10" + struct.pack("!H", len(labels) + 2) + labels + b"\xc0\x0c"
    return made + (b"\xc0\x0c\0\x05\0\x01\0\0\x0e\x10\0\2\xc0" + bytes([12 + 16 + 12])) * (count - 1)


def options(count: int) -> bytes:
    """An OPT record with so many empty options."""
    return b"\0\0\x29\x04\xd0\0\0\0\0" + struct.pack("!H", 4 * count) + b"\xfd\xe9\0\0" * count


def hints(count: int) -> bytes:
    """16 HTTPS records with so many IPv6 addresses each, which look like one of ours and carry IPv4 addresses."""
    values = b"".join(b"\x20\x02\x0a\x02" + number.to_bytes(4, "big") + bytes(8) for number in range(count))
    data = b"\0\1\0\0\6" + struct.pack("!H", len(values)) + values
    return (b"\xc0\x0c\0\x41\0\x01\0\0\x0e\x10" + struct.pack("!H", len(data)) + data) * 16


def carried(count: int) -> bytes:
    """AAAA records with 6to4 addresses."""
    head = b"\xc0\x0c\0\x1c\0\x01\0\0\x0e\x10\0\x10"
    return b"".join(head + b"\x20\x02\x0a\x02" + number.to_bytes(4, "big") + bytes(8) for number in range(count))


Asked = Callable[[World, int], Callable[[], object]]
"""(world, number of the question) → the call that is measured."""


def _prepared(make: Callable[[int], bytes], *, tcp: bool = False) -> Asked:
    def prepare(world: World, number: int) -> Callable[[], object]:
        octets = make(number)
        return lambda: world.ask(octets, tcp=tcp)

    return prepare


def _cached(counts: tuple[int, int, int], octets: bytes, make: Callable[[int], bytes], *, tcp: bool = False) -> Asked:
    def prepare(world: World, number: int) -> Callable[[], object]:
        world.cache("big.test", counts, octets)
        asked = make(number)
        return lambda: world.ask(asked, tcp=tcp)

    return prepare


def _answered(counts: tuple[int, int, int], octets: bytes, **more: Any) -> Asked:
    def prepare(world: World, number: int) -> Callable[[], object]:
        world.number += 1
        world.ask(query(f"n{world.number}.test", **more))
        return lambda: world.answer(counts, octets)

    return prepare


_LABELS = ".".join("abcdefghijk"[number % 11] for number in range(120))
_BIG = addresses(MANY)
KINDS: dict[str, Asked] = {
    "local, 3,900 addresses, a cookie": _prepared(lambda number: query("many", cookie=number)),
    "local, 3,900 addresses, another EDNS size": _prepared(lambda number: query("many", use_edns=0, payload=600 + number)),
    "local, 3,900 addresses, the largest EDNS size": _prepared(lambda number: query("many", use_edns=0, payload=65_535 - number)),
    "local, 3,900 addresses, over TCP": _prepared(lambda _: query("many"), tcp=True),
    "local, 1,950 services, a cookie": _prepared(lambda number: query("_80._tcp.many", "SRV", cookie=number)),
    "local, 1,950 services, over TCP": _prepared(lambda _: query("_80._tcp.many", "SRV"), tcp=True),
    "reverse name of a stranger": _prepared(lambda number: query(f"{number % 250}.77.2.10.in-addr.arpa", "PTR")),
    "reverse IPv6 name": _prepared(lambda number: query(f"{number % 10}." + "0." * 31 + "ip6.arpa", "PTR")),
    "name of 120 labels": _prepared(lambda number: query(f"x{number}.{_LABELS}")),
    "name of 120 labels below our domain": _prepared(lambda number: query(f"x{number}.{_LABELS[:181]}.berth.internal")),
    "16,000 EDNS options": _prepared(
        lambda number: query(f"o{number}.test")[:10] + b"\0\1" + query(f"o{number}.test")[12:] + options(16_000)
    ),
    "60 KB of other records": _prepared(
        lambda _: query("many")[:8] + b"\0\1" + query("many")[10:] + b"\0\0\x10\0\1\0\0\0\0\xea\x60" + bytes(60_000)
    ),
    "cached, 3,900 addresses, a cookie": _cached((MANY, 0, 0), _BIG, lambda number: query("big.test", cookie=number)),
    "cached, 3,900 addresses, another EDNS size": _cached(
        (MANY, 0, 0), _BIG, lambda number: query("big.test", use_edns=0, payload=600 + number)
    ),
    "cached, 3,900 addresses, the largest EDNS size": _cached(
        (MANY, 0, 0), _BIG, lambda number: query("big.test", use_edns=0, payload=65_535 - number)
    ),
    "cached, 3,900 addresses, over TCP": _cached((MANY, 0, 0), _BIG, lambda _: query("big.test"), tcp=True),
    "cached, 512 different records, over TCP": _cached((512, 0, 0), different(512), lambda _: query("big.test"), tcp=True),
    "cached, 16 CNAME records, a cookie": _cached((16, 0, 0), chain(16), lambda number: query("big.test", cookie=number)),
    "answer of 3,900 addresses": _answered((MANY, 0, 0), _BIG),
    "answer of 2,300 addresses that carry others": _answered((2300, 0, 0), carried(2300)),
    "answer of 1,920 address hints": _answered((16, 0, 0), hints(120)),
    "answer of 64,000 address hints": _answered((16, 0, 0), hints(4000)),
    "answer of 512 different records": _answered((512, 0, 0), different(512)),
    "answer of 4,000 different records": _answered((4000, 0, 0), different(4000)),
    "answer of 16 CNAME records": _answered((16, 0, 0), chain(16)),
    "answer of 4,000 CNAME records": _answered((4000, 0, 0), chain(4000)),
    "answer of 3,000 addresses and 4,000 EDNS options": _answered((3000, 0, 1), addresses(3000) + options(4000)),
    "answer of 3,000 addresses behind an OPT": _answered((1, 0, 3001), addresses(1) + options(2) + addresses(3000)),
}


def steps_of(call: Callable[[], object]) -> int:
    """Return how many byte codes *call* executes."""
    count = 0

    def step(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            count += 1
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def measure(kind: str, world: World) -> Cost:
    """Return the cost of *kind*, the dearer of two that differ in what a stranger can change."""
    counted = [steps_of(KINDS[kind](world, number)) for number in (1, 2)]
    taken = []
    for number in range(3, 13):
        call = KINDS[kind](world, number)
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return Cost(max(counted), round(min(taken) * 1e6, 1), len(world.sent))


def costs() -> dict[str, Cost]:
    """Return the cost of every kind."""

    async def run() -> dict[str, Cost]:
        world = World()
        made = {kind: measure(kind, world) for kind in KINDS}
        await world.service.close()
        return made

    return asyncio.run(run())


def main() -> None:
    chosen((), sys.argv[1:])
    made = costs()
    rows = [[kind, str(cost.steps), f"{cost.microseconds:.1f}"] for kind, cost in made.items()]
    print(table(["question or answer", "byte codes", "us"], rows))
    content = {"machine": machine(), "costs": {kind: asdict(cost) for kind, cost in made.items()}}
    print(f"\nraw figures: {write('hostile', content)}")


if __name__ == "__main__":
    main()
