"""The firewall tables written anew as a whole: after they could not be written, and when the configuration of egress rules changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from netcore.controller.set_aside import Aside
from netcore.desired.egress_rules import TimedElement
from netcore.desired.objects import HOST, Sysctl
from netcore.egress.settings import EgressSettings
from netcore.errors import NetcoreError
from netcore.kernel.handlers import guarded

if TYPE_CHECKING:
    from netcore.controller import Controller


async def rewrite(controller: Controller, before: Callable[[], None] = lambda: None) -> None:
    """Write the tables; no operation is under way meanwhile. *before*: is called when that is so. Raises NetcoreError."""
    state = controller.state
    keys = ["networks", *(f"sandbox:{identity}" for identity in state.sandboxes), *(f"network:{identity}" for identity in state.networks)]
    async with controller.parts.locks.hold(keys):
        before()
        wanted = [*state.firewall_objects()]

        def write(openings: Sequence[TimedElement]) -> None:
            # What egress rules need beside elements, on this side of the links: `plan.desired_state` has all of it.
            controller.parts.executor.mend([each for each in wanted if isinstance(each, Sysctl) and each.sandbox_id is HOST])
            guarded.write_ports(controller.parts.guard, wanted)
            controller.parts.executor.write_tables(wanted, openings)

        with controller.parts.names.rewriting() as openings:
            await controller.workers.run(lambda: write(openings))


async def follow_egress(controller: Controller, settings: EgressSettings, rebuild_names: Callable[[], None]) -> None:
    """Have *settings* hold for all sandboxes: what they don't allow any more is cut. *rebuild_names*: the part of whoever answers names."""

    def begin() -> None:
        controller.parts.host.follow_egress(settings)
        rebuild_names()

    if not controller.settings.firewall:
        begin()
        return
    try:
        await rewrite(controller, begin)
    except NetcoreError as error:
        controller.set_aside.put(Aside(kind="firewall", id="berth", name="berth", reason=str(error)))
