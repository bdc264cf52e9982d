"""The files and the pinned namespace of a sandbox, and where they are found by its name: made, and removed. On worker threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

from netcore.controller.spare_namespaces import SpareNamespaces
from netcore.controller.workers import Workers, attempt_each
from netcore.default_route import DefaultRoute
from netcore.desired import hostsfile
from netcore.kernel import files, namespace, netns
from netcore.kernel.named_paths import NETNS, Named, NamedPaths
from netcore.model import NetnsPath, Sandbox, Stack


class SandboxFiles:
    """See the module. *directory*: of a sandbox's hosts, resolv.conf and hostname files. *spares*: what new namespaces are taken from."""

    def __init__(self, workers: Workers, paths: NamedPaths, spares: SpareNamespaces) -> None:
        self._workers = workers
        self._paths = paths
        self.spares = spares

    async def make(
        self,
        sandbox: Sandbox,
        directory: PurePath,
        *,
        adopted: NetnsPath | None,
        shared: NetnsPath | None,
        taken: Mapping[str, NetnsPath],
    ) -> None:
        """Make the sandbox's directory with its hosts and hostname files; with a shared stack those of the other serve. Then `pin`."""

        def body() -> None:
            _make(sandbox, Path(directory))
            self._name(sandbox, directory)
            self._pin(sandbox, adopted, shared, taken)

        await self._workers.run(body)

    async def mend(self, sandbox: Sandbox, directory: PurePath) -> None:
        """Make those of a sandbox's files again that are gone or are no files; something else in their place is put aside."""
        await self._workers.run(lambda: self._mend(sandbox, directory))

    async def mend_each(self, sandboxes: Sequence[tuple[Sandbox, PurePath]], pins: Sequence[NetnsPath] | None) -> list[Exception | None]:
        """Do `mend` for each of *sandboxes*, which come with their directories; return what failed, for each.

        What an earlier daemon has left under the names of others, and at *pins*, is removed. None: it is not known who there is.
        """

        def body() -> list[Exception | None]:
            failed = attempt_each([partial(self._mend, *both) for both in sandboxes])
            if pins is not None:
                known = [_named(sandbox, directory) for sandbox, directory in sandboxes]
                self._paths.keep_only(known)
                for path in set(pins) - {named.netns_path for named in known}:
                    netns.unpin(path)
            return failed

        return await self._workers.run(body)

    def _mend(self, sandbox: Sandbox, directory: PurePath) -> None:
        _mend(sandbox, Path(directory))
        self._name(sandbox, directory)

    def _name(self, sandbox: Sandbox, directory: PurePath) -> None:
        self._paths.put(_named(sandbox, directory), owns_files=sandbox.stack is not Stack.SHARED)

    async def rename(self, before: Sandbox, after: Sandbox, directory: PurePath) -> None:
        """Have a sandbox be found by its new name too; Conflict if a namespace is there that is not ours. See `forget_name`."""

        def body() -> None:
            if after.netns_path != before.netns_path:
                namespace.share(before.netns_path, after.netns_path)
            self._name(after, directory)

        await self._workers.run(body)

    async def forget_name(self, before: Sandbox, after: Sandbox, directory: PurePath) -> None:
        """Have a sandbox be found by its name *after* and no longer by the one that it had *before*."""

        def body() -> None:
            if after.netns_path != before.netns_path:
                netns.unpin(before.netns_path)
            self._paths.drop(before.name, before.netns_path)
            self._name(after, directory)

        await self._workers.run(body)

    async def pin(self, sandbox: Sandbox, *, adopted: NetnsPath | None, shared: NetnsPath | None, taken: Mapping[str, NetnsPath]) -> None:
        """Pin the sandbox's namespace at its path: the one at *adopted*, the one pinned at *shared*, the host's, or a new one.

        *taken*: sandbox name → path of its namespace, none of which may be adopted again.
        """
        await self._workers.run(lambda: self._pin(sandbox, adopted, shared, taken))

    def _pin(self, sandbox: Sandbox, adopted: NetnsPath | None, shared: NetnsPath | None, taken: Mapping[str, NetnsPath]) -> None:
        if shared is not None:
            namespace.share(shared, sandbox.netns_path)
        elif sandbox.stack is Stack.HOST:
            namespace.share(netns.OWN, sandbox.netns_path)
        elif adopted is not None:
            namespace.adopt(adopted, sandbox.netns_path, taken)
        elif sandbox.stack is Stack.OWN:
            self.spares.pin(sandbox.netns_path)
        else:
            namespace.make(sandbox.netns_path)

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
            self._remove(sandbox, directory)

        await self._workers.run(body)

    async def remove(self, sandbox: Sandbox, directory: PurePath) -> None:
        """Remove the sandbox's directory with the files in it, and what is called by its name; what is not there is done."""
        await self._workers.run(lambda: self._remove(sandbox, directory))

    def _remove(self, sandbox: Sandbox, directory: PurePath) -> None:
        self._paths.drop(sandbox.name, sandbox.netns_path)
        files.remove(str(directory))


def _named(sandbox: Sandbox, directory: PurePath) -> Named:
    files_of = directory if sandbox.shared_with is None else directory.with_name(sandbox.shared_with)
    return Named(sandbox.name, sandbox.netns_path, str(files_of))


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
        if not path.name.endswith(files.SET_ASIDE) and path.name != NETNS:
            files.clear_way(path, is_directory=False)
    if sandbox.stack is not Stack.SHARED and not (directory / "hosts").exists():
        files.write_in_place(str(directory / "hosts"), _inherited_hosts(sandbox))
    if sandbox.stack is not Stack.SHARED and not (directory / "hostname").exists():
        files.write_in_place(str(directory / "hostname"), hostsfile.render_hostname(sandbox.hostname))


def _inherited_hosts(sandbox: Sandbox) -> str:
    return files.read_if_there("/etc/hosts", follow=True) if sandbox.stack is Stack.HOST and not sandbox.extra_hosts else ""
