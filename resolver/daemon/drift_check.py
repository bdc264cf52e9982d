"""What `berth doctor` says of drift: everything that is not as it should be, and mending it."""

from __future__ import annotations

from collections.abc import Sequence

from netcore.controller.drift.watch import DriftWatch
from netcore.errors import Unavailable
from netcore.plan.drift import Damage
from netcore.plan.findings import Finding, Treatment


class DriftCheck:
    """A check of the doctor. What berth has given up repairing by itself is a finding too."""

    def __init__(self, drift: DriftWatch) -> None:
        self._drift = drift
        self._found: dict[Finding, Damage] = {}

    async def find(self) -> Sequence[Finding]:
        self._found = {_finding(damage): damage for damage in await self._drift.examine()}
        return [*self._found]

    async def mend(self, finding: Finding, treatment: Treatment) -> None:
        damage = self._found[finding]
        left = await self._drift.mend(damage.concern)
        if any(other.key == damage.key for other in left):
            raise Unavailable(damage.describe(), "it was repaired and is still not as it should be; the log of the daemon says why")


def _finding(damage: Damage) -> Finding:
    return Finding(
        object_kind=damage.kind,
        name=damage.describe(),
        problem="is missing or not as it should be",
        remedy="find out what changes it, and repair it",
        treatments=(Treatment.FIX,),
    )
