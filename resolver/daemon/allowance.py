"""What somebody may ask: so much at once, and so much a second. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """*left*: what is left of *most*, as it was at the time *since*; *rate* a second come back."""

    most: float
    rate: float
    left: float
    since: float

    def take(self, now: float) -> bool:
        """Take one; return False if there is none left."""
        self.left = min(self.most, self.left + (now - self.since) * self.rate)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


def whole(most: float, rate: float, now: float) -> Allowance:
    """Return an allowance of which nothing has been taken."""
    return Allowance(most, rate, most, now)
