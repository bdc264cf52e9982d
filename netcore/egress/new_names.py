"""A bound on new names a minute: what a program makes up below a wildcard is a way out of its own. Pure."""

from __future__ import annotations

from netcore import limits


class NewNames:
    """*per_minute*: new names allowed, as many at once. A name that was asked lately is not new."""

    __slots__ = ("_filled", "_left", "_per_minute", "_recent")

    def __init__(self, per_minute: int = limits.EGRESS_NEW_NAMES) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._filled = 0.0
        self._recent: dict[str, None] = {}

    def take(self, name: str, now: float) -> bool:
        """Return whether *name* may be asked; it is remembered then."""
        if name in self._recent:
            del self._recent[name]
        else:
            self._left = min(float(self._per_minute), self._left + max(0.0, now - self._filled) * self._per_minute / 60)
            self._filled = max(now, self._filled)
            if self._left < 1:
                return False
            self._left -= 1
            if len(self._recent) >= limits.EGRESS_REMEMBERED_NAMES:
                del self._recent[next(iter(self._recent))]
        self._recent[name] = None
        return True
