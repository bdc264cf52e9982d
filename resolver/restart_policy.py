"""When a command that has ended is started again: Docker's restart policies and its back-off. No input or output."""

from __future__ import annotations

from typing import NamedTuple

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0
"""Seconds before the first restart, doubled for each further one, up to the longest."""
RAN_WELL = 10.0
"""Seconds that a command has run after which the pauses begin anew."""


class Policy(NamedTuple):
    """*kind*: no, always, unless-stopped, on-failure. *most*: restarts at most, 0 for any number."""

    kind: str
    most: int = 0

    def restarts(self, exit_code: int, already: int) -> bool:
        """Return whether a command that ended with *exit_code* is started again, after so many restarts."""
        match self.kind:
            case "always" | "unless-stopped":
                return True
            case "on-failure":
                return exit_code != 0 and (not self.most or already < self.most)
        return False


def policy_of(text: str) -> Policy:
    """Return the policy that *text* means, as the daemon has checked it: `on-failure:3` for example."""
    kind, _, most = text.partition(":")
    return Policy(kind, int(most or 0))


class Restarts:
    """Counts how often one command is started again. *count*: so far."""

    def __init__(self, policy: Policy, count: int = 0) -> None:
        self._policy = policy
        self._pause = 0.0
        self.count = count

    def next(self, exit_code: int, ran: float) -> float | None:
        """Return the seconds after which a command that ended with *exit_code* is started again, None: it is not.

        *ran*: how many seconds it ran. One that is to be started again is counted.
        """
        if not self._policy.restarts(exit_code, self.count):
            return None
        self.count += 1
        self._pause = next_pause(self._pause, ran)
        return self._pause


def next_pause(last: float, ran: float) -> float:
    """Return the seconds to wait before a restart. *last*: before the last one, 0 for none; *ran*: how long the command ran since."""
    return FIRST_PAUSE if not last or ran >= RAN_WELL else min(last * 2, LONGEST_PAUSE)
