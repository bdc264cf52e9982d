"""An IPAM plugin's calls: pools and addresses, and back. On the loop."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from netcore.errors import NetcoreError, PluginFailed
from netcore.model import IPAddress, PluginIpam, Pool
from netcore.plugins import messages
from netcore.plugins.transport import Transport

_KIND = "IpamDriver"
_TYPE, _GATEWAY, _MAC = "RequestAddressType", "com.docker.network.gateway", "com.docker.network.endpoint.macaddress"


class IpamDriver:
    """See the module."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def introduce(self, plugin: str, options: Mapping[str, str], scope: str) -> PluginIpam:
        """Return what the plugin says of itself, for a network with *scope* (local or global)."""
        said = await self._transport.call(plugin, _KIND, "GetCapabilities", {}) or {}
        spaces = await self._transport.demand(plugin, _KIND, "GetDefaultAddressSpaces", {})
        space = spaces.get("GlobalDefaultAddressSpace" if scope == "global" else "LocalDefaultAddressSpace")
        return PluginIpam(
            plugin=plugin,
            space=str(space or ""),
            options=tuple(options.items()),
            needs_mac=bool(said.get("RequiresMACAddress")),
            needs_replay=bool(said.get("RequiresRequestReplay")),
        )

    async def request_pool(self, ipam: PluginIpam, family: int, wish: Pool | None, *, gateway: bool) -> Pool:
        """Return a pool of *family*, that of *wish* if one was given, with its gateway unless *gateway* is False."""
        body = {
            "AddressSpace": ipam.space,
            "Pool": str(wish.subnet) if wish is not None else "",
            "SubPool": str(wish.ip_range or "") if wish is not None else "",
            "Options": dict(ipam.options),
            "V6": family == 6,
        }
        pool, brought = messages.pool_of(ipam.plugin, await self._transport.demand(ipam.plugin, _KIND, "RequestPool", body), family)
        try:
            wanted = wish.gateway if wish is not None else None
            if brought is not None and wanted in (None, brought):
                found: IPAddress | None = brought
            elif wanted is not None or gateway:
                found = await self.request_address(ipam, pool, wanted, options={_TYPE: _GATEWAY})
            else:
                found = None
            pool = replace(pool, ip_range=wish.ip_range if wish is not None else None, gateway=found)
            for name, address in wish.auxiliary if wish is not None else ():
                await self.request_address(ipam, pool, address)
                pool = replace(pool, auxiliary=(*pool.auxiliary, (name, address)))
        except BaseException:
            await self.release_pool(ipam, pool)
            raise
        return pool

    async def release_pool(self, ipam: PluginIpam, pool: Pool) -> None:
        """Give a pool back, with its gateway and auxiliary addresses; a plugin that fails is left to itself."""
        with contextlib.suppress(NetcoreError):
            for address in pool.reserved():
                await self.release_address(ipam, pool, address)
            await self._transport.demand(ipam.plugin, _KIND, "ReleasePool", {"PoolID": pool.identity})

    async def request_address(
        self, ipam: PluginIpam, pool: Pool, wish: IPAddress | None, *, mac: str = "", options: Mapping[str, str] | None = None
    ) -> IPAddress:
        """Return *wish*, or an address that the plugin chooses."""
        asked = {**dict(ipam.options), **(options or {}), **({_MAC: mac} if ipam.needs_mac and mac else {})}
        body = {"PoolID": pool.identity, "Address": str(wish or ""), "Options": asked}
        found = messages.address_of(ipam.plugin, await self._transport.demand(ipam.plugin, _KIND, "RequestAddress", body), pool)
        if wish is not None and found != wish:
            raise PluginFailed(ipam.plugin, f"{_KIND}.RequestAddress", f"it gives {found}, where {wish} was asked for")
        return found

    async def release_address(self, ipam: PluginIpam, pool: Pool, address: IPAddress) -> None:
        """Give *address* back."""
        await self._transport.demand(ipam.plugin, _KIND, "ReleaseAddress", {"PoolID": pool.identity, "Address": str(address)})

    async def replay(self, ipam: PluginIpam, pools: tuple[Pool, ...], addresses: list[IPAddress]) -> None:
        """Ask again for all that is in use, for a plugin that forgets with our restart (RequiresRequestReplay)."""
        for pool in pools:
            body = {
                "AddressSpace": ipam.space,
                "Pool": str(pool.subnet),
                "SubPool": str(pool.ip_range or ""),
                "Options": dict(ipam.options),
                "V6": pool.subnet.version == 6,
            }
            await self._transport.demand(ipam.plugin, _KIND, "RequestPool", body)
            if pool.gateway is not None:
                await self.request_address(ipam, pool, pool.gateway, options={_TYPE: _GATEWAY})
            for address in addresses:
                if address in pool.subnet:
                    await self.request_address(ipam, pool, address)
