"""What `berth doctor` says of changes that are refused: the state can't be written, or this host takes no part in its cluster now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netcore.errors import Unavailable
from netcore.plan.findings import Finding, Treatment


class RefusalCheck:
    """A check of the doctor. *unwritable*: see `SqliteStore`. *apart*: see `Cluster`. Both end by themselves with their reason."""

    def __init__(self, directory: str, unwritable: Callable[[], str | None], apart: Callable[[], str | None]) -> None:
        self._directory = directory
        self._unwritable = unwritable
        self._apart = apart

    async def find(self) -> Sequence[Finding]:
        """Return why changes are refused now."""
        found, unwritable, apart = [], self._unwritable(), self._apart()
        if unwritable is not None:
            problem = f"can't be written ({unwritable}): names and traffic go on, changes are refused"
            remedy = "have it writable, with room in it; the daemon tries again by itself and goes on"
            found.append(Finding(object_kind="state", name=f"in {self._directory}", problem=problem, remedy=remedy))
        if apart is not None:
            problem = f"is not followed: {apart}; changes of overlay networks are refused"
            remedy = "see to the store; this host goes on by itself when the reason is gone"
            found.append(Finding(object_kind="cluster", name="of this host", problem=problem, remedy=remedy))
        return found

    async def mend(self, finding: Finding, treatment: Treatment) -> None:
        """No finding of this check offers a treatment."""
        raise Unavailable(finding.describe(), finding.remedy)
