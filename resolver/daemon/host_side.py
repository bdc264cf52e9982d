"""How this host itself finds the names of its sandboxes: by asking the daemon, or in its hosts file."""

from __future__ import annotations

from resolver.daemon.blocking import RunBlocking
from resolver.daemon.config import DaemonConfig, parse_host_listen
from resolver.daemon.host_resolver import HostResolver
from resolver.daemon.hosts_block import HostsBlock
from resolver.daemon.registry import Registry

HOSTS_FILE = "/etc/hosts"


class HostSide:
    """*resolver*: answers programs of the host. *block*: the names in the hosts file. Both are to be started."""

    def __init__(self, config: DaemonConfig, registry: Registry, run_blocking: RunBlocking) -> None:
        listen = parse_host_listen(config.host_listen) if config.host_listen else None
        self.resolver = HostResolver(listen, registry.host_names.client, registry.surroundings())
        self.block = HostsBlock(HOSTS_FILE, registry.host_names.hosts_lines, run_blocking)
        registry.host_names.on_change = self.block.note_change

    def warnings(self) -> tuple[str, ...]:
        """Return what is not as it should be."""
        return (*self.resolver.warnings(), *self.block.warnings())

    async def close(self) -> None:
        """Stop answering and writing; what is there stays."""
        await self.block.close()
        await self.resolver.close()
