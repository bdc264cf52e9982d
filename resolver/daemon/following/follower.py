"""One sandbox that follows a program: attached to each new namespace of it, and waiting in one of its own in between.

A process that is in the host's namespace is waited for: a runtime may not have moved it yet, or never does. The namespace is opened
before the process is looked at for the last time, so it is that of this very process, whatever becomes of its pid.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from netcore.errors import Conflict, NetcoreError, NotFound
from netcore.kernel import netns, process
from netcore.model import NetnsPath, Owner, Sandbox, SandboxId
from resolver import limits
from resolver.daemon.blocking import RunBlocking
from resolver.daemon.following.protocol import CannotTell, PidSource
from resolver.errors import ResolverError

log = logging.getLogger(__name__)

Move = Callable[[SandboxId, NetnsPath | None, Owner | None], Awaitable[None]]
"""Has a sandbox go on in the namespace at a path, where a process is; None: in one of its own."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A process, with descriptors of it and of its network namespace, which are the holder's to close."""

    owner: Owner
    pidfd: int
    netns: int

    def close(self) -> None:
        os.close(self.pidfd)
        os.close(self.netns)


class Follower:
    """See the module. *make_source*: is given what is to be called when the pid may be another one.

    *sandbox*: tells what the sandbox is like now, None if it is gone. *note_leader*: another process of the same namespace leads it.
    """

    def __init__(
        self,
        sandbox_id: SandboxId,
        make_source: Callable[[Callable[[], None]], PidSource],
        *,
        sandbox: Callable[[], Sandbox | None],
        move: Move,
        note_leader: Callable[[SandboxId, Owner], Awaitable[None]],
        run_blocking: RunBlocking,
    ) -> None:
        self._id = sandbox_id
        self._make_source = make_source
        self._sandbox = sandbox
        self._move = move
        self._note_leader = note_leader
        self._run_blocking = run_blocking
        self._woken = asyncio.Event()
        self._source: PidSource | None = None
        self._leader: tuple[Owner, int] | None = None
        self._pause = 0.0
        # A process that is in the host's namespace: it is looked at again without asking the source, which may cost a program.
        self._on_host: int | None = None
        self.problem: str | None = None
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._sandbox() is not None:
                self._woken.clear()
                wait = await self._step()
                try:
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
                except TimeoutError:
                    continue
                # Its source may tell of another process.
                self._on_host = None
        except Exception:
            log.exception("a sandbox is not followed any more id=%s", self._id[:12])
            self.problem = "it failed; see the log of the daemon"
        finally:
            self._forget_leader()
            if self._source is not None:
                await self._source.close()

    async def _step(self) -> float:
        """Do what is to be done now; return the seconds until the next look, if nothing happens before."""
        try:
            if self._source is None:
                self._source = self._make_source(self._woken.set)
            known = self._on_host
            pid = known if known is not None else await self._source.look()
            is_settled = await self._follow(pid)
            self._on_host = None if is_settled else pid
        except CannotTell as error:
            await self._wait_if_ended()
            return self._failed(str(error))
        except (NetcoreError, ResolverError, OSError) as error:
            return self._failed(str(error))
        if is_settled:
            self.problem = None
            self._pause = 0.0
            # A process that has ended in the host's namespace has another one after it, perhaps.
            return 0.0 if known is not None else limits.FOLLOW_LOOK
        # One that has only just begun is on its way to a namespace of its own, perhaps.
        stays = known is not None and self._pause >= limits.FOLLOW_HOST_NAMESPACE[1]
        reason = f"process {pid} is in the host's network namespace, which is never adopted; start it with one of its own"
        self.problem = reason if stays else None
        return self._longer(limits.FOLLOW_HOST_NAMESPACE)

    def _failed(self, reason: str) -> float:
        if reason != self.problem:
            log.warning("a sandbox does not get the namespace of what it follows id=%s reason=%s", self._id[:12], reason)
        self.problem = reason
        return self._longer(limits.FOLLOW_RETRY)

    def _longer(self, bounds: tuple[float, float]) -> float:
        first, most = bounds
        self._pause = min(max(first, 2 * self._pause), most)
        return self._pause

    async def _follow(self, pid: int | None) -> bool:
        """Bring the sandbox to the namespace of *pid*; return False if that is to be looked at again soon."""
        found = await self._run_blocking(lambda: _find(pid)) if pid is not None else None
        if found is None:
            await self._wait_if_ended()
            return True
        try:
            return await self._go_to(found)
        finally:
            found.close()

    async def _go_to(self, found: _Found) -> bool:
        sandbox = self._sandbox()
        if sandbox is None:
            return True
        identity = netns.identity(found.netns)
        if identity == netns.own_identity():
            await self._wait_if_ended()
            return False
        if not sandbox.adopted or netns.identity_of_path(sandbox.netns_path) != identity:
            await self._go_into(found)
        elif sandbox.leader != found.owner:
            await self._note_leader(self._id, found.owner)
        self._watch_leader(found.owner, found.pidfd)
        return True

    async def _go_into(self, found: _Found) -> None:
        path = NetnsPath(f"/proc/self/fd/{found.netns}")
        try:
            await self._move(self._id, path, found.owner)
        except Conflict as error:
            if error.name != path:
                raise
            # The path says nothing to whoever reads it.
            raise Conflict("netns", f"of process {found.owner.pid}", str(error).removeprefix(f"netns {path} ")) from error

    async def _wait_if_ended(self) -> None:
        """Have the sandbox wait in a namespace of its own, unless the process that leads it is there still."""
        sandbox = self._sandbox()
        if sandbox is None or not sandbox.adopted:
            return
        if sandbox.leader is not None:
            leader = sandbox.leader
            try:
                pidfd = await self._run_blocking(lambda: _open(leader))
            except NotFound:
                pass
            else:
                self._watch_leader(leader, pidfd)
                os.close(pidfd)
                return
        self._forget_leader()
        await self._move(self._id, None, None)

    def _watch_leader(self, owner: Owner, pidfd: int) -> None:
        """Wake up when *owner* ends. *pidfd*: is the caller's."""
        if self._leader is not None and self._leader[0] == owner:
            return
        self._forget_leader()
        own = os.dup(pidfd)
        self._leader = owner, own
        self._loop.add_reader(own, self._leader_ended)

    def _leader_ended(self) -> None:
        self._forget_leader()
        self._woken.set()

    def _forget_leader(self) -> None:
        if self._leader is not None:
            self._loop.remove_reader(self._leader[1])
            os.close(self._leader[1])
            self._leader = None

    async def close(self) -> None:
        """Follow no more. The sandbox stays as it is."""
        self._task.cancel()
        await asyncio.wait([self._task])


def _open(owner: Owner) -> int:
    """Return a pidfd of *owner*; NotFound if it has ended, also if its parent has not taken notice yet."""
    pidfd = process.open_pidfd(owner.pid, owner.start_time)
    if _has_ended(pidfd):
        os.close(pidfd)
        raise NotFound("process", str(owner.pid))
    return pidfd


def _has_ended(pidfd: int) -> bool:
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    return bool(ended.poll(0))


def _find(pid: int) -> _Found | None:
    """Return the process *pid* with its namespace, None if there is none. Blocking."""
    try:
        owner = Owner(pid=pid, start_time=process.start_time(pid))
        pidfd = _open(owner)
    except NotFound:
        return None
    try:
        descriptor = netns.open_netns(NetnsPath(f"/proc/{pid}/ns/net"))
    except NotFound:
        os.close(pidfd)
        return None
    except BaseException:
        os.close(pidfd)
        raise
    found = _Found(owner, pidfd, descriptor)
    if _has_ended(pidfd):
        found.close()
        return None
    return found
