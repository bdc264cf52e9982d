"""Other programs' firewalls on this host: our one rule in those that have a place for it, a warning about the others.

The rule is put in while there are networks that need it, and taken away with the last one. What only the owner of a
firewall can do is a warning in `berth status` and in the answer to a connect. `netcore.controller.drift.watch` says when to check.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from netcore import drivers
from netcore.desired.host_rules import open_ports
from netcore.desired.other_firewalls import Measure, Missing, needed_without_firewall
from netcore.kernel import other_firewalls
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
        self._applied: tuple[Measure, ...] = ()
        self._problems: tuple[str, ...] = ()

    def _bridge_networks(self) -> list[tuple[Network, str]]:
        """Return the networks whose packets the host's firewalls see, each with the name of its link on the host."""
        attached = [(network, drivers.of(network).host_link(network)) for network in self._networks()]
        return [(network, link.name) for network, link in attached if link is not None and link.routed]

    async def check(self) -> None:
        """Look at the other firewalls, and put our rule where it belongs. A new problem is logged once."""
        if not self._enabled:
            return
        bridges = tuple(self._bridges())
        wanted = await self._run_blocking(lambda: other_firewalls.look(bridges, self._sockets)) if bridges else ()
        superfluous = tuple(measure for measure in self._applied if measure not in wanted)
        failed = await self._run_blocking(lambda: other_firewalls.apply(wanted))
        if superfluous:
            await self._run_blocking(lambda: other_firewalls.withdraw(superfluous))
        problems = (*failed, *(str(measure) for measure in wanted if isinstance(measure, Missing)))
        for problem in problems:
            if problem not in self._problems:
                log.warning("another firewall drops traffic of ours problem=%s", problem)
        self._applied, self._problems = wanted, problems

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
        applied, self._applied = self._applied, ()
        if applied:
            await self._run_blocking(lambda: other_firewalls.withdraw(applied))
        await self._run_blocking(self._sockets.close)
