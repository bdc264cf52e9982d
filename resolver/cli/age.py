"""How long ago something was, in words. Pure."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def short(seconds: float) -> str:
    """Return a span of time as `45s`, `12m`, `5h`, `3d`."""
    for unit, size in _UNITS:
        if seconds >= 2 * size or size == 1:
            return f"{max(int(seconds // size), 0)}{unit}"
    return "0s"


def docker_words(seconds: float) -> str:
    """Return a span of time as Docker words it: `About a minute`, `5 minutes`, `2 weeks`."""
    minutes, hours = int(seconds // 60), round(seconds / 3600)
    for limit, text in (
        (1, "Less than a second"), (2, "1 second"), (60, f"{int(seconds)} seconds"), (120, "About a minute"), (3600, f"{minutes} minutes"),
        (5400, "About an hour"), (48 * 3600, f"{hours} hours"), (14 * 86_400, f"{int(seconds // 86_400)} days"),
        (60 * 86_400, f"{int(seconds // 604_800)} weeks"), (730 * 86_400, f"{int(seconds // 2_592_000)} months"),
    ):  # fmt: skip
        if seconds < limit:
            return text
    return f"{int(seconds // 31_536_000)} years"


def moment(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as Docker's lists have it: `2026-11-25 12:00:00 +0000 UTC`."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
