"""Durations and sizes as Compose reads and prints them: `1h30m`, `1.5s`, `2d`; `512m`, `1.5gb`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
          "d": 86_400 * 10**9, "w": 604_800 * 10**9}  # fmt: skip
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_SIZE = re.compile(r"([0-9]*\.?[0-9]*) ?(b|[kmgtpe](?:b|ib)?)?\Z", re.IGNORECASE)
_POWERS = "kmgtpe"
_MOST = 2**63 - 1


def nanoseconds_of(text: str) -> int:
    """Return the nanoseconds that *text* means; ValueError if it is no duration."""
    unsigned = text.lstrip("+-") if text[:1] in "+-" else text
    parts = list(_PART.finditer(unsigned))
    if unsigned != "0" and (not parts or "".join(part[0] for part in parts) != unsigned or len(unsigned) > 100):
        raise ValueError(f"{text[:80]!r} is no duration like 10s or 1m30s")
    total = int(sum(Decimal(part[1]) * _UNITS[part[2]] for part in parts))
    if total > _MOST:
        raise ValueError(f"{text[:80]!r} is longer than 292 years")
    return -total if text.startswith("-") else total


def duration_text(nanoseconds: int) -> str:
    """Return a duration as Go prints it: `1h0m1.5s`, `100ms`, `0s`."""
    sign, left = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if left and left < min(size * 1_000, 10**9):
            return f"{sign}{_fraction(left, size)}{unit}"
    minutes, rest = divmod(left, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_fraction(rest, 10**9)}s"
    return f"{sign}{hours}h{minutes}m{seconds}" if hours else f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{digits}" if rest else str(whole)


def octets_of(text: str) -> int:
    """Return the octets that *text* means; ValueError if it is no size. `k` is 1,024."""
    match = _SIZE.match(text)
    if match is None or not any(character.isdigit() for character in match[1]):
        raise ValueError(f"{text[:80]!r} is no size like 512m or 1.5gb")
    unit = (match[2] or "b")[0].lower()
    return min(_MOST, int(float(match[1]) * 1024 ** (_POWERS.index(unit) + 1 if unit in _POWERS else 0)))
