"""Start of the updates by RFC 2136, if there are keys for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

from netcore.model import Network
from resolver.daemon.config import DaemonConfig
from resolver.daemon.resolver_half import ResolverHalf
from resolver.daemon.static_names import StaticNames
from resolver.daemon.update_keys import read_secrets
from resolver.zone.zone import Zone


def take_updates(
    config: DaemonConfig,
    static_names: StaticNames,
    resolver: ResolverHalf,
    networks: Callable[[], Iterable[Network]],
    stack: AsyncExitStack,
) -> None:
    """Have updates of static names carried out until *stack* closes; ConfigError if a secret can't be read."""
    if not config.update_keys:
        return
    secrets = read_secrets(config.update_keys)
    # It imports dnspython, which takes long.
    from resolver.daemon.updates import Updates

    def zone_of(network: Network) -> Zone | None:
        gateway = resolver.registry.gateway_of(network)
        return None if gateway is None else gateway.zone.current

    updates = Updates(
        config.update_keys, secrets, static_names, config.suffix, networks, zone_of, lambda: time.clock_gettime(time.CLOCK_REALTIME)
    )
    resolver.service.on_update = updates.take
    stack.push_async_callback(updates.close)
