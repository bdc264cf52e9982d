"""Where a command of an ordinary user runs: in his nest or outside of it. Pure."""

from __future__ import annotations

from resolver.light import TYPE_CHECKING, Enum

if TYPE_CHECKING:
    from collections.abc import Sequence


class Where(Enum):
    """OUTSIDE: it needs no daemon. ENTERS: in the nest, if there is one. SHOWS: the same, and it is started if something is saved.

    STARTS: in the nest, which is started if need be.
    """

    OUTSIDE = 0
    ENTERS = 1
    SHOWS = 2
    STARTS = 3


_OUTSIDE = {"service", "host-dns", "completion", "__complete", "config", "--help", "-h", "--version"}
_ABOUT_THE_DAEMON = {"status", "info", "version", "events", "node", "doctor", "resolve", "cache", "upgrade", "backup", "restore"}
"""What has nothing to do where there is no daemon, or works on files."""
_SHOWS = {"ps", "inspect", "port", "top", "stats", "kill", "wait", "logs", "stop", "graph"}
_SHOWS_IN_GROUPS = {"network": {"ls", "inspect"}, "egress": {"show", "test", "log", "learn"}}


def where(arguments: Sequence[str]) -> Where:
    """Return where the command of *arguments* runs."""
    if not arguments or arguments[0] in _OUTSIDE or _asks_for_help(arguments):
        return Where.OUTSIDE
    first, second = arguments[0], arguments[1] if len(arguments) > 1 else ""
    if first == "daemon" and "--check-config" in arguments:
        return Where.OUTSIDE
    if first in _ABOUT_THE_DAEMON or (first, second) == ("daemon", "stop"):
        return Where.ENTERS
    if first in _SHOWS or second in _SHOWS_IN_GROUPS.get(first, ()):
        return Where.SHOWS
    return Where.STARTS


def _asks_for_help(arguments: Sequence[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in own
