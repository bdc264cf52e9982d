"""Follows the host: VPNs, DHCP, roaming, other programs' sysctls. One task, woken by notifications and by a slow poll.

It keeps what is known of the host current (`host_look`) and brings what networks need of it to that (`uplinks`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from netcore import limits
from netcore.controller.host_look import HostLook
from netcore.controller.uplinks import Uplinks
from netcore.errors import NetcoreError
from netcore.kernel.host_changes import EVERY_LINK
from netcore.plan.host_state import HostState

log = logging.getLogger(__name__)

OnHostEvent = Callable[[str, str], None]
"""(what happened, to what): `uplinks` with their names, `sysctl` with the path of one that was set again."""

OnHostSettled = Callable[[], Awaitable[object]]
"""Called when something may have changed on the host, and networks have what they need of it now."""


class HostWatcher:
    """See the module."""

    def __init__(self, host: HostLook, uplinks: Uplinks, state: HostState) -> None:
        self._host = host
        self._uplinks = uplinks
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._descriptor: int | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._on_event: OnHostEvent = lambda _action, _name: None
        self._on_settled: OnHostSettled | None = None

    def start(self, on_event: OnHostEvent, on_settled: OnHostSettled | None) -> None:
        """Begin to follow. *on_event* is told what happens, *on_settled* when it has been dealt with."""
        self._on_event, self._on_settled = on_event, on_settled
        self._uplinks.on_set_again = lambda path: on_event("sysctl", path)
        self._descriptor = self._host.changes.descriptor
        self._listen()
        self._task = self._loop.create_task(self._follow())

    def _listen(self) -> None:
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._on_readable)

    def _on_readable(self) -> None:
        # Not read here: what comes in a burst is read together, in `_follow`.
        assert self._descriptor is not None
        self._loop.remove_reader(self._descriptor)
        self._changed.set()

    async def _follow(self) -> None:
        next_poll = self._loop.time() + limits.HOST_POLL
        while True:
            is_poll = False
            try:
                async with asyncio.timeout(limits.SYSCTL_POLL):
                    await self._changed.wait()
            except TimeoutError:
                is_poll = self._loop.time() >= next_poll
                if not is_poll and not await self._uplinks.is_reset():
                    continue
                # What was not announced has to be looked for on all links.
                self._host.expect_sysctls(EVERY_LINK)
            next_poll = self._loop.time() + limits.HOST_POLL
            await asyncio.sleep(limits.HOST_SETTLE)
            self._changed.clear()
            begun = self._loop.time()
            await self._bring_up_to_date(is_poll=is_poll)
            if self._on_settled is not None:
                await self._on_settled()
            self._listen()
            await asyncio.sleep(limits.HOST_LOOK_SHARE * max(0.0, self._loop.time() - begun - limits.HOST_LOOK_FREE))

    async def _bring_up_to_date(self, *, is_poll: bool) -> None:
        before = self._state.facts.uplinks
        try:
            await self._host.refresh(anew=is_poll)
            touched = self._host.touched_sysctls()
            after = self._state.facts.uplinks
            if after != before:
                log.info("uplinks changed from=%s to=%s", ",".join(before) or "none", ",".join(after) or "none")
                self._on_event("uplinks", ",".join(after))
            for old, new in self._host.changes.renamed_links():
                await self._uplinks.rename(old, new)
            await self._uplinks.settle()
            if touched:
                await self._uplinks.check(touched)
        except (NetcoreError, OSError) as error:
            if str(error) != self._problem:
                log.warning("this host's links are not as networks need them reason=%s", error)
            self._problem = str(error)
        else:
            self._problem = None

    def warnings(self) -> tuple[str, ...]:
        """Return what keeps networks from the outside, for the status."""
        return (self._problem,) if self._problem is not None else ()

    async def close(self) -> None:
        """Stop following; what has been set stays as long as the networks do."""
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._host.changes.close()
