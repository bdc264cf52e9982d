"""Where a command of an ordinary user runs: in his nest or outside of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Where(Enum):
    """OUTSIDE: it needs no daemon. ENTERS: in the nest, if there is one. STARTS: in the nest, which is started if need be."""

    OUTSIDE = 0
    ENTERS = 1
    STARTS = 2


_OUTSIDE = {"service", "completion", "__complete", "config", "--help", "-h", "--version"}
_LOOKS = {
    "ps", "inspect", "port", "top", "stats", "kill", "wait", "logs", "stop", "status", "version", "events", "node", "doctor", "graph",
    "resolve", "cache", "upgrade", "backup", "restore",
}  # fmt: skip
"""What has nothing to do where there is no daemon, or works on files."""
_LOOKS_IN_GROUPS = {
    "network": {"ls", "inspect"},
    "egress": {"show", "test", "log", "learn"},
    "daemon": {"stop"},
}


def where(arguments: Sequence[str]) -> Where:
    """Return where the command of *arguments* runs."""
    if not arguments or arguments[0] in _OUTSIDE or _asks_for_help(arguments):
        return Where.OUTSIDE
    first, second = arguments[0], arguments[1] if len(arguments) > 1 else ""
    if first == "daemon" and "--check-config" in arguments:
        return Where.OUTSIDE
    if first in _LOOKS or second in _LOOKS_IN_GROUPS.get(first, ()):
        return Where.ENTERS
    return Where.STARTS


def _asks_for_help(arguments: Sequence[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in own
