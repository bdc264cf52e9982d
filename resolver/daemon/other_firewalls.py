"""Other programs' firewalls on this host: our one rule in those that have a place for it, a warning about the others.

The rule is put in while there are networks that need it, and taken away with the last one. What only the owner of a
firewall can do is a warning in `berth status` and in the answer to a connect. `netcore.controller.drift.watch` says when to check.

What was seen is remembered until somebody else changes nftables: networks come and go without a look and without a program run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from netcore import drivers
from netcore.desired.host_rules import open_ports
from netcore.desired.other_firewalls import Measure, Missing, Seen, measures, needed_without_firewall
from netcore.kernel import other_firewalls
from netcore.kernel.foreign_commits import ForeignCommits
from netcore.kernel.host_sockets import HostSockets
from netcore.model import BridgeOptions, Network
from resolver.daemon.blocking import RunBlocking

log = logging.getLogger(__name__)


class OtherFirewalls:
    """See the module. *networks*: all networks of now. *bridges*: the links of those that lead outside.

    *enabled*: False with `firewall = "none"`, where nothing is changed.
    """

    def __init__(
        self,
        run_blocking: RunBlocking,
        networks: Callable[[], Iterable[Network]],
        bridges: Callable[[], Iterable[str]],
        *,
        enabled: bool,
    ) -> None:
        self._run_blocking = run_blocking
        self._networks = networks
        self._bridges = bridges
        self._enabled = enabled
        # A network that was removed a moment ago would have the close of a socket wait.
        self._sockets = HostSockets()
        self._commits: ForeignCommits | None = None
        self._seen: Seen | None = None
        self._applied: frozenset[Measure] = frozenset()
        self._stayed: frozenset[Measure] = frozenset()
        self._leaving: asyncio.Task[None] | None = None
        self._problems: tuple[str, ...] = ()

    def _bridge_networks(self) -> list[tuple[Network, str]]:
        """Return the networks whose packets the host's firewalls see, each with the name of its link on the host."""
        attached = [(network, drivers.of(network).host_link(network)) for network in self._networks()]
        return [(network, link.name) for network, link in attached if link is not None and link.routed]

    async def check(self, *, anew: bool = False) -> None:
        """Put our rules where they belong, after a look at the other firewalls if those may have changed. A new problem is logged once.

        *anew*: look whatever was seen before. What is superfluous is taken away behind the reply, and waited for only by what
        needs to know: a look, or a rule that is to be put in again.
        """
        if not self._enabled:
            return
        bridges = tuple(self._bridges())
        seen = await self._look(anew=anew) if bridges else Seen()
        wanted = measures(seen, bridges)
        rules = [measure for measure in wanted if not isinstance(measure, Missing)]
        failed = await self._put(seen, [rule for rule in rules if rule not in seen.in_place])
        superfluous, self._applied = self._applied.difference(rules), frozenset(rules)
        if superfluous:
            if self._seen is not None:
                self._seen = replace(self._seen, in_place=self._seen.in_place - superfluous)
            self._leaving = asyncio.create_task(self._leave(superfluous, self._leaving))
        problems = (*failed, *(str(measure) for measure in wanted if isinstance(measure, Missing)))
        for problem in problems:
            if problem not in self._problems:
                log.warning("another firewall drops traffic of ours problem=%s", problem)
        self._problems = problems

    async def _look(self, *, anew: bool) -> Seen:
        has_changed, seen = self._has_changed(), self._seen
        if seen is None or anew or has_changed:
            # What changed is told once: if this is cancelled, nothing is remembered.
            self._seen = None
            await self._until_left()
            self._seen = seen = await self._run_blocking(lambda: other_firewalls.look(self._sockets))
        return seen

    async def _put(self, seen: Seen, lacking: list[Measure]) -> list[str]:
        """Put rules in; return a sentence for each that failed. Unless all went well the next check looks again."""
        if not lacking:
            return []
        self._seen = None
        await self._until_left()
        failed = await self._run_blocking(lambda: other_firewalls.put(lacking))
        if not failed:
            self._seen = replace(seen, in_place=seen.in_place.union(lacking))
        return failed

    def _has_changed(self) -> bool:
        """Return whether somebody else may have changed a firewall since the last call."""
        if self._commits is None:
            try:
                self._commits = ForeignCommits()
            except OSError:
                return True
        return self._commits.came() or other_firewalls.is_silent()

    async def _leave(self, superfluous: frozenset[Measure], earlier: asyncio.Task[None] | None = None) -> None:
        """Take rules away when *earlier* has; the next check tries again with those that may have stayed."""
        if earlier is not None:
            await asyncio.wait([earlier])
        stayed = await self._run_blocking(lambda: other_firewalls.withdraw(superfluous))
        if stayed:
            self._applied |= stayed
            self._seen = None
        for rule in stayed - self._stayed:
            log.warning("a rule of ours in another firewall could not be removed rule=%s", rule)
        self._stayed = stayed

    async def _until_left(self) -> None:
        if self._leaving is not None:
            # Who waits may be cancelled, which must not be the end of it.
            await asyncio.wait([self._leaving])

    def warnings(self) -> tuple[str, ...]:
        """Return what other firewalls drop and which rule is missing; with `firewall = "none"` what the host needs."""
        if self._enabled:
            return self._problems
        lines: list[str] = []
        for network, link in self._bridge_networks():
            for pool in network.pools:
                access = open_ports(network) if isinstance(network.driver_options, BridgeOptions) else None
                lines += needed_without_firewall(link, str(pool.subnet), internal=network.internal, host_access=access)
        return tuple(f'firewall = "none": {line}' for line in dict.fromkeys(lines))

    async def withdraw(self) -> None:
        """Take our rules away, at the end."""
        await self._until_left()
        applied, self._applied, self._seen = self._applied, frozenset(), None
        if applied:
            await self._leave(applied)

    async def close(self) -> None:
        """Finish what is under way. Rules stay."""
        await self._until_left()
        if self._commits is not None:
            self._commits.close()
        await self._run_blocking(self._sockets.close)
