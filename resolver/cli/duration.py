"""Spans of time as Docker's filters, `--since` and `--until` have them: `1h30m`, `90s`, `1.5s`. Pure."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?\Z")


def seconds_of(text: str) -> float | None:
    """Return the seconds that *text* means, None if it is no span of time."""
    match = _DURATION.match(text)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds
