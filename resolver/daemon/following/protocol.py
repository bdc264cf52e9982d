"""What the follower of a sandbox needs of a source, and what a source may fail with."""

from __future__ import annotations

from typing import Protocol


class CannotTell(Exception):
    """A source can't tell the pid now: its program is not installed, does not answer, or refuses. The text says why."""


class PidSource(Protocol):
    """Tells which process has the namespace, and calls what it was made with when that may have changed."""

    async def look(self) -> int | None:
        """Return the pid now, None if there is none; CannotTell if that is not known."""

    async def close(self) -> None:
        """Tell no more."""
