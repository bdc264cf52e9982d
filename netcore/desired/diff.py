"""The one differ: (objects before, objects after) → ordered steps. Pure.

Objects are created and replaced first, in the order in which they rest on each other; deletions follow in the opposite
order, but for pairs, which are taken off their bridge first. So a default route moves by one replace before the link of the old
one goes, and what a pair may send is bound until it can send nothing. Undo is the diff between what was reached and what was
there before: there is no hand-written inverse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netcore.desired.objects import KernelObject, Lane


@dataclass(frozen=True, slots=True)
class Step:
    """One change: create (*before* None), delete (*after* None), replace, or repair (both the same)."""

    before: KernelObject | None
    after: KernelObject | None

    @property
    def subject(self) -> KernelObject:
        """The object that the step is about, as it will be, or as it was."""
        subject = self.after if self.after is not None else self.before
        assert subject is not None
        return subject

    @property
    def lane(self) -> Lane:
        """Which subsystem carries the step out, and in whose namespace."""
        return self.subject.lane if self.after is None else self.after.creation_lane

    def describe(self) -> str:
        """Return one line for `--dry-run` and for errors."""
        verb = "create" if self.before is None else "delete" if self.after is None else "repair" if self.before == self.after else "replace"
        return f"{verb} {self.subject.describe()}"


def diff(before: Iterable[KernelObject], after: Iterable[KernelObject]) -> tuple[Step, ...]:
    """Return the steps that lead from *before* to *after*, in the order in which they must be done."""
    old = {existing.key: existing for existing in before}
    new = {wanted.key: wanted for wanted in after}
    changes = [Step(old.get(key), wanted) for key, wanted in new.items() if old.get(key) != wanted]
    changes.sort(key=lambda step: step.subject.order)
    unwanted = [existing for key, existing in old.items() if key not in new]
    gone_links = {link for existing in unwanted for link in existing.links()}
    deletions = [Step(existing, None) for existing in unwanted if not existing.goes_with(gone_links)]
    deletions.sort(key=lambda step: -step.subject.deletion_order)
    return (*changes, *deletions)
