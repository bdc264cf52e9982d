"""Moments in queries of the admin API: seconds since 1970. Pure."""

from __future__ import annotations

import math

from netcore.errors import InvalidRequest
from resolver.daemon.api_route import ApiRequest, QueryParameter

_LAST_MOMENT = 253_402_300_800
"""The end of the year 9999, in seconds since 1970."""


def moment(request: ApiRequest[None], parameter: QueryParameter) -> float | None:
    """Return the moment that *parameter* names, None if it is not given; InvalidRequest if it is none."""
    text = request.query.get(parameter.name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not abs(seconds) <= _LAST_MOMENT:
        raise InvalidRequest(parameter.name, f"{text!r:.60} is not a number of seconds since 1970")
    return seconds
