"""What `berth up` says on standard error while it works: nothing for a second, then a line for each thing that is done or waited for."""

from __future__ import annotations

import sys
import time

from resolver.cli import terminal

QUIET = 1.0
"""Seconds without a line: what is done by then needs none."""


class Progress:
    """Collects lines, and prints them as soon as the work takes longer than `QUIET`; never if it is to be *quiet*."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._is_quiet = quiet
        self._began = time.monotonic()
        self._unsaid: list[tuple[str, str]] = []
        self._states: dict[str, str] = {}

    def note(self, name: str, state: str) -> None:
        """Note that *name* has come to *state*; the same state is said once."""
        if self._states.get(name) != state:
            self._states[name] = state
            self._unsaid.append((name, state))
        self.tick()

    def tick(self) -> None:
        """Print what is to be said by now."""
        if self._is_quiet or time.monotonic() - self._began < QUIET:
            return
        for name, state in self._unsaid:
            style = "yellow" if state.startswith("waits") else "green"
            print(f"{name}  {terminal.styled(state, style, sys.stderr)}", file=sys.stderr, flush=True)
        self._unsaid.clear()
