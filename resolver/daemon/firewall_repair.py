"""Our own firewall tables at run time: written again when somebody flushed them, as `nft flush ruleset` does."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from netcore.kernel import nft, other_firewalls
from resolver.daemon.blocking import RunBlocking

log = logging.getLogger(__name__)

_REMOVE_TABLES = "".join(f"table {family} berth {{\n}}\ndelete table {family} berth\n" for family in ("inet", "bridge"))
"""Declares each table first: deleting one that is not there is an error."""


class FirewallRepair:
    """See the module. *count_networks*: how many need the tables. *rewrite*: write both tables anew from what must exist."""

    def __init__(self, run_blocking: RunBlocking, count_networks: Callable[[], int], rewrite: Callable[[], Awaitable[None]]) -> None:
        self._run_blocking = run_blocking
        self._count_networks = count_networks
        self._rewrite = rewrite

    async def check(self) -> None:
        """Write the tables again if they are needed and not whole."""
        if not self._count_networks() or await self._run_blocking(other_firewalls.is_firewall_whole):
            return
        await self._rewrite()
        log.warning("firewall tables were gone and are written again networks=%d", self._count_networks())

    async def remove(self) -> None:
        """Remove both tables; for an exit that leaves no network behind."""
        await self._run_blocking(lambda: nft.apply_text(_REMOVE_TABLES))
