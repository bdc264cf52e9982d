"""What the controller needs of the configuration."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from netcore.controller.settings import Settings
from netcore.plan import ipam
from resolver.daemon import clustering, outside
from resolver.daemon.config import DaemonConfig


async def settings_of(config: DaemonConfig) -> Settings:
    """Return the settings of the controller. Asks the host where other hosts of a cluster reach it."""
    pools, edge = config.default_address_pools, outside.edge_path(config.run_dir)
    return Settings(
        run_directory=config.run_dir,
        netns_directory=config.netns_dir,
        # In a nest /etc is the host's, and `ip netns exec` of the host does not know its namespaces.
        etc_netns_directory="" if edge else config.etc_netns_dir,
        pools4=tuple((base, size) for base, size in pools if base.version == 4) or ipam.DEFAULT_POOLS4,
        pools6=tuple((base, size) for base, size in pools if base.version == 6) or (ipam.ula_pool(_host_id(config)),),
        firewall=config.firewall == "nftables",
        uplinks=config.uplinks,
        vtep=await asyncio.to_thread(clustering.find_vtep, config),
        resolver_at_gateways=config.gateway_resolver,
        egress=replace(config.egress, nat64=config.nat64_prefixes),
        edge=edge,
    )


def _host_id(config: DaemonConfig) -> str:
    """Return a stable id of this host, for its ULA prefix."""
    try:
        return Path("/etc/machine-id").read_text().strip() or config.state_dir
    except OSError:
        return config.state_dir
