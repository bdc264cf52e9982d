"""Health checks between the model and the shapes of the admin API. Pure."""

from __future__ import annotations

import math

from netcore.errors import InvalidRequest
from netcore.health import Health, HealthCheck
from resolver.daemon.schema import HealthCheckView

SHORTEST = 0.001
"""Seconds, as with Docker."""
_MOST_RETRIES = 1_000_000
_WORDS = {"CMD": "a command", "CMD-SHELL": "a line for the shell", "TCP": "HOST:PORT", "HTTP": "a URL"}


def health_check(body: HealthCheckView) -> HealthCheck:
    """Return the health check that *body* asks for; InvalidRequest says what is wrong with it."""
    kind, words = (body.test[0], body.test[1:]) if body.test else ("", [])
    if kind not in _WORDS or not words or (kind != "CMD" and len(words) != 1) or not words[0]:
        known = ", ".join(f"{name} and {what}" for name, what in _WORDS.items())
        raise InvalidRequest("health_check", f"test {body.test!r:.80} is not one of {known}")
    if any("\0" in word for word in words):
        raise InvalidRequest("health_check", "test has an octet 0")
    for field, value, least in (
        ("interval", body.interval, SHORTEST),
        ("timeout", body.timeout, SHORTEST),
        ("start_period", body.start_period, 0.0),
        ("start_interval", body.start_interval, SHORTEST),
    ):
        if not math.isfinite(value) or value < least:
            raise InvalidRequest("health_check", f"{field} {value:g} is too short: it is a number of seconds from {least:g} on")
    if not 1 <= body.retries <= _MOST_RETRIES:
        raise InvalidRequest("health_check", f"retries {body.retries} is not a number from 1 to {_MOST_RETRIES}")
    return HealthCheck(
        test=tuple(body.test),
        interval=body.interval,
        timeout=body.timeout,
        retries=body.retries,
        start_period=body.start_period,
        start_interval=body.start_interval,
    )


def view(check: HealthCheck | None) -> HealthCheckView | None:
    """Return a health check as the API has it, None if there is none."""
    if check is None:
        return None
    return HealthCheckView(list(check.test), check.interval, check.timeout, check.retries, check.start_period, check.start_interval)


def health(text: str) -> Health:
    """Return the health that *text* means; InvalidRequest if it means none."""
    try:
        return Health(text)
    except ValueError as error:
        raise InvalidRequest("health", f"{text!r:.60} is not one of {', '.join(Health)}") from error
