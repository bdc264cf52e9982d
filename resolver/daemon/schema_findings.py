"""The shapes of `/v1/doctor`: what is not as it should be, and how it is to be mended."""

from __future__ import annotations

import msgspec

from netcore.plan.findings import Treatment as Treatment


class FindingView(msgspec.Struct, frozen=True):
    """Something that is not as it should be: *object* (its kind) called *name*. *problem*: what is wrong. *remedy*: what would mend it.

    *treatments*: what of that `POST /v1/doctor` does: fix, adopt, remove. *error*: why it was asked for and could not be done.
    """

    object: str
    name: str
    problem: str
    remedy: str
    treatments: list[str]
    mended: bool = False
    error: str | None = None


class DoctorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*treatment*: fix (bring kernel and files to the records), adopt (record what the kernel has), remove (what is not recorded)."""

    treatment: Treatment
