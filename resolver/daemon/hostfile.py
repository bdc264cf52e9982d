"""The host's resolv.conf, followed live: the file, and every directory and symbolic link on the way to it (W-21).

A directory tells when the next part of the way is made, removed, replaced or renamed; the file itself when it is written,
which its directory does not if it is written by another name, such as the source of a bind mount. What is not announced at
all is found by a look every few seconds.

Spec: inotify(7).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from netcore.kernel import files, inotify
from resolver import limits, resolvconf
from resolver.resolvconf import ResolvConf

log = logging.getLogger(__name__)

_GONE = inotify.DELETE_SELF | inotify.MOVE_SELF
_FILE = inotify.MODIFY | inotify.CLOSE_WRITE | inotify.ATTRIB | _GONE
"""Written, closed after writing, attributes changed, removed, moved."""
_DIRECTORY = inotify.MOVED_FROM | inotify.MOVED_TO | inotify.CREATE | inotify.DELETE | inotify.ATTRIB | _GONE | inotify.DIRECTORIES_ONLY
"""An entry moved away, moved here, made, removed or changed in its attributes, the directory removed or moved; directories only."""
_SETTLE = 0.05
"""Seconds from a notification to the look: editors and DHCP clients write in several steps."""
_LINKS = 40
"""Symbolic links that the kernel follows (path_resolution(7))."""
_STUB, _BEHIND_STUB = "127.0.0.53", "/run/systemd/resolve/resolv.conf"


@dataclass(frozen=True, slots=True)
class Way:
    """What lies on the way to a file. *entries*: of each directory, the names that matter; *file*: its real path, if it exists."""

    entries: dict[str, set[str]] = field(default_factory=dict)
    file: str | None = None


def way_to(path: str) -> Way:
    """Return the way to *path* as far as it exists."""
    entries: dict[str, set[str]] = {}
    parts = [*Path(path).absolute().parts[1:]]
    at, links = Path("/"), 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            at = at.parent
            continue
        entries.setdefault(str(at), set()).add(part)
        here = at / part
        try:
            target = here.readlink() if here.is_symlink() else None
            here.lstat()
        except OSError:
            return Way(entries)
        if target is None:
            at = here
            continue
        links += 1
        if links > _LINKS:
            return Way(entries)
        if target.is_absolute():
            at, parts = Path("/"), [*target.parts[1:], *parts]
        else:
            parts = [*target.parts, *parts]
    return Way(entries, str(at))


class HostResolvConf:
    """The content of the host's resolv.conf at *path*; `follow` keeps it current."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.content = read(path)
        self._stub: ResolvConf | None = read(_BEHIND_STUB) if self._is_stub() else None
        self._descriptor = -1
        self._watches: dict[int, set[str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._told = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def problems(self) -> list[str]:
        """Return what of the file is not used, and why, a line each. That there is none is no problem (RC-2)."""
        return [f"{self.path}: {problem}" for problem in self.content.problems]

    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Return the host's name servers, which no new pool may cover (rule IP-4)."""
        return tuple(ip_address(server.partition("%")[0]) for server in self.content.nameservers)

    def behind_stub(self) -> tuple[str, ResolvConf]:
        """Return (path, content) for a sandbox, which can't reach the host's loopback: what systemd-resolved's stub forwards to (RC-1)."""
        if self._stub is not None and self._stub.nameservers:
            return _BEHIND_STUB, self._stub
        return self.path, self.content

    def _is_stub(self) -> bool:
        return self.content.nameservers == (_STUB,)

    def follow(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Call *on_change* after each change of the content, until `close` is called."""
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        try:
            self._descriptor = inotify.open_descriptor()
        except OSError:
            log.warning("changes of the host resolv.conf are not noticed at once path=%s reason=no inotify descriptor", self.path)
        else:
            self._loop.add_reader(self._descriptor, self._on_event)
        self._log_problems()
        # It may have changed since it was read.
        self._look()

    def _watch(self) -> None:
        """Watch what is on the way now. A watch belongs to an inode: what has been replaced has to be watched anew."""
        if self._descriptor < 0:
            return
        watches: dict[int, set[str]] = {}
        for path in (self.path, _BEHIND_STUB) if self._is_stub() else (self.path,):
            way = way_to(path)
            for directory, names in way.entries.items():
                watch = inotify.add(self._descriptor, directory, _DIRECTORY)
                watches.setdefault(watch, set()).update(names)
            if way.file is not None:
                watches[inotify.add(self._descriptor, way.file, _FILE)] = set()
        watches.pop(-1, None)
        for watch in self._watches.keys() - watches.keys():
            inotify.remove(self._descriptor, watch)
        self._watches = watches

    def _on_event(self) -> None:
        matters = False
        for event in inotify.read(self._descriptor):
            if event.mask & inotify.IGNORED:
                continue
            names = self._watches.get(event.watch)
            # Without a name it is about the directory or the file itself, or notifications were lost (watch -1).
            matters = matters or not event.name or (names is not None and event.name in names)
        if matters and self._timer is None:
            self._timer = self._loop.call_later(_SETTLE, self._look)

    def _look(self) -> None:
        for timer in (self._timer, self._poll):
            if timer is not None:
                timer.cancel()
        self._timer = None
        self._poll = self._loop.call_later(limits.RESOLV_CONF_POLL, self._look)
        before = (self.content, self._stub)
        # First the watches: what changes after the file was read is announced.
        self._watch()
        self.content = read(self.path)
        if self._is_stub() != (before[1] is not None):
            self._watch()
        self._stub = read(_BEHIND_STUB) if self._is_stub() else None
        if (self.content, self._stub) != before:
            log.info("host resolv.conf changed path=%s nameservers=%s", self.path, ",".join(self.content.nameservers))
            if self.content.problems != before[0].problems:
                self._log_problems()
            task = self._loop.create_task(self._changed())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _log_problems(self) -> None:
        for problem in self.content.problems:
            log.warning("host resolv.conf is not understood path=%s reason=%s", self.path, problem)

    async def _changed(self) -> None:
        async with self._told:
            await self._on_change()

    def close(self) -> None:
        """Stop following."""
        for timer in (self._timer, self._poll):
            if timer is not None:
                timer.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def read(path: str) -> ResolvConf:
    """Return the content of the file; a missing one counts as empty (RC-2). Never blocks: only regular files are read."""
    try:
        octets = files.read_octets(path, limits.RESOLV_CONF + 1, follow=True)
    except FileNotFoundError:
        return ResolvConf()
    except files.NotRegular:
        return ResolvConf(problems=("is not a regular file and is not read",))
    except OSError as error:
        return ResolvConf(problems=(f"can't be read: {error.strerror}",))
    if len(octets) <= limits.RESOLV_CONF:
        return resolvconf.parse(octets.decode(errors="replace"))
    whole_lines = octets[: octets.rfind(b"\n", 0, limits.RESOLV_CONF) + 1]
    content = resolvconf.parse(whole_lines.decode(errors="replace"))
    problem = f"is longer than {limits.RESOLV_CONF} octets; what follows is not read"
    return replace(content, problems=(problem, *content.problems))
