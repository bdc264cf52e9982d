"""Whether what runs in a sandbox is well, and how that is found out. Values; the checks are the client's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """Whether what runs in a sandbox is well, as its health check has found."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How the command in a sandbox is asked whether it is well. Times are in seconds; Docker's words and defaults.

    *test*: CMD and words, CMD-SHELL and a line, TCP and HOST:PORT, HTTP and a URL. *interval*: between checks, *start_interval* in its
    place while it starts; *timeout*: of one check; *retries*: failures in a row that make it unhealthy, not counted in *start_period*.
    """

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0
