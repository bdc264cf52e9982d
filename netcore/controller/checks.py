"""Checks of `berth doctor` about what could not be restored: what is set aside, and what no record tells of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from netcore.controller import Controller, adoption, remains
from netcore.controller.set_aside import Aside
from netcore.errors import NotFound, Unavailable
from netcore.kernel import remains as of_kernel
from netcore.model import NetnsPath, SandboxId
from netcore.plan.findings import Finding, Treatment
from netcore.store import last_copy
from netcore.store.records import Everything, Records, read_all

_LINK, _NAMESPACE, _DIRECTORY = "link", "namespace", "directory"


class SetAsideCheck:
    """What is set aside: tried again by `--fix`, removed by `--remove`. *retry*: tries everything again."""

    def __init__(self, controller: Controller, records: Records, retry: Callable[[], Awaitable[None]]) -> None:
        self._controller = controller
        self._records = records
        self._retry = retry

    async def find(self) -> Sequence[Finding]:
        """Return everything that is set aside."""
        return [
            Finding(
                object_kind=aside.kind,
                name=aside.name,
                problem=f"is set aside: {aside.reason}",
                remedy=_remedy(aside),
                treatments=_treatments(aside, is_running=SandboxId(aside.id) in self._controller.state.sandboxes),
            )
            for aside in self._controller.set_aside.all()
        ]

    async def mend(self, finding: Finding, treatment: Treatment) -> None:
        """Try everything again, or remove the thing that the finding is about."""
        aside = self._controller.set_aside.find(finding.object_kind, finding.name)
        if aside is None:
            return
        if treatment is Treatment.REMOVE:
            await remains.remove(self._controller, self._records, aside)
            return
        await self._retry()
        left = self._controller.set_aside.find(aside.kind, aside.id)
        if left is not None:
            raise Unavailable(f"{left.kind} {left.name}", left.reason)


def _treatments(aside: Aside, *, is_running: bool) -> tuple[Treatment, ...]:
    if aside.unreadable is not None:
        return (Treatment.REMOVE,)
    return (Treatment.FIX, Treatment.REMOVE) if aside.network is not None and not is_running else (Treatment.FIX,)


def _remedy(aside: Aside) -> str:
    if aside.unreadable is not None:
        return "remove it; what it was can no longer be read"
    return "remove the reason; berth tries again by itself"


class UnrecordedCheck:
    """What berth made on this host and no record tells of: after the state was lost, or by a daemon with another state directory.

    *retry*: tries everything that is set aside again.
    """

    def __init__(self, controller: Controller, records: Records, retry: Callable[[], Awaitable[None]]) -> None:
        self._controller = controller
        self._records = records
        self._retry = retry

    async def find(self) -> Sequence[Finding]:
        """Return links, pinned namespaces and directories of ours that belong to nothing that is known."""
        controller, settings = self._controller, self._controller.settings
        asides = controller.set_aside.all()
        networks = {*controller.state.networks, *(aside.id for aside in asides)}
        sandboxes = {*controller.state.sandboxes, *(aside.id for aside in asides)}
        paths = {sandbox.netns_path for sandbox in controller.state.sandboxes.values()}
        paths |= {NetnsPath(aside.unreadable.path) for aside in asides if aside.unreadable is not None and aside.unreadable.path}
        paths |= {NetnsPath(f"{settings.netns_directory}/berth-{aside.name}") for aside in asides if aside.kind == "sandbox"}
        links = [link for link in await controller.workers.run(of_kernel.tagged_links) if link.network_id not in networks]
        pins = [path for path in await controller.workers.run(lambda: of_kernel.pins(settings.netns_directory)) if path not in paths]
        directory = Path(settings.run_directory, "sandboxes")
        found = [path for path in await controller.workers.run(lambda: of_kernel.directories(directory)) if path.name not in sandboxes]
        before = await controller.workers.run(self._before)
        known_paths = {record.sandbox.netns_path for record, _ in before.sandboxes}
        known = {*(record.network.id for record in before.networks), *(record.sandbox.id for record, _ in before.sandboxes)}
        of_network, of_sandbox = "is of network {}, which no record tells of", "is of a sandbox that no record tells of"
        return [
            *(_unrecorded(_LINK, link.name, of_network.format(link.network_id[:12]), is_known=link.network_id in known) for link in links),
            *(_unrecorded(_NAMESPACE, path, of_sandbox, is_known=path in known_paths) for path in pins),
            *(_unrecorded(_DIRECTORY, str(path), of_sandbox, is_known=path.name in known) for path in found),
        ]

    def _before(self) -> Everything:
        """Return what the copy tells of that was in the run directory when the state began empty. Blocking."""
        return read_all(last_copy.read(str(Path(self._controller.settings.run_directory, last_copy.BEFORE))))

    async def mend(self, finding: Finding, treatment: Treatment) -> None:
        """Record one of them as it was before the state was lost, or remove it."""
        controller = self._controller
        if treatment is Treatment.ADOPT:
            await self._adopt(finding)
            return
        match finding.object_kind:
            case "link":
                links = [link for link in await controller.workers.run(of_kernel.tagged_links) if link.name == finding.name]
                if not links:
                    raise NotFound("link", finding.name)
                await controller.workers.run(lambda: of_kernel.remove_links([*links[0].ports, links[0].name]))
            case "namespace":
                await controller.workers.run(lambda: of_kernel.remove_pin(NetnsPath(finding.name)))
            case _:
                await controller.workers.run(lambda: of_kernel.remove_directory(Path(finding.name)))

    async def _adopt(self, finding: Finding) -> None:
        before = await self._controller.workers.run(self._before)
        match finding.object_kind:
            case "link":
                links = [link for link in await self._controller.workers.run(of_kernel.tagged_links) if link.name == finding.name]
                wanted = {link.network_id for link in links}
                for record in before.networks:
                    if record.network.id in wanted:
                        await adoption.adopt_network(self._controller, self._records, record.network)
            case _:
                for sandbox_record, endpoints in before.sandboxes:
                    sandbox = sandbox_record.sandbox
                    if sandbox.netns_path == finding.name or sandbox.id == Path(finding.name).name:
                        needed = {endpoint.network_id for endpoint in endpoints.endpoints}
                        for record in before.networks:
                            if record.network.id in needed:
                                # Networks on parents have no link that could be found.
                                await adoption.adopt_network(self._controller, self._records, record.network)
                        await adoption.adopt_sandbox(self._controller, self._records, sandbox, endpoints.endpoints)
        await self._retry()


def _unrecorded(kind: str, name: str, problem: str, *, is_known: bool) -> Finding:
    if is_known:
        remedy = "record it as it was before the state was lost, or remove it"
        return Finding(object_kind=kind, name=name, problem=problem, remedy=remedy, treatments=(Treatment.ADOPT, Treatment.REMOVE))
    remedy = "remove it, if no other daemon on this host has made it"
    return Finding(object_kind=kind, name=name, problem=problem, remedy=remedy, treatments=(Treatment.REMOVE,))
