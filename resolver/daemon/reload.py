"""Reading the configuration again while the daemon runs: what takes effect at once, and what waits for the next start.

A file with a mistake changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace

from resolver.daemon.config import DaemonConfig
from resolver.errors import ConfigError

log = logging.getLogger(__name__)

LIVE = frozenset(
    {"dns", "dns_search", "dns_options", "forward", "allow_rebinding", "nat64_prefixes", "log_level", "proxies", "egress", "spare"}
)
"""The keys that take effect at once."""


def reloaded(now: DaemonConfig, read: DaemonConfig) -> tuple[DaemonConfig, tuple[str, ...], tuple[str, ...]]:
    """Return what holds from now on, the keys that it changes, and the keys that the next start will change. Pure."""
    changed = [key.name for key in fields(DaemonConfig) if getattr(now, key.name) != getattr(read, key.name)]
    at_once = tuple(key for key in changed if key in LIVE)
    return replace(now, **{key: getattr(read, key) for key in at_once}), at_once, tuple(key for key in changed if key not in LIVE)


class Reload:
    """See the module. *load*: reads the configuration; *apply*: has the daemon follow another one."""

    def __init__(self, config: DaemonConfig, load: Callable[[], DaemonConfig], apply: Callable[[DaemonConfig], Awaitable[None]]) -> None:
        self._config = config
        self._load = load
        self._apply = apply

    async def run(self) -> None:
        """Read the configuration, and follow what has changed in it."""
        try:
            read = self._load()
        except ConfigError as error:
            log.error("configuration is not read again reason=%s", error)
            return
        self._config, at_once, later = reloaded(self._config, read)
        if at_once:
            await self._apply(self._config)
        log.info("configuration was read again changed=%s", ",".join(at_once) or "nothing")
        if later:
            log.warning("these keys take effect at the next start of the daemon keys=%s", ",".join(later))
