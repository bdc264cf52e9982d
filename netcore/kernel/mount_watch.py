"""That something was mounted or unmounted in the mount namespace of this process, as pins of namespaces are.

Spec: proc_pid_mountinfo(5): the file is ready for "priority" reading after each change.
"""

from __future__ import annotations

import os
import select


class MountWatch:
    """OSError if there is no descriptor left."""

    def __init__(self) -> None:
        self._table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        # The file can always be read, so a loop that waits for that would never sleep.
        self._epoll.register(self._table, select.EPOLLPRI | select.EPOLLET)
        self.drain()

    def fileno(self) -> int:
        """Return the descriptor that is readable once something has changed."""
        return self._epoll.fileno()

    def drain(self) -> None:
        """Make the descriptor readable again at the next change only. Whoever waited for it knows that there was one."""
        self._epoll.poll(0)

    def close(self) -> None:
        """Stop watching."""
        self._epoll.close()
        os.close(self._table)
