"""Sandboxes: create, adopt, change, remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from netcore.controller.contract import Outcome
from netcore.controller.endpoints import Endpoints
from netcore.desired import hostsfile
from netcore.desired.diff import diff
from netcore.errors import Conflict, TeardownFailed
from netcore.kernel import files, host, namespace, netns, process
from netcore.model import (
    NetnsPath,
    Sandbox,
    SandboxRequest,
    Stack,
)
from netcore.parse import names
from netcore.plan import modes
from netcore.plan import sandbox as plan_sandbox


class Sandboxes(Endpoints):
    """Operations on sandboxes, which are created with their first endpoints."""

    async def create_sandbox(self, request: SandboxRequest, *, dry_run: bool = False) -> tuple[Sandbox, Outcome]:
        """Create or adopt a sandbox and connect it to its networks; its names answer when this returns."""
        sandbox = self._plan_sandbox(request)
        warnings = modes.check(request, sandbox.stack)
        if sandbox.stack is not Stack.OWN:
            request = replace(request, networks=())
        targets = [self.find_network(item.network) for item in request.networks]
        plan_sandbox.check_networks(targets)
        keys = [f"sandbox:{sandbox.id}", *(f"network:{network.id}" for network in targets)]
        if sandbox.shared_with:
            keys.append(f"sandbox:{sandbox.shared_with}")
        self._names_in_use.add(sandbox.name)
        try:
            async with self._locks.hold(keys):
                made, outcome = await self._create_sandbox(sandbox, request, dry_run=dry_run)
                return made, Outcome(outcome.steps, (*warnings, *outcome.warnings))
        finally:
            self._names_in_use.discard(sandbox.name)

    async def _create_sandbox(self, sandbox: Sandbox, request: SandboxRequest, *, dry_run: bool) -> tuple[Sandbox, Outcome]:
        if sandbox.shared_with and self.find_sandbox(sandbox.shared_with).ended:
            raise Conflict("sandbox", request.name, "cannot join network namespace of a sandbox that has ended")
        if not dry_run:
            await self._records.put_sandbox(sandbox, pending=True)
            try:
                await self.kernel(lambda: self._make_namespace(sandbox, request.netns))
            except BaseException:
                # What is pinned at its path, if anything, is not ours.
                await self._drop_sandbox(sandbox, pinned=False)
                raise
            self.sandboxes[sandbox.id] = sandbox
            self.endpoints[sandbox.id] = ()
            try:
                await self._directory.open(sandbox)
            except BaseException:
                await self._drop_sandbox(sandbox)
                raise
        else:
            self.sandboxes[sandbox.id], self.endpoints[sandbox.id] = sandbox, ()
        try:
            outcome = await self._connect(sandbox, request.networks, dry_run=dry_run, fresh=True)
        except BaseException:
            if not dry_run:
                await self._drop_sandbox(sandbox)
            raise
        finally:
            if dry_run:
                del self.sandboxes[sandbox.id], self.endpoints[sandbox.id]
        return (sandbox if dry_run else self.sandboxes[sandbox.id]), outcome

    def _plan_sandbox(self, request: SandboxRequest) -> Sandbox:
        if request.name in self._names_in_use or any(item.name == request.name for item in self.sandboxes.values()):
            raise Conflict("sandbox", request.name, "exists already; choose another name or remove it with `berth rm`")
        for item in request.networks:
            for target, _ in item.links:
                self.find_sandbox(target)
        kind, reference = modes.asked(request)
        return plan_sandbox.plan_sandbox(
            request,
            kind,
            self._owner_of_stack(reference) if kind is Stack.SHARED else None,
            netns_directory=self.settings.netns_directory,
            taken={item.netns_path for item in self.sandboxes.values()},
            host_name=host.name(),
            boot_id=process.boot_id(),
            now=self._clock(),
        )

    def _owner_of_stack(self, reference: str) -> Sandbox:
        """Return the sandbox whose stack the one called *reference* has: itself, or the one that it shares with."""
        found = self.find_sandbox(reference)
        return self.sandboxes[found.shared_with] if found.shared_with else found

    def _make_namespace(self, sandbox: Sandbox, adopted: str | None) -> None:
        directory = self.files_of(sandbox)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if sandbox.shared_with is not None:
            namespace.share(self.sandboxes[sandbox.shared_with].netns_path, sandbox.netns_path)
            return
        inherited = files.read_if_there("/etc/hosts") if sandbox.stack is Stack.HOST and not sandbox.extra_hosts else ""
        files.write_in_place(str(directory / "hosts"), inherited)
        files.write_in_place(str(directory / "hostname"), hostsfile.render_hostname(sandbox.hostname))
        if sandbox.stack is Stack.HOST:
            namespace.share(netns.OWN, sandbox.netns_path)
            return
        if adopted is None:
            namespace.make(sandbox.netns_path)
            return
        taken = {other.name: other.netns_path for other in self.sandboxes.values()}
        namespace.adopt(NetnsPath(adopted), sandbox.netns_path, taken)

    async def remove_sandbox(self, reference: str, *, dry_run: bool = False) -> Outcome:
        """Remove a sandbox with everything it has; parts that fail are reported after all were tried."""
        sandbox = self.find_sandbox(reference)
        keys = [f"sandbox:{sandbox.id}", *(f"network:{item.network_id}" for item in self.endpoints[sandbox.id])]
        async with self._locks.hold(keys):
            sandbox = self.find_sandbox(sandbox.id)
            users = self.users_of(sandbox)
            if users:
                return await self._end_but_for_its_stack(sandbox, users, dry_run=dry_run)
            endpoints = self.endpoints[sandbox.id]
            steps = diff(self._desired(sandbox, endpoints), ())
            if dry_run:
                return Outcome(steps)
            await self._directory.update(sandbox, (), self.networks)
            await self._records.put_sandbox(sandbox, pending=True)
            await self.untell_others(endpoints)
            reasons = await self._take_leave(endpoints, endpoints)
            try:
                await self.kernel(lambda: self.executor.remove(steps, f"sandbox {sandbox.name}"))
            except TeardownFailed as error:
                reasons += error.reasons
            reasons += await self._delete_by_plugins(endpoints)
            self._proxies.settle(sandbox.id, {})
            await self.kernel(lambda: self._ports.release(sandbox.ports))
            await self._release(endpoints)
            await self._drop_sandbox(sandbox)
            await self.lower_unused(item.network_id for item in endpoints)
        target = self.sandboxes.get(sandbox.shared_with) if sandbox.shared_with is not None else None
        if target is not None and target.ended and not self.users_of(target):
            await self.remove_sandbox(target.id)
        if reasons:
            raise TeardownFailed(f"sandbox {sandbox.name}", tuple(reasons))
        return Outcome(steps)

    def users_of(self, sandbox: Sandbox) -> list[str]:
        """Return the names of the sandboxes that share the stack of *sandbox*."""
        return [item.name for item in self.sandboxes.values() if item.shared_with == sandbox.id]

    async def _end_but_for_its_stack(self, sandbox: Sandbox, users: list[str], *, dry_run: bool) -> Outcome:
        """Keep a sandbox whose stack others share until the last of them ends; its names stay theirs."""
        if not dry_run and not sandbox.ended:
            ended = replace(sandbox, ended=True, owner=None)
            await self._records.put_sandbox(ended)
            self.sandboxes[ended.id] = ended
        return Outcome((), (f"the network stack of {sandbox.name} stays until {', '.join(users)} ends",))

    async def _drop_sandbox(self, sandbox: Sandbox, *, pinned: bool = True) -> None:
        await self._directory.close(sandbox)

        def remove() -> None:
            if pinned:
                netns.unpin(sandbox.netns_path)
            directory = self.files_of(sandbox)
            for path in directory.glob("*"):
                path.unlink(missing_ok=True)
            if directory.is_dir():
                directory.rmdir()

        await self.kernel(remove)
        self.sandboxes.pop(sandbox.id, None)
        self.endpoints.pop(sandbox.id, None)
        await self._records.drop_sandbox(sandbox)

    async def forget(self, sandbox: Sandbox) -> None:
        """Remove the namespace, files and record of a sandbox that has no endpoints any more."""
        await self._drop_sandbox(sandbox)

    async def change_sandbox(self, reference: str, change: Callable[[Sandbox], Sandbox]) -> Sandbox:
        """Replace facts about a sandbox that touch no kernel object: its name (DNS-47), its owner."""
        sandbox = self.find_sandbox(reference)
        async with self._locks.hold([f"sandbox:{sandbox.id}"]):
            before = self.find_sandbox(sandbox.id)
            after = change(before)
            if after.name != before.name:
                names.check_object_name("sandbox", after.name)
                if after.name in self._names_in_use or any(item.name == after.name for item in self.sandboxes.values()):
                    raise Conflict("sandbox", after.name, "exists already; choose another name")
            await self._records.put_sandbox(after)
            self.sandboxes[after.id] = after
            await self._directory.update(after, self._ordered(after.id), self.networks)
            await self.tell_others(after, self.endpoints[after.id])
            return after
