"""`berth doctor`: every check is asked, none keeps another from its work, and only what was offered is done."""

from netcore.errors import Conflict, KernelError
from netcore.plan.findings import Finding, Treatment
from resolver.daemon.doctor import Doctor

LEFT = Finding(
    object_kind="link", name="br-1", problem="is of no network", remedy="remove it", treatments=(Treatment.ADOPT, Treatment.REMOVE)
)
DOWN = Finding(object_kind="link", name="br-2", problem="is down", remedy="set it up", treatments=(Treatment.FIX,))


class FakeCheck:
    def __init__(self, *findings, fails=None, refuses=None):
        self.findings, self.fails, self.refuses, self.mended = list(findings), fails, refuses, []

    async def find(self):
        if self.fails:
            raise self.fails
        return list(self.findings)

    async def mend(self, finding, treatment):
        if self.refuses:
            raise self.refuses
        self.mended.append((finding.name, treatment))


async def test_a_check_that_fails_is_a_finding_and_the_others_go_on():
    doctor = Doctor([FakeCheck(fails=KernelError("list", "links", 1)), FakeCheck(DOWN)])
    failed, down = await doctor.examine()
    assert (failed.object, failed.name) == ("check", "FakeCheck")
    assert failed.problem.startswith("failed: list links: EPERM")
    assert (down.name, down.treatments, down.mended) == ("br-2", ["fix"], False)


async def test_only_what_a_finding_offers_is_done():
    leftovers, drift = FakeCheck(LEFT), FakeCheck(DOWN)
    doctor = Doctor([leftovers, drift])
    left, down = await doctor.treat(Treatment.REMOVE)
    assert (left.mended, down.mended) == (True, False)
    assert leftovers.mended == [("br-1", Treatment.REMOVE)]
    assert drift.mended == []


async def test_a_treatment_that_is_refused_says_why():
    doctor = Doctor([FakeCheck(LEFT, refuses=Conflict("link", "br-1", "is in use"))])
    (left,) = await doctor.treat(Treatment.ADOPT)
    assert (left.mended, left.error) == (False, "link br-1 is in use")
