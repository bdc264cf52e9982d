"""When the host's firewalls are checked: soon after each change of nftables, and every half minute.

A check writes our own tables again if somebody flushed them (`firewall_repair`), then sees to other programs' firewalls
(`other_firewalls`). With `firewall = "none"` nothing is checked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from netcore import limits
from netcore.errors import NetcoreError
from netcore.kernel.notifications import NFTABLES, Notifications

log = logging.getLogger(__name__)

_SETTLE = 0.2
"""Seconds from a change of nftables to the check: what is loading rules has finished by then."""


class FirewallWatch:
    """Runs *checks* in order, one after the other. *enabled* False: never."""

    def __init__(self, checks: Sequence[Callable[[], Awaitable[None]]], *, enabled: bool) -> None:
        self._checks = checks
        self._enabled = enabled
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._monitor: Notifications | None = None

    def start(self) -> None:
        """Begin to watch. Where changes can't be followed only the interval is left."""
        if not self._enabled:
            return
        try:
            self._monitor = Notifications(NFTABLES)
            self._loop.add_reader(self._monitor.fileno(), self._on_change, self._monitor)
        except OSError as error:
            log.warning("changes of nftables are not noticed at once reason=%s", error)
        self._schedule(limits.FIREWALL_CHECK_INTERVAL)

    def _on_change(self, monitor: Notifications) -> None:
        monitor.drain()
        if self._timer is None or self._timer.when() > self._loop.time() + _SETTLE:
            self._schedule(_SETTLE)

    def _schedule(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._begin)

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self.check())
        self._schedule(limits.FIREWALL_CHECK_INTERVAL)

    async def check(self) -> None:
        """Check now; what fails is logged and tried again with the next check."""
        if not self._enabled:
            return
        try:
            # Two at once would each find a rule missing and put it in.
            async with self._lock:
                for check in self._checks:
                    await check()
        except (NetcoreError, OSError) as error:
            log.warning("firewalls could not be checked reason=%s", error)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor.close()
