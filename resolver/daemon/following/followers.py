"""All sandboxes that follow a program, each with its follower. See `Follower`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from netcore.controller import Controller
from netcore.model import NetnsPath, Owner, Sandbox, SandboxId
from resolver.daemon.events import Events
from resolver.daemon.following import source_text
from resolver.daemon.following.docker import PidOfDocker
from resolver.daemon.following.files import PidInFile
from resolver.daemon.following.follower import Follower
from resolver.daemon.following.programs import PidOfPodman, PidOfSystemd
from resolver.daemon.following.protocol import PidSource
from resolver.daemon.following.source_text import Kind, Source


class Followers:
    """See the module."""

    def __init__(self, controller: Controller, events: Events) -> None:
        self._controller = controller
        self._events = events
        self._followers: dict[SandboxId, Follower] = {}

    def begin_all(self) -> None:
        """Go on following, for a start that has restored what there was."""
        for sandbox in self._controller.state.sandboxes.values():
            self.begin(sandbox)

    def begin(self, sandbox: Sandbox) -> None:
        """Follow what *sandbox* follows, if it follows something; one that is followed is done."""
        if not sandbox.follows or sandbox.id in self._followers:
            return
        self._followers[sandbox.id] = Follower(
            sandbox.id,
            partial(self._source, source_text.parse(sandbox.follows)),
            sandbox=lambda: self._controller.state.sandboxes.get(sandbox.id),
            move=self._move,
            note_leader=self._note_leader,
            run_blocking=self._controller.workers.run,
        )

    def _source(self, source: Source, on_change: Callable[[], None]) -> PidSource:
        match source.kind:
            case Kind.PODMAN:
                return PidOfPodman(source, on_change)
            case Kind.DOCKER:
                return PidOfDocker(source, on_change)
            case Kind.SYSTEMD | Kind.MACHINE:
                return PidOfSystemd(source, on_change)
            case Kind.CONTAINERD | Kind.PIDFILE:
                return PidInFile(source, on_change, self._controller.workers.run)

    async def _move(self, sandbox_id: SandboxId, path: NetnsPath | None, leader: Owner | None) -> None:
        sandbox = await self._controller.sandboxes.move(sandbox_id, path, leader)
        self._events.sandbox_moved(sandbox)

    async def _note_leader(self, sandbox_id: SandboxId, leader: Owner) -> None:
        await self._controller.sandboxes.change(sandbox_id, lambda before: replace(before, leader=leader))

    async def end(self, sandbox_id: SandboxId) -> None:
        """Follow no more for the sake of this sandbox, which is about to go; one that follows nothing is done."""
        follower = self._followers.pop(sandbox_id, None)
        if follower is not None:
            await follower.close()

    def warnings(self) -> tuple[str, ...]:
        """Return what keeps sandboxes from following, a line each."""
        sandboxes = self._controller.state.sandboxes
        return tuple(
            f"sandbox {sandboxes[identity].name} does not get the namespace of {sandboxes[identity].follows}: {follower.problem}"
            for identity, follower in self._followers.items()
            if follower.problem is not None and identity in sandboxes
        )

    async def close(self) -> None:
        """Follow no more; sandboxes stay as they are, for the next daemon to go on."""
        followers, self._followers = [*self._followers.values()], {}
        await asyncio.gather(*(follower.close() for follower in followers))
