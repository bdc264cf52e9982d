"""An IPAM plugin's calls: pools and addresses, requested and released. On the loop."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from netcore.errors import NetcoreError, PluginFailed
from netcore.model import IPAddress, PluginIpam, Pool
from netcore.plugins import messages
from netcore.plugins.client import PluginCalls

_KIND = "IpamDriver"
_TYPE, _GATEWAY, _MAC = "RequestAddressType", "com.docker.network.gateway", "com.docker.network.endpoint.macaddress"


class IpamDriver:
    """See the module."""

    def __init__(self, client: PluginCalls) -> None:
        self._client = client

    async def capabilities(self, plugin: str, options: Mapping[str, str], scope: str) -> PluginIpam:
        """Return what the plugin says of itself, for a network with *scope* (local or global)."""
        answer = await self._client.call_optional(plugin, _KIND, "GetCapabilities", {}) or {}
        spaces = await self._client.call(plugin, _KIND, "GetDefaultAddressSpaces", {})
        space = spaces.get("GlobalDefaultAddressSpace" if scope == "global" else "LocalDefaultAddressSpace")
        return PluginIpam(
            plugin=plugin,
            space=str(space or ""),
            options=tuple(options.items()),
            needs_mac=bool(answer.get("RequiresMACAddress")),
            needs_replay=bool(answer.get("RequiresRequestReplay")),
        )

    async def request_pool(self, ipam: PluginIpam, family: int, wish: Pool | None, *, gateway: bool) -> Pool:
        """Return a pool of *family*, that of *wish* if one was given, with its gateway unless *gateway* is False."""
        body = messages.request_pool(ipam, family, wish)
        answered = messages.parse_pool(ipam.plugin, await self._client.call(ipam.plugin, _KIND, "RequestPool", body), family)
        pool = replace(answered, ip_range=wish.ip_range if wish is not None else None, gateway=None)
        try:
            pool = replace(pool, gateway=await self._gateway(ipam, answered, wish.gateway if wish is not None else None, needed=gateway))
            for name, address in wish.auxiliary if wish is not None else ():
                await self.request_address(ipam, pool, address)
                pool = replace(pool, auxiliary=(*pool.auxiliary, (name, address)))
        except BaseException:
            await self.release_pool(ipam, pool)
            raise
        return pool

    async def _gateway(self, ipam: PluginIpam, answered: Pool, wish: IPAddress | None, *, needed: bool) -> IPAddress | None:
        """Return the gateway that came with the pool, or one that is requested; None if there is to be none."""
        if answered.gateway is not None and wish in (None, answered.gateway):
            return answered.gateway
        if wish is None and not needed:
            return None
        return await self.request_address(ipam, answered, wish, options={_TYPE: _GATEWAY})

    async def release_pool(self, ipam: PluginIpam, pool: Pool) -> None:
        """Give a pool back, with its gateway and auxiliary addresses; errors of the plugin are ignored."""
        with contextlib.suppress(NetcoreError):
            for address in pool.reserved():
                await self.release_address(ipam, pool, address)
            await self._client.take_back(ipam.plugin, _KIND, "ReleasePool", {"PoolID": pool.identity})

    async def request_address(
        self, ipam: PluginIpam, pool: Pool, wish: IPAddress | None, *, mac: str | None = None, options: Mapping[str, str] | None = None
    ) -> IPAddress:
        """Return *wish*, or an address that the plugin chooses."""
        asked = {**dict(ipam.options), **(options or {}), **({_MAC: mac} if ipam.needs_mac and mac else {})}
        body = {"PoolID": pool.identity, "Address": str(wish or ""), "Options": asked}
        address = messages.parse_address(ipam.plugin, await self._client.call(ipam.plugin, _KIND, "RequestAddress", body), pool)
        if wish is not None and address != wish:
            raise PluginFailed(ipam.plugin, f"{_KIND}.RequestAddress", f"it gives {address}, where {wish} was asked for")
        return address

    async def release_address(self, ipam: PluginIpam, pool: Pool, address: IPAddress) -> None:
        """Give *address* back."""
        await self._client.take_back(ipam.plugin, _KIND, "ReleaseAddress", {"PoolID": pool.identity, "Address": str(address)})

    async def replay(self, ipam: PluginIpam, pools: Sequence[Pool], addresses: Sequence[IPAddress]) -> None:
        """Request again all that is in use, from a plugin that forgets it when this daemon restarts (RequiresRequestReplay)."""
        for pool in pools:
            await self._client.call(ipam.plugin, _KIND, "RequestPool", messages.request_pool(ipam, pool.subnet.version, pool))
            if pool.gateway is not None:
                await self.request_address(ipam, pool, pool.gateway, options={_TYPE: _GATEWAY})
            for address in addresses:
                if address in pool.subnet:
                    await self.request_address(ipam, pool, address)
