"""What is logged once in a while and not each time it happens. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)


class Told(Generic[_K]):
    """*every*: seconds until the same is said again."""

    __slots__ = ("_at", "_every")

    def __init__(self, every: float) -> None:
        self._every = every
        self._at: dict[_K, float] = {}

    def is_due(self, what: _K, now: float) -> bool:
        """Return whether *what* is to be said now; then it is not for a while."""
        if now - self._at.get(what, -self._every) < self._every:
            return False
        self._at = {other: at for other, at in self._at.items() if now - at < self._every}
        self._at[what] = now
        return True
