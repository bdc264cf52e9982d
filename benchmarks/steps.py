"""What one step of an operation costs by itself, beside the way it was done before or is done where the kernel lacks something.

Each pair is measured in turns in the same process, so that only the ratio counts.
Name parts to run only these: `python -m benchmarks.steps records`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

from benchmarks.report import machine, table, write
from netcore.model import Endpoint, NetworkId, SandboxId
from netcore.store import codec
from netcore.store.records import EndpointsRecord

Row = tuple[str, float, float]
"""(what, microseconds before, microseconds now)."""


def in_turns(before: Callable[[], object], now: Callable[[], object], rounds: int, each: int = 1) -> tuple[float, float]:
    """Return the medians of both, in microseconds for one call."""
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for action, collected in ((before, samples[0]), (now, samples[1])):
            begun = time.perf_counter()
            for _ in range(each):
                action()
            collected.append((time.perf_counter() - begun) * 1e6 / each)
    return statistics.median(samples[0]), statistics.median(samples[1])


def records() -> list[Row]:
    """A record of a sandbox with one endpoint, read from the store."""
    endpoint = Endpoint(
        origin="bench", network_id=NetworkId("n" * 64), sandbox_id=SandboxId("s" * 64), ifname="eth0", host_ifname="veth0",
        mac="02:42:00:00:00:01", ipv4=ip_interface("10.1.0.2/16"), ipv6=ip_interface("fd00::2/64"),
    )  # fmt: skip
    octets = codec.encode(EndpointsRecord(endpoints=(endpoint,)))
    resolved_once = codec._hints

    def decode() -> object:
        return codec.decode(EndpointsRecord, octets)

    def resolving() -> object:
        changed: Any = codec
        changed._hints = resolved_once.__wrapped__
        try:
            return decode()
        finally:
            changed._hints = resolved_once

    return [("read a record", *in_turns(resolving, decode, 50, 20))]


PARTS: dict[str, Callable[[], list[Row]]] = {"records": records}


def main() -> None:
    rows = [row for name, part in PARTS.items() if len(sys.argv) == 1 or name in sys.argv[1:] for row in part()]
    cells = [[what, f"{before:.1f}", f"{now:.1f}", f"{before / now:.1f}"] for what, before, now in rows]
    print(table(["", "before, us", "now, us", "ratio"], cells))
    print(write("steps", {"machine": machine(), "rows": rows}))


if __name__ == "__main__":
    main()
