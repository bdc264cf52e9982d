"""Bounds of what a command may use: sizes, limits of processes, and the files of control groups that have them. Pure.

Spec: getrlimit(2), numbers in `asm-generic/resource.h`; Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, pids.rst.
"""

import math
import re

LIMITS = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9, "locks": 10,
    "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}  # fmt: skip
INFINITY = -1
LEAST_MEMORY = 6 << 20
"""Octets, as with Docker: with less no program starts."""
_PERIOD = 100_000
"""Microseconds in which a command has its share of processors."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?\Z", re.IGNORECASE)


def size_of(text: str) -> int:
    """Return the octets that a size such as `512m` means, by powers of 1024 as with Docker; -1 for no bound. ValueError."""
    if text.strip() == "-1":
        return -1
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: it is a number of octets, or one with k, m or g behind it")
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))


def limit_of(text: str) -> tuple[int, int, int]:
    """Return (resource, soft, hard) of `NAME=SOFT[:HARD]`; ValueError. -1 is no limit."""
    name, equals, rest = text.partition("=")
    if name not in LIMITS or not equals:
        raise ValueError(f"{text!r} is not NAME=SOFT[:HARD], where NAME is one of {', '.join(LIMITS)}")
    soft, colon, hard = rest.partition(":")
    try:
        first = int(soft)
        second = int(hard) if colon else first
    except ValueError as error:
        raise ValueError(f"{text!r} is not NAME=SOFT[:HARD] with whole numbers, -1 for no limit") from error
    if first < INFINITY or second < INFINITY:
        raise ValueError(f"{text!r} is below 0; -1 is no limit")
    if second != INFINITY and (first > second or first == INFINITY):
        raise ValueError(f"{text!r}: the first, soft limit is above the second, hard one")
    return LIMITS[name], first, second


def check(*, memory: int, cpus: float, pids: int) -> None:
    """ValueError, as (field, text), for a bound that is none. 0: it is not bounded; -1 of memory and pids too."""
    if memory not in (0, -1) and memory < LEAST_MEMORY:
        raise ValueError("memory", f"{memory} octets are too few: the least is 6m")
    if not math.isfinite(cpus) or cpus < 0 or 0 < cpus < 0.01:
        raise ValueError("cpus", f"{cpus:g} is no number of processors from 0.01 on")
    if pids < -1:
        raise ValueError("pids-limit", f"{pids} is no number of processes; -1 is no limit")


def controllers(*, memory: int, cpus: float, pids: int) -> tuple[str, ...]:
    """Return the controllers that these bounds need, none if nothing is bounded."""
    wanted = (("memory", memory > 0), ("cpu", cpus > 0), ("pids", pids > 0))
    return tuple(name for name, is_bound in wanted if is_bound)


def files_of(version: int, *, memory: int, cpus: float, pids: int) -> dict[str, list[tuple[str, str, bool]]]:
    """Return controller → (file, what is written to it, whether it must be there), in their order.

    Swap is bounded by as much again, as with Docker. *version*: of control groups.
    """
    quota = round(cpus * _PERIOD)
    if version == 2:
        found = {
            "memory": [("memory.max", str(memory), True), ("memory.swap.max", str(memory), False)],
            "cpu": [("cpu.max", f"{quota} {_PERIOD}", True)],
            "pids": [("pids.max", str(pids), True)],
        }
    else:
        found = {
            "memory": [("memory.limit_in_bytes", str(memory), True), ("memory.memsw.limit_in_bytes", str(2 * memory), False)],
            "cpu": [("cpu.cfs_period_us", str(_PERIOD), True), ("cpu.cfs_quota_us", str(quota), True)],
            "pids": [("pids.max", str(pids), True)],
        }
    return {name: found[name] for name in controllers(memory=memory, cpus=cpus, pids=pids)}
