"""Forwarding on the links that traffic leaves by, for all networks together: the only place that changes sysctls of others' links.

What a sysctl was before is recorded before it is changed for the first time, and put back with the last network that
needs it, also by a later run after a crash. While it is needed, it is set again when another program changes it back,
as often as `plan.drift` allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from netcore import drivers
from netcore.controller.locks import KeyedLocks
from netcore.controller.state_writer import StateWriter
from netcore.controller.workers import Workers
from netcore.desired.diff import Step, diff
from netcore.desired.objects import HOST, Element, KernelObject, Sysctl
from netcore.drivers import uplinks
from netcore.drivers.facts import Facts
from netcore.drivers.uplinks import SwitchedSysctl
from netcore.errors import NetcoreError
from netcore.kernel import sysctl
from netcore.kernel.apply import Executor
from netcore.kernel.host_changes import EVERY_LINK
from netcore.model import Network, NetworkId
from netcore.plan.drift import UPLINKS, Concern, Damage, Part, Repairs
from netcore.plan.host_state import is_routed
from netcore.store.records import Records

log = logging.getLogger(__name__)

_LOCK = "uplinks"


_LEFT = "traffic of sandboxes fails. Find what changes it, or set the sysctl yourself"


class Uplinks:
    """See the module. *clock*: seconds since the epoch."""

    def __init__(
        self,
        *,
        repairs: Repairs,
        writer: StateWriter,
        records: Records,
        workers: Workers,
        executor: Executor,
        locks: KeyedLocks,
        clock: Callable[[], float],
    ) -> None:
        self._repairs = repairs
        self._writer = writer
        self._state = writer.state
        self._records = records
        self._workers = workers
        self._executor = executor
        self._locks = locks
        self._clock = clock
        self._users: set[NetworkId] = set()
        self._routed: dict[int, dict[NetworkId, Network]] = {4: {}, 6: {}}
        self._applied: tuple[KernelObject, ...] = ()
        self.on_set_again: Callable[[str], None] = lambda _: None

    # --- what networks need -------------------------------------------------------------------------------------

    def preview(self, network: Network) -> tuple[Step, ...]:
        """Return the steps that *network* would need here."""
        return diff(self._applied, self._wanted([network] if is_routed(network) else []))

    async def need(self, network: Network) -> None:
        """Let packets of *network* leave the host; raises if that can't be."""
        self._add(network)
        await self.settle()

    def _add(self, network: Network) -> None:
        self._users.add(network.id)
        if is_routed(network):
            for family, has_family in ((4, network.ipv4), (6, network.ipv6)):
                if has_family:
                    self._routed[family][network.id] = network

    def _wanted(self, more: Iterable[Network] = ()) -> tuple[KernelObject, ...]:
        """Return what the users, and *more* routed networks, need."""
        # What the first of each family needs serves all others, of which there may be thousands.
        leading = (next(iter(networks.values())) for networks in self._routed.values() if networks)
        return uplinks.objects([*leading, *more], self._state.facts, self._state.switched)

    async def release(self, network: Network) -> None:
        """Take back what nobody needs without *network*."""
        self._users.discard(network.id)
        for networks in self._routed.values():
            networks.pop(network.id, None)
        await self.settle()

    async def restore(self, switched: Iterable[SwitchedSysctl], networks: Iterable[Network]) -> None:
        """Go on from what an earlier run left. The firewall has been written by now."""
        for network in networks:
            self._add(network)
        left = [Sysctl(sandbox_id=HOST, path=one.path, value=one.value, original=one.original, optional=True) for one in switched]
        guards = [guard for guard in self._wanted() if isinstance(guard, Element)]
        self._applied = (*left, *guards)
        await self.settle()
        await self.check({EVERY_LINK}, is_start=True)

    async def settle(self) -> None:
        """Bring the uplinks to what the networks need by what is known of the host; TeardownFailed, KernelError, Unavailable."""
        async with self._locks.hold([_LOCK]):
            await self._give_up(uplinks.taken_over(self._state.facts, self._state.switched))
            wanted = self._wanted()
            steps = diff(self._applied, wanted)
            changes = [step for step in steps if step.after is not None]
            fresh = await self._record(changes)
            try:
                if changes:
                    await self._workers.run(lambda: self._executor.apply(changes))
            except NetcoreError:
                # The executor has taken back what it did.
                await self._give_up(fresh)
                raise
            deletions = [step for step in steps if step.after is None]
            before, self._applied = self._applied, wanted
            self._note_taken_back(before, changes)
            if not self._users:
                self._repairs.forget(UPLINKS)
            if deletions:
                try:
                    await self._workers.run(lambda: self._executor.remove(deletions, "forwarding on this host's links"))
                finally:
                    gone = {step.before.path for step in deletions if isinstance(step.before, Sysctl)}
                    if self._users:
                        paths = [*gone]
                        # What is not there may be there by another name (`rename`): it has not been put back then.
                        gone &= (await self._workers.run(lambda: sysctl.read_all(paths))).keys()
                    await self._give_up([one for one in [*self._state.switched.values()] if one.path in gone])

    async def rename(self, old: str, new: str) -> None:
        """Take note that a link has another name: its sysctls keep their values, and have other paths."""
        async with self._locks.hold([_LOCK]):
            before = [one for one in self._state.switched.values() if uplinks.of_renamed_link(one.path, old, new) != one.path]
            after = [replace(one, path=uplinks.of_renamed_link(one.path, old, new)) for one in before]
            if after:
                await self._records.put_switched(after)
            for one in after:
                self._writer.put_switched(one)
            await self._give_up(before)
            self._applied = tuple(
                replace(one, path=uplinks.of_renamed_link(one.path, old, new)) if isinstance(one, Sysctl) else one for one in self._applied
            )

    async def _record(self, changes: Sequence[Step]) -> list[SwitchedSysctl]:
        """Record what sysctls are before they are changed: a crash may come at any time. Return those that were not recorded."""
        fresh = [
            SwitchedSysctl(
                path=wanted.path,
                value=wanted.value,
                original=wanted.original,
                everywhere=self._state.facts.sysctls.get(uplinks.everywhere(wanted.path) or ""),
            )
            for step in changes
            if isinstance(wanted := step.after, Sysctl) and wanted.original is not None and wanted.path not in self._state.switched
        ]
        if fresh:
            await self._records.put_switched(fresh)
        for switched in fresh:
            self._writer.put_switched(switched)
        return fresh

    async def _give_up(self, switched: Sequence[SwitchedSysctl]) -> None:
        """Forget sysctls that are back to what they were, or that are no longer ours to put back."""
        for one in switched:
            self._writer.drop_switched(one.path)
        if switched:
            await self._records.drop_switched(switched)

    # --- what other programs change -----------------------------------------------------------------------------

    def _note_taken_back(self, before: Collection[KernelObject], changes: Sequence[Step]) -> None:
        """Note sysctls that were on without us, and that somebody has switched off since."""
        known = {existing.key: existing for existing in before}
        taken = {
            _damage(after, UPLINKS, ""): after
            for after in (step.after for step in changes)
            if isinstance(after, Sysctl)
            and after.original is not None
            and isinstance(was := known.get(after.key), Sysctl)
            and was.original is None
        }
        self._say_set_again(taken)

    async def check(self, links: Collection[str], *, is_start: bool = False) -> None:
        """Set sysctls again that another program has changed. *links*: whose networks are looked at; EVERY_LINK among them: all.

        Sysctls of the links that traffic leaves by are always looked at.
        """
        async with self._locks.hold([_LOCK]):
            networks, facts, shared = self._networks_on(links), self._state.facts, self._applied
            wrong = await self._workers.run(lambda: _find_wrong(networks, facts, shared))
            chosen, given_up = ([*wrong], []) if is_start else self._repairs.choose(wrong, self._clock())
            if chosen:
                await self._workers.run(lambda: self._executor.apply([Step(None, wrong[damage]) for damage in chosen]))
            if not is_start:
                for damage in given_up:
                    log.warning("sysctl is left alone, because another program keeps changing it back object=%s", damage.describe())
                self._say_set_again({damage: wrong[damage] for damage in chosen})
                self._repairs.settle(UPLINKS, wrong, self._clock())

    def _networks_on(self, links: Collection[str]) -> list[Network]:
        """Return the networks with objects here that are attached to one of *links*; EVERY_LINK among them: all."""
        if EVERY_LINK in links:
            return self._state.networks_here()
        on_them = {network.id: None for link in links for network in self._state.indexes.known.on_link(link)}
        here = map(self._state.network_here, on_them)
        return [network for network in here if network is not None]

    async def is_reset(self) -> bool:
        """Return whether IPv6 forwarding has been switched off for all links at once.

        The kernel does so whenever somebody writes 0 to `net/ipv6/conf/all/forwarding`, and announces nothing if that was 0 before.
        """
        path = next((one.path for one in self._applied if isinstance(one, Sysctl) and uplinks.everywhere(one.path) == uplinks.ALL6), None)
        return path is not None and await self._workers.run(lambda: sysctl.read(path)) == "0"

    def _say_set_again(self, sysctls: Mapping[Damage, Sysctl]) -> None:
        for damage, wanted in sysctls.items():
            self._repairs.done(damage, self._clock(), None)
            log.warning("sysctl was set again after another program had changed it object=%s", damage.describe())
            self.on_set_again(wanted.path)


def _find_wrong(networks: Sequence[Network], facts: Facts, shared: Sequence[KernelObject]) -> dict[Damage, Sysctl]:
    """Return the sysctls of the host that have not the value that they should. Blocking."""
    wanted = [(one, UPLINKS, "") for one in shared]
    for network in networks:
        own = drivers.of(network).network_objects(network, facts)
        wanted += [(one, Concern(Part.NETWORK, network.id), network.name) for one in own]
    return {
        _damage(one, concern, owner): one
        for one, concern, owner in wanted
        if isinstance(one, Sysctl) and not one.dispensable and sysctl.read(one.path) not in (one.value, None)
    }


def _damage(wanted: Sysctl, concern: Concern, owner: str) -> Damage:
    return Damage(key=wanted.key, kind="sysctl", description=wanted.describe(), concern=concern, owner=owner, consequence=_LEFT)
