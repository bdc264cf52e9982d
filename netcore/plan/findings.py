"""What is not as it should be, as values: the object, what is wrong, what would mend it. Pure.

A check of `berth doctor` returns findings. Those of one check are mended by it too; see `Check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Treatment(StrEnum):
    """What somebody may ask for; the options of `berth doctor`."""

    FIX = "fix"
    """Bring the kernel and the files to what is recorded."""

    ADOPT = "adopt"
    """Record what the kernel has of ours."""

    REMOVE = "remove"
    """Remove what is of ours and not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be.

    *object_kind*: link, sandbox, network, file, … *name*: which one. *problem*: what is wrong with it, as a clause whose subject
    is the object ("is down"). *remedy*: what would mend it, as an imperative. *treatments*: what of that berth does if asked.
    """

    object_kind: str
    name: str
    problem: str
    remedy: str
    treatments: tuple[Treatment, ...] = ()

    def describe(self) -> str:
        """Return one line for the status and the log."""
        return f"{self.object_kind} {self.name} {self.problem}"


class Check(Protocol):
    """One comparison of what must be with what is."""

    async def find(self) -> Sequence[Finding]:
        """Return what is not as it should be now; changes nothing."""

    async def mend(self, finding: Finding, treatment: Treatment) -> None:
        """Carry out one of the treatments of a finding of this check; raises a NetcoreError that says why it can't."""
