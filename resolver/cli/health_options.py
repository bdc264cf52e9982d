"""The options of `berth run` about health: what they mean as `health_check` of the admin API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resolver.cli.compose.durations import nanoseconds_of
from resolver.cli.health_rules import target_of, url_of
from resolver.cli.sandbox_options import BadOption
from resolver.numbers import whole_number

_TESTS = {"health_cmd": "CMD-SHELL", "health_tcp": "TCP", "health_http": "HTTP"}
_TIMES = ("interval", "timeout", "start_period", "start_interval")
_MOST_RETRIES = 1_000_000


def health_check(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the health check that the options *values* ask for, None for `--no-healthcheck`; BadOption says what is wrong."""
    given = [name for name in values if name.startswith("health_")]
    if values.get("no_healthcheck"):
        if given:
            raise BadOption(f"--no-healthcheck conflicts with {_flag(given[0])}: leave one of them out")
        return None
    tests = [name for name in _TESTS if name in given]
    if not tests:
        raise BadOption(f"{_flag(given[0])} is about a health check, and there is none: add --health-cmd, --health-tcp or --health-http")
    if len(tests) > 1:
        raise BadOption(f"{_flag(tests[0])} conflicts with {_flag(tests[1])}: leave one of them out")
    (test,) = tests
    text = values[test]
    if test == "health_cmd" and text == "none":
        return None
    try:
        if test == "health_tcp":
            target_of(text)
        elif test == "health_http":
            url_of(text)
        elif not text.strip():
            raise ValueError("it is empty")
    except ValueError as error:
        raise BadOption(f"{_flag(test)}: {error}") from error
    check: dict[str, Any] = {"test": [_TESTS[test], text]}
    for name in _TIMES:
        seconds = _seconds(values, f"health_{name}")
        if seconds:
            check[name] = seconds
    if "health_retries" in given:
        retries = whole_number(values["health_retries"], 0, _MOST_RETRIES)
        if retries is None:
            raise BadOption(f"--health-retries {values['health_retries']}: it should be a number from 0 to {_MOST_RETRIES}")
        check |= {"retries": retries} if retries else {}
    return check


def _seconds(values: Mapping[str, Any], name: str) -> float:
    """Return how many seconds an option says, 0 for the default."""
    text = values.get(name, "0")
    try:
        nanoseconds = nanoseconds_of(text)
    except ValueError as error:
        raise BadOption(f"{_flag(name)}: {error}") from error
    if nanoseconds and nanoseconds < 1_000_000:
        raise BadOption(f"{_flag(name)} {text}: it should be 0 for the default, or 1ms at least")
    return nanoseconds / 1e9


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
