"""Times that a user gives."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from resolver.cli.duration import seconds_of


def moment(option: str, text: str) -> float:
    """Return the time that *text* means, in seconds since the epoch: a duration ago, a date, or seconds since the epoch."""
    seconds = 0.0 if text in ("0", "0s", "now") else seconds_of(text)
    if seconds is not None:
        return datetime.now(UTC).timestamp() - seconds
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        said = f"{option} {text}: it should be like 24h, 2026-11-25T12:00 or seconds since 1970"
        raise click.UsageError(said, click.get_current_context()) from error
