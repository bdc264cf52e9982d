"""The files and the pinned namespace of one sandbox: made, and removed. Blocking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

from netcore.desired import hostsfile
from netcore.kernel import files, namespace, netns
from netcore.model import NetnsPath, Sandbox, Stack


def make(sandbox: Sandbox, directory: PurePath) -> None:
    """Make the sandbox's directory with its hosts and hostname files; with a shared stack those of the other serve."""
    place = Path(directory)
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    if sandbox.stack is Stack.SHARED:
        return
    inherited = files.read_if_there("/etc/hosts") if sandbox.stack is Stack.HOST and not sandbox.extra_hosts else ""
    files.write_in_place(str(place / "hosts"), inherited)
    files.write_in_place(str(place / "hostname"), hostsfile.render_hostname(sandbox.hostname))


def pin(sandbox: Sandbox, *, adopted: str | None, shared: NetnsPath | None, taken: Mapping[str, NetnsPath]) -> None:
    """Pin the sandbox's namespace at its path: one that exists at *adopted*, the one pinned at *shared*, the host's, or a new one.

    *taken*: sandbox name → path of its namespace, none of which may be adopted again.
    """
    if shared is not None:
        namespace.share(shared, sandbox.netns_path)
    elif sandbox.stack is Stack.HOST:
        namespace.share(netns.OWN, sandbox.netns_path)
    elif adopted is None:
        namespace.make(sandbox.netns_path)
    else:
        namespace.adopt(adopted, sandbox.netns_path, taken)


def unpin(sandbox: Sandbox) -> None:
    """Let go of the sandbox's namespace; it ends when nobody else holds it."""
    netns.unpin(sandbox.netns_path)


def remove(directory: PurePath) -> None:
    """Remove the sandbox's directory with the files in it; one that is not there is done."""
    place = Path(directory)
    for path in place.glob("*"):
        path.unlink(missing_ok=True)
    if place.is_dir():
        place.rmdir()
