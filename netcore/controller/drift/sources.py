"""Where notifications come from: rtnetlink and nftables of all namespaces, the directories of sandboxes' files, mounts, xfrm, sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from netcore import limits
from netcore.controller.collaborators import Collaborators
from netcore.controller.drift import inside, notices
from netcore.controller.drift.notices import Expectations, HostNotices
from netcore.desired.objects import KernelObject
from netcore.errors import NetcoreError
from netcore.kernel import all_namespaces, netns, nft, notifications
from netcore.kernel.all_namespaces import AllNamespaces, Notice
from netcore.kernel.file_watch import FileWatch
from netcore.kernel.mount_watch import MountWatch
from netcore.kernel.notifications import Notifications
from netcore.model import NetworkId, Owner, Sandbox, SandboxId, Stack
from netcore.plan.drift import ENCRYPTION, PORTS, UPLINKS, Concern, Part

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What came. *gone*: networks and sandboxes that are no more. *is_incomplete*: some was lost.

    *are_tables_foreign*: somebody else changed nftables on the host.
    """

    concerns: frozenset[Concern]
    gone: frozenset[Concern]
    is_incomplete: bool
    are_tables_foreign: bool


class Sources:
    """See the module. *wake*: is called when there is something to read; again only after `read`."""

    def __init__(self, parts: Collaborators, wake: Callable[[], None]) -> None:
        self._parts = parts
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._links: AllNamespaces | None = None
        self._tables: AllNamespaces | None = None
        self._files: FileWatch[SandboxId] | None = None
        self._mounts: MountWatch | None = None
        self._encryption: Notifications | None = None
        self._are_mounts_changed = False
        self._pins_looked = float("-inf")
        self._later: asyncio.TimerHandle | None = None
        self._is_encryption_changed = False
        self._host = HostNotices()
        self._expected = Expectations()
        self._changed: set[Concern] = set()
        self._nsids: dict[SandboxId, int] = {}
        self._sandboxes: dict[int, SandboxId] = {}
        self._identities: dict[SandboxId, tuple[int, int]] = {}
        self._leaders: dict[SandboxId, Owner | None] = {}

    def start(self) -> None:
        """Begin to listen. What the kernel refuses is compared once a minute only."""
        try:
            self._links = AllNamespaces.links()
            self._tables = AllNamespaces.tables() if self._parts.settings.firewall else None
            self._files = FileWatch()
            self._mounts = MountWatch()
            self._encryption = Notifications(*notifications.ENCRYPTION) if self._parts.settings.vtep is not None else None
        except OSError as error:
            log.warning("changes are not noticed at once reason=%s", error)
        if self._links is not None and not self._links.hears_sandboxes:
            log.warning("changes inside sandboxes are not noticed at once reason=CAP_NET_BROADCAST is missing")
        snapshot = self._parts.host.changes.snapshot
        if snapshot is not None:
            self._host.know(snapshot.links.values())
        state = self._parts.state
        self._parts.sockets.on_note = self._wake
        self._changed = {UPLINKS, *(Concern(Part.SANDBOX, sandbox_id) for sandbox_id in state.sandboxes)}
        self._parts.writer.on_change = self._on_change
        self._listen()
        self._wake()

    def follow_again(self, concerns: Iterable[Concern]) -> None:
        """Listen to what could not be listened to, or was made anew: a directory of a sandbox that somebody deleted, say."""
        self._changed |= {concern for concern in concerns if concern.part is Part.SANDBOX}

    def _on_change(self, concern: Concern | None) -> None:
        if concern is not None:
            self._changed.add(concern)
            self._wake()

    def _all(self) -> tuple[_Source | None, ...]:
        return self._links, self._tables, self._files, self._mounts, self._encryption, self._parts.sockets

    def _sockets(self) -> list[int]:
        return [source.fileno() for source in self._all() if source is not None]

    def _listen(self) -> None:
        for descriptor in self._sockets():
            self._loop.add_reader(descriptor, self._on_readable, descriptor)

    def _on_readable(self, descriptor: int) -> None:
        # What comes in a burst is read together, in `read`.
        self._loop.remove_reader(descriptor)
        if self._mounts is not None and descriptor == self._mounts.fileno():
            self._mounts.drain()
            self._are_mounts_changed = True
        if self._encryption is not None and descriptor == self._encryption.fileno():
            self._encryption.drain()
            self._is_encryption_changed = True
        self._wake()

    async def read(self) -> Told:
        """Return what has come since the last call, and begin to wait for more."""
        pause = self._parts.names.answer_waiting
        links, tables = _read(self._links, pause), _read(self._tables, pause)
        files = self._files.read() if self._files is not None else set()
        # Against what exists now: an operation that has ended meanwhile is no damage.
        gone = await self._follow_state()
        found: set[Concern] = set()
        if links is not None:
            found |= self._host.concerns((notice.message for notice in links if notice.nsid is None), self._expected)
            found |= inside.contradicted(links, self._sandboxes, self._objects_of)
            pause()
        of_tables = notices.of_tables(tables or (), self._sandboxes, nft.own_ports())
        pause()
        found |= of_tables.concerns
        found |= {Concern(Part.SANDBOX, sandbox_id) for sandbox_id in files or ()}
        destroyed = self._parts.sockets.read()
        found |= destroyed - {PORTS}
        if PORTS in destroyed:
            found |= await self._without_port()
        if self._are_mounts_changed and self._pins_due():
            found |= await self._without_pin()
        if self._is_encryption_changed:
            self._is_encryption_changed = False
            found.add(ENCRYPTION)
        self._listen()
        is_incomplete = links is None or tables is None or files is None
        return Told(frozenset(found), gone, is_incomplete, of_tables.is_foreign or tables is None)

    def _objects_of(self, sandbox_id: SandboxId) -> tuple[KernelObject, ...]:
        state = self._parts.state
        return state.lasting_objects_of(sandbox_id) if sandbox_id in state.sandboxes else ()

    def _pins_due(self) -> bool:
        """Return whether pins are to be looked at now: all at once, so not for each sandbox that comes or goes. If not, wake later."""
        now = self._loop.time()
        if now < self._pins_looked + limits.DRIFT_PAUSE:
            if self._later is None:
                self._later = self._loop.call_at(self._pins_looked + limits.DRIFT_PAUSE, self._wake_later)
            return False
        self._are_mounts_changed, self._pins_looked = False, now
        return True

    def _wake_later(self) -> None:
        self._later = None
        self._wake()

    async def _without_port(self) -> set[Concern]:
        """Return the sandboxes that have a published port which nothing holds any more."""
        ports, published = self._parts.host_ports, [(one.id, one.ports) for one in self._parts.state.sandboxes.values() if one.ports]
        return await self._parts.workers.run(lambda: {Concern(Part.SANDBOX, one) for one, mappings in published if ports.lost(mappings)})

    async def _without_pin(self) -> set[Concern]:
        """Return the sandboxes whose namespace is not the one at its path, or is pinned nowhere."""
        pins = [(sandbox.id, sandbox.netns_path) for sandbox in self._parts.state.sandboxes.values() if notices.is_compared(sandbox)]
        found = await self._parts.workers.run(lambda: {sandbox_id: netns.identity_of_path(path) for sandbox_id, path in pins})
        return {
            Concern(Part.SANDBOX, sandbox_id)
            for sandbox_id, identity in found.items()
            if identity is None or identity != self._identities.get(sandbox_id, identity)
        }

    async def _follow_state(self) -> frozenset[Concern]:
        """Take note of networks and sandboxes that came or changed; return those that went."""
        state = self._parts.state
        changed, self._changed = self._changed, set()
        if UPLINKS in changed:
            self._expected.take_networks(state)
        gone = set()
        for concern in changed:
            if concern.part is Part.SANDBOX:
                sandbox_id = SandboxId(concern.identity)
                self._expected.take_sandbox(state, sandbox_id)
                sandbox = state.sandboxes.get(sandbox_id)
                if sandbox is None or not notices.is_compared(sandbox):
                    self._unfollow(sandbox_id)
                    gone.add(concern)
                else:
                    await self._follow(sandbox)
            elif concern.part is Part.NETWORK:
                self._expected.take_network(state, NetworkId(concern.identity))
                if concern.identity not in state.networks:
                    gone.add(concern)
        return frozenset(gone)

    def _unfollow(self, sandbox_id: SandboxId) -> None:
        self._forget_namespace(sandbox_id)
        if self._files is not None:
            self._files.drop(sandbox_id)

    def _forget_namespace(self, sandbox_id: SandboxId) -> None:
        nsid = self._nsids.pop(sandbox_id, None)
        # Another one may have its number by now.
        if nsid is not None and self._sandboxes.get(nsid) == sandbox_id:
            del self._sandboxes[nsid]
        self._identities.pop(sandbox_id, None)
        self._leaders.pop(sandbox_id, None)

    async def _follow(self, sandbox: Sandbox) -> None:
        if self._files is not None and not self._files.is_followed(sandbox.id):
            self._files.follow(sandbox.id, str(self._parts.state.directory_of(sandbox.id)))
        if sandbox.follows and self._leaders.get(sandbox.id) != sandbox.leader:
            # Its namespace may be another one.
            self._forget_namespace(sandbox.id)
        if sandbox.id in self._nsids or sandbox.stack is not Stack.OWN:
            return
        try:
            nsid, identity = await self._parts.workers.run(lambda: all_namespaces.know(sandbox.netns_path))
        except (NetcoreError, OSError):
            # It is gone meanwhile, or its pin is: the comparison says so.
            return
        self._nsids[sandbox.id], self._sandboxes[nsid], self._identities[sandbox.id] = nsid, sandbox.id, identity
        if sandbox.follows:
            self._leaders[sandbox.id] = sandbox.leader

    def close(self) -> None:
        """Stop listening."""
        self._parts.writer.on_change = lambda _: None
        if self._later is not None:
            self._later.cancel()
        for source in self._all():
            if source is not None:
                self._loop.remove_reader(source.fileno())
                source.close()


class _Source(Protocol):
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def _read(source: AllNamespaces | None, pause: Callable[[], None]) -> list[Notice] | None:
    return source.read(pause) if source is not None else []
