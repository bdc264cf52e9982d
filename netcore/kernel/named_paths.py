"""Where a sandbox is found by its name: `RUN/by-name/NAME`, and `/etc/netns/berth-NAME`, which `ip netns exec` lays over /etc.

Both are symbolic links to what is in the sandbox's directory, which is called by its id, so that they can follow a rename. None of
them is needed for a sandbox to work: what can't be written is told of in the log. Blocking.

Spec: ip-netns(8).
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass

from netcore.model import NetnsPath

log = logging.getLogger(__name__)

NETNS = "netns"
"""In the directory of a sandbox, a symbolic link to where its namespace is pinned now."""
_OF_ETC = ("hosts", "hostname", "resolv.conf", "nsswitch.conf")
"""What a sandbox has in the place of files below /etc."""
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


@dataclass(frozen=True, slots=True)
class Named:
    """A sandbox called *name*. *files*: the directory of its files, another one's if it shares that one's stack."""

    name: str
    netns_path: NetnsPath
    files: str


class NamedPaths:
    """See the module. *etc_directory*: `/etc/netns`, or "" to write nothing there."""

    def __init__(self, run_directory: str, etc_directory: str) -> None:
        self._directory = f"{run_directory}/by-name"
        self._of_sandboxes = f"{run_directory}/sandboxes/"
        self._etc = etc_directory

    def put(self, named: Named, *, owns_files: bool) -> None:
        """Have a sandbox be found by its name, and by no other path. *owns_files*: it shares nobody's stack."""
        try:
            if owns_files:
                _link(f"{named.files}/{NETNS}", named.netns_path)
            os.makedirs(self._directory, mode=0o755, exist_ok=True)
            # Relative, so that a container that sees the run directory somewhere else can follow it.
            _link(f"{self._directory}/{named.name}", os.path.relpath(named.files, self._directory))
            if self._etc:
                self._put_below_etc(named)
        except OSError as error:
            log.warning("sandbox is not found by its name sandbox=%s reason=%s: %s", named.name, error.strerror, error.filename)

    def _put_below_etc(self, named: Named) -> None:
        directory = self._below_etc(named.netns_path)
        os.makedirs(directory, mode=0o755, exist_ok=True)
        for name in _OF_ETC:
            path = f"{directory}/{name}"
            # Only what the host has is written for a sandbox and can be covered: nothing else may be in this directory.
            if name == "nsswitch.conf" and not os.path.exists("/etc/nsswitch.conf"):
                continue
            target = f"{named.files}/{name}"
            if not _new_link(path, target) and self._is_ours(path):
                _link(path, target)

    def drop(self, name: str, netns_path: NetnsPath) -> None:
        """Have nothing be found by the name of a sandbox that is gone, or that has another name by now."""
        try:
            _unlink(f"{self._directory}/{name}")
            if self._etc:
                self._drop_below_etc(self._below_etc(netns_path))
        except OSError as error:
            log.warning("path of a sandbox that is gone is left sandbox=%s reason=%s: %s", name, error.strerror, error.filename)

    def _drop_below_etc(self, directory: str) -> None:
        for name in _names(directory):
            if self._is_ours(f"{directory}/{name}"):
                _unlink(f"{directory}/{name}")
        _remove_if_empty(directory)
        _remove_if_empty(self._etc)

    def keep_only(self, known: Iterable[Named]) -> None:
        """Remove what an earlier daemon has left of sandboxes that are not among *known*."""
        names, directories = set(), set()
        for named in known:
            names.add(named.name)
            directories.add(self._below_etc(named.netns_path))
        try:
            for name in set(_names(self._directory)) - names:
                _unlink(f"{self._directory}/{name}")
            for name in _names(self._etc) if self._etc else ():
                directory = f"{self._etc}/{name}"
                entries = [f"{directory}/{entry}" for entry in _names(directory)]
                if directory not in directories and any(map(self._is_ours, entries)):
                    self._drop_below_etc(directory)
        except OSError as error:
            log.warning("paths of sandboxes that are gone are left reason=%s: %s", error.strerror, error.filename)

    def _below_etc(self, netns_path: NetnsPath) -> str:
        return f"{self._etc}/{os.path.basename(netns_path)}"

    def _is_ours(self, path: str) -> bool:
        """Return whether *path* is a link to a file of a sandbox: everything else is the user's. One that leads nowhere may be of another
        run directory, which is gone.
        """
        target = _target(path) or ""
        return target.startswith(self._of_sandboxes) or ("/sandboxes/" in target and not os.path.exists(path))


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _new_link(path: str, target: str) -> bool:
    """Make *path* a symbolic link to *target*; False if something is there."""
    try:
        os.symlink(target, path)
    except FileExistsError:
        return False
    return True


def _link(path: str, target: str) -> None:
    """Make *path* a symbolic link to *target*, in the place of another one, in one step."""
    if _new_link(path, target) or _target(path) == target:
        return
    directory, name = os.path.split(path)
    # No sandbox is called so.
    new = f"{directory}/.{name}.new"
    _unlink(new)
    os.symlink(target, new)
    os.rename(new, path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in (*_NOT_EMPTY, errno.ENOENT, errno.EBUSY):
            raise
