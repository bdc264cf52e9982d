"""The host's resolv.conf, followed live: the file, its directory, and where a symbolic link leads (W-21)."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from resolver import limits, resolvconf
from resolver.errors import ConfigError
from resolver.resolvconf import ResolvConf

log = logging.getLogger(__name__)

_MASK = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800  # written, attributes, moved, created, deleted
_SETTLE = 0.05
_STUB, _BEHIND_STUB = "127.0.0.53", "/run/systemd/resolve/resolv.conf"
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC


class HostResolvConf:
    """The content of the host's resolv.conf at *path*; `follow` keeps it current."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.content = _read(path)
        self._descriptor = -1
        self._watches: dict[int, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)

    def behind_stub(self) -> tuple[str, ResolvConf]:
        """Return (path, content) for a sandbox, which can't reach the host's loopback: what systemd-resolved's stub forwards to (RC-1)."""
        if self.content.nameservers == (_STUB,):
            content = _read(_BEHIND_STUB)
            if content.nameservers:
                return _BEHIND_STUB, content
        return self.path, self.content

    def follow(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Call *on_change* after each change of the content, until `close` is called."""
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        self._descriptor = self._libc.inotify_init1(_NONBLOCK)
        if self._descriptor < 0:
            log.warning("host resolv.conf is not followed path=%s reason=no inotify descriptor", self.path)
            return
        self._loop.add_reader(self._descriptor, self._on_event)
        self._watch()

    def _watch(self) -> None:
        """Watch the directory of the file and of each link on the way to it; directories see replaced files."""
        directories = set()
        path = Path(self.path).absolute()
        for _ in range(16):
            directories.add(str(path.parent))
            try:
                target = path.readlink()
            except OSError:
                break
            path = Path(os.path.normpath(path.parent / target))
        for directory in directories - set(self._watches.values()):
            watch = self._libc.inotify_add_watch(self._descriptor, directory.encode(), _MASK)
            if watch >= 0:
                self._watches[watch] = directory

    def _on_event(self) -> None:
        try:
            octets = os.read(self._descriptor, 65_536)
        except BlockingIOError:
            return
        at = 0
        while at + 16 <= len(octets):
            watch, mask, _, size = struct.unpack_from("iIII", octets, at)
            at += 16 + size
            if mask & 0x8000:
                self._watches.pop(watch, None)
        # Editors and DHCP clients write in several steps: read when they are done.
        if self._timer is None:
            self._timer = self._loop.call_later(_SETTLE, self._look)

    def _look(self) -> None:
        self._timer = None
        self._watch()
        content = _read(self.path)
        if content != self.content:
            self.content = content
            log.info("host resolv.conf changed path=%s nameservers=%s", self.path, ",".join(content.nameservers))
            self._task = self._loop.create_task(self._changed())

    async def _changed(self) -> None:
        await self._on_change()

    def close(self) -> None:
        """Stop following."""
        if self._timer is not None:
            self._timer.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _read(path: str) -> ResolvConf:
    """Return the content of the file; a missing or broken one counts as empty (RC-2)."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return resolvconf.parse(file.read(limits.RESOLV_CONF), path)
    except OSError:
        return ResolvConf()
    except ConfigError as error:
        log.warning("host resolv.conf is not used path=%s reason=%s", path, error.problems[0][1])
        return ResolvConf()
