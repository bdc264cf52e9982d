"""What a comparison is: one kind of thing that must exist, found damaged and put right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from netcore.plan.drift import Concern, Damage, Key


class Comparison(Protocol):
    """Compares what must exist for a concern with what is there. Its caller holds the locks of the concern for `repair`."""

    async def find(self, concern: Concern) -> Sequence[Damage]:
        """Return what is not as it should be now; changes nothing."""

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        """Put *damages* right; return why that failed for which of them."""
