"""The files and the pinned namespace of a sandbox: made, and removed. On worker threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

from netcore.controller.workers import Workers, attempt_each
from netcore.desired import hostsfile
from netcore.kernel import files, namespace, netns
from netcore.model import DefaultRoute, NetnsPath, Sandbox, Stack


class SandboxFiles:
    """See the module. *directory*: of a sandbox's hosts, resolv.conf and hostname files."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def make(self, sandbox: Sandbox, directory: PurePath) -> None:
        """Make the sandbox's directory with its hosts and hostname files; with a shared stack those of the other serve."""
        await self._workers.run(lambda: _make(sandbox, Path(directory)))

    async def mend(self, sandbox: Sandbox, directory: PurePath) -> None:
        """Make those of a sandbox's files again that are gone or are no files; something else in their place is put aside."""
        await self._workers.run(lambda: _mend(sandbox, Path(directory)))

    async def mend_each(self, sandboxes: Sequence[tuple[Sandbox, PurePath]]) -> list[Exception | None]:
        """Do `mend` for each of *sandboxes*, which come with their directories; return what failed, for each."""
        return await self._workers.run(lambda: attempt_each([partial(_mend, sandbox, Path(directory)) for sandbox, directory in sandboxes]))

    async def pin(self, sandbox: Sandbox, *, adopted: NetnsPath | None, shared: NetnsPath | None, taken: Mapping[str, NetnsPath]) -> None:
        """Pin the sandbox's namespace at its path: the one at *adopted*, the one pinned at *shared*, the host's, or a new one.

        *taken*: sandbox name → path of its namespace, none of which may be adopted again.
        """
        await self._workers.run(lambda: _pin(sandbox, adopted, shared, taken))

    async def default_routes(self, netns_path: NetnsPath) -> tuple[DefaultRoute, ...]:
        """Return the default routes of the namespace at *netns_path*."""
        return await self._workers.run(lambda: namespace.own_default_routes(netns_path))

    async def sysctls(self, netns_path: NetnsPath, paths: Sequence[str]) -> dict[str, str]:
        """Return path → value of those of *paths* that the namespace at *netns_path* has."""
        return await self._workers.run(lambda: namespace.sysctls(netns_path, paths))

    async def unpin(self, sandbox: Sandbox) -> None:
        """Let go of the sandbox's namespace; it ends when nobody else holds it."""
        await self._workers.run(lambda: netns.unpin(sandbox.netns_path))

    async def unpin_and_remove(self, sandbox: Sandbox, directory: PurePath) -> None:
        """Do both `unpin` and `remove`."""

        def body() -> None:
            netns.unpin(sandbox.netns_path)
            files.remove(str(directory))

        await self._workers.run(body)

    async def remove(self, directory: PurePath) -> None:
        """Remove the sandbox's directory with the files in it; one that is not there is done."""
        await self._workers.run(lambda: files.remove(str(directory)))


def _make(sandbox: Sandbox, directory: Path) -> None:
    for above in (directory.parent, directory):
        files.clear_way(above, is_directory=True)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    if sandbox.stack is Stack.SHARED:
        return
    files.write_in_place(str(directory / "hosts"), _inherited_hosts(sandbox))
    files.write_in_place(str(directory / "hostname"), hostsfile.render_hostname(sandbox.hostname))


def _mend(sandbox: Sandbox, directory: Path) -> None:
    for above in (directory.parent, directory):
        files.clear_way(above, is_directory=True)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for path in directory.iterdir():
        if not path.name.endswith(files.SET_ASIDE):
            files.clear_way(path, is_directory=False)
    if sandbox.stack is not Stack.SHARED and not (directory / "hosts").exists():
        files.write_in_place(str(directory / "hosts"), _inherited_hosts(sandbox))
    if sandbox.stack is not Stack.SHARED and not (directory / "hostname").exists():
        files.write_in_place(str(directory / "hostname"), hostsfile.render_hostname(sandbox.hostname))


def _inherited_hosts(sandbox: Sandbox) -> str:
    return files.read_if_there("/etc/hosts", follow=True) if sandbox.stack is Stack.HOST and not sandbox.extra_hosts else ""


def _pin(sandbox: Sandbox, adopted: NetnsPath | None, shared: NetnsPath | None, taken: Mapping[str, NetnsPath]) -> None:
    if shared is not None:
        namespace.share(shared, sandbox.netns_path)
    elif sandbox.stack is Stack.HOST:
        namespace.share(netns.OWN, sandbox.netns_path)
    elif adopted is None:
        namespace.make(sandbox.netns_path)
    else:
        namespace.adopt(adopted, sandbox.netns_path, taken)
