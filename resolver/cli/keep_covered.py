"""Keeps the files of a sandbox over the host's while it runs, whatever happens to the host's.

Programs replace /etc/resolv.conf and /etc/hosts by renaming a new file over them (NetworkManager, DHCP clients, `sed -i`).
The kernel then takes away all mounts on the old file, in every mount namespace, and the sandbox would read the host's.

Spec: inotify(7), F_SETOWN in fcntl(2); "mount points in other mount namespaces" in rename(2), unlink(2) since Linux 3.18.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping
from typing import Any

from resolver.cli import mounts
from resolver.cli.system_calls import EnterFailed, check

_ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x4, 0x40, 0x80, 0x100, 0x200
_CHANGES = _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


def begin(sandbox: Mapping[str, Any]) -> None:
    """Watch the directory of the files, and cover again what is no longer covered. For the first process of a sandbox.

    SIGIO tells of a change; the process may wait for its children meanwhile. EnterFailed if it can't be watched.
    """
    descriptor = check(_libc.inotify_init1(_NONBLOCK), "watching /etc")
    check(_libc.inotify_add_watch(descriptor, b"/etc", _CHANGES), "watching /etc")

    def look(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(descriptor, 65_536):
                pass
        # Nobody is there to be told of a failure; the next change is another occasion.
        with contextlib.suppress(OSError, EnterFailed):
            mounts.cover_files(sandbox)

    signal.signal(signal.SIGIO, look)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    # What changed before it was watched.
    look()
