"""A network plugin's calls, in Docker's order: network, endpoint, join, outside; and back. On the loop.

Methods that Docker tolerates to be missing are tolerated here (docker-behaviour RM-2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from netcore.errors import NetcoreError, PluginFailed
from netcore.model import Endpoint, Network, PluginOptions, Sandbox
from netcore.plugins import messages
from netcore.plugins.transport import Transport

_KIND = "NetworkDriver"


class NetworkDriver:
    """See the module."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def introduce(self, plugin: str, options: Mapping[str, Any]) -> PluginOptions:
        """Return what the plugin says of itself, and whether a network with *options* wants gateways."""
        said = await self._transport.call(plugin, _KIND, "GetCapabilities", {}) or {}
        scope = said.get("Scope") or "local"
        if scope not in ("local", "global"):
            raise PluginFailed(plugin, f"{_KIND}.GetCapabilities", f"Scope is {scope!r}, neither local nor global")
        checked = await self._transport.call(plugin, _KIND, "GwAllocCheck", {"Options": options}) if said.get("GwAllocChecker") else None
        skips = checked or {}
        return PluginOptions(plugin=plugin, scope=scope, no_gateway4=bool(skips.get("SkipIPv4")), no_gateway6=bool(skips.get("SkipIPv6")))

    async def create_network(self, plugin: str, network: Network) -> None:
        """Let the plugin make *network*; nothing of it is left when that fails."""
        try:
            await self._transport.demand(plugin, _KIND, "CreateNetwork", messages.create_network(network))
        except PluginFailed as error:
            if not error.refused:
                with contextlib.suppress(NetcoreError):
                    await self.delete_network(plugin, network)
            raise

    async def delete_network(self, plugin: str, network: Network) -> None:
        """Let the plugin remove *network*."""
        await self._transport.demand(plugin, _KIND, "DeleteNetwork", {"NetworkID": network.id})

    async def make(self, plugin: str, sandbox: Sandbox, target: Endpoint, options: Mapping[str, str]) -> tuple[Endpoint, str, str]:
        """Make *target* and join it; return it with what was answered, and the exact name or the prefix of its link.

        When a call fails, those before it are taken back.
        """
        try:
            answer = await self._transport.demand(plugin, _KIND, "CreateEndpoint", messages.create_endpoint(target, sandbox, options))
            made = messages.with_interface(plugin, target, answer)
        except PluginFailed as error:
            if not error.refused:
                await self._try(plugin, "DeleteEndpoint", target)
            raise
        try:
            said = await self._transport.demand(plugin, _KIND, "Join", messages.join(made, sandbox))
            found, exact, prefix, routes = messages.joined(plugin, said)
        except BaseException as error:
            if not (isinstance(error, PluginFailed) and error.refused):
                await self._try(plugin, "Leave", target)
            await self._try(plugin, "DeleteEndpoint", target)
            raise
        return replace(made, answer=found, routes=(*made.routes, *routes)), exact, prefix

    async def information(self, plugin: str, target: Endpoint) -> dict[str, Any]:
        """Return what the plugin tells of an endpoint, for a person."""
        answer = await self._transport.call(plugin, _KIND, "EndpointOperInfo", messages.endpoint(target)) or {}
        value = answer.get("Value")
        return value if isinstance(value, dict) else {}

    async def open_outside(self, plugin: str, target: Endpoint, sandbox: Sandbox) -> None:
        """Tell the plugin that traffic to the outside goes by *target*."""
        body = {**messages.endpoint(target), "Options": messages.endpoint_options(sandbox)}
        await self._transport.call(plugin, _KIND, "ProgramExternalConnectivity", body)

    async def close_outside(self, plugin: str, target: Endpoint) -> None:
        """The opposite of `open_outside`."""
        await self._transport.call(plugin, _KIND, "RevokeExternalConnectivity", messages.endpoint(target))

    async def leave(self, plugin: str, target: Endpoint) -> None:
        """Tell the plugin that the sandbox leaves; its link is still there."""
        await self._transport.demand(plugin, _KIND, "Leave", messages.endpoint(target))

    async def delete(self, plugin: str, target: Endpoint) -> None:
        """Let the plugin remove what it made for *target*."""
        await self._transport.demand(plugin, _KIND, "DeleteEndpoint", messages.endpoint(target))

    async def _try(self, plugin: str, method: str, target: Endpoint) -> None:
        # The first error is the one to tell.
        with contextlib.suppress(NetcoreError):
            await self._transport.demand(plugin, _KIND, method, messages.endpoint(target))
