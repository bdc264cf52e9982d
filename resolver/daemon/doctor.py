"""`berth doctor`: asks every check what is not as it should be, and has the checks mend what somebody asked for.

A new comparison is an object with `findings.Check`'s two methods, handed to `Doctor` where the daemon is put together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from netcore.errors import NetcoreError
from netcore.plan.findings import Check, Finding, Treatment
from resolver.daemon.schema_findings import FindingView

log = logging.getLogger(__name__)


class Doctor:
    """Runs *checks* one after the other; a check that fails is a finding itself and keeps no other from its work."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._at_work = asyncio.Lock()

    async def examine(self) -> list[FindingView]:
        """Return all findings; changes nothing."""
        async with self._at_work:
            return [_view(finding) for _, finding in await self._find()]

    async def treat(self, treatment: Treatment) -> list[FindingView]:
        """Carry *treatment* out wherever a finding offers it; return all findings with what became of them."""
        async with self._at_work:
            found = await self._find()
            return [
                await self._treat(check, finding, treatment) if check is not None and treatment in finding.treatments else _view(finding)
                for check, finding in found
            ]

    async def _find(self) -> list[tuple[Check | None, Finding]]:
        found: list[tuple[Check | None, Finding]] = []
        for check in self._checks:
            try:
                found += [(check, finding) for finding in await check.find()]
            except (NetcoreError, OSError) as error:
                remedy = "find out why; what this check compares is not known"
                found.append((None, Finding(object_kind="check", name=type(check).__name__, problem=f"failed: {error}", remedy=remedy)))
        return found

    async def _treat(self, check: Check, finding: Finding, treatment: Treatment) -> FindingView:
        try:
            await check.mend(finding, treatment)
        except (NetcoreError, OSError) as error:
            log.error("not mended kind=%s name=%s reason=%s", finding.object_kind, finding.name, error)
            return _view(finding, error=str(error))
        log.info("mended kind=%s name=%s by=%s", finding.object_kind, finding.name, treatment.value)
        return _view(finding, mended=True)


def _view(finding: Finding, *, mended: bool = False, error: str | None = None) -> FindingView:
    return FindingView(
        object=finding.object_kind,
        name=finding.name,
        problem=finding.problem,
        remedy=finding.remedy,
        treatments=[treatment.value for treatment in finding.treatments],
        mended=mended,
        error=error,
    )
