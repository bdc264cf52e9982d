"""Keeps the files of a sandbox over the host's while it runs, whatever happens to the host's.

Programs replace /etc/resolv.conf and /etc/hosts by renaming a new file over them (NetworkManager, DHCP clients, `sed -i`).
The kernel then takes away all mounts on the old file, in every mount namespace, and the sandbox would read the host's.

Spec: "mount points in other mount namespaces" in rename(2), unlink(2) since Linux 3.18; setitimer(2).
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from typing import Any

from resolver.cli import mounts
from resolver.cli.system_calls import EnterFailed

_PERIOD = 1.0
"""Seconds between looks. No inotify: a user has 128 instances of it by default, and there may be a thousand sandboxes."""


def begin(sandbox: Mapping[str, Any]) -> None:
    """Look once a second, and cover again what is no longer covered. For the first process of a sandbox.

    SIGALRM makes it look; the process may wait for its children meanwhile.
    """

    def look(*_: object) -> None:
        # Nobody is there to be told of a failure; the next look is another occasion.
        with contextlib.suppress(OSError, EnterFailed):
            mounts.cover_files(sandbox)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _PERIOD, _PERIOD)
