"""A network plugin's calls, in Docker's order: network, endpoint, join, external connectivity; and back. On the loop.

Methods that Docker allows a plugin to lack may be lacking here too (rule RM-2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from netcore.errors import NetcoreError, PluginFailed
from netcore.model import Endpoint, Network, PluginOptions, Sandbox
from netcore.plugins import messages
from netcore.plugins.client import PluginCalls

_KIND = "NetworkDriver"


@dataclass(frozen=True, slots=True)
class JoinedEndpoint:
    """An endpoint with what its plugin answered. *ifname*, *ifname_prefix*: how the plugin wants its link named in the sandbox."""

    endpoint: Endpoint
    ifname: str | None
    ifname_prefix: str | None


class NetworkDriver:
    """See the module."""

    def __init__(self, client: PluginCalls) -> None:
        self._client = client

    async def capabilities(self, plugin: str, options: Mapping[str, Any]) -> PluginOptions:
        """Return what the plugin says of itself, and whether a network with *options* needs gateways."""
        answer = await self._client.call_optional(plugin, _KIND, "GetCapabilities", {}) or {}
        scope = answer.get("Scope") or "local"
        if scope not in ("local", "global"):
            raise PluginFailed(plugin, f"{_KIND}.GetCapabilities", f"Scope is {scope!r}, neither local nor global")
        skips = {}
        if answer.get("GwAllocChecker"):
            skips = await self._client.call_optional(plugin, _KIND, "GwAllocCheck", {"Options": options}) or {}
        return PluginOptions(plugin=plugin, scope=scope, no_gateway4=bool(skips.get("SkipIPv4")), no_gateway6=bool(skips.get("SkipIPv6")))

    async def create_network(self, plugin: str, network: Network) -> None:
        """Let the plugin create *network*; nothing of it is left when that fails."""
        try:
            await self._client.call(plugin, _KIND, "CreateNetwork", messages.create_network(network))
        except PluginFailed as error:
            if not error.refused:
                try:
                    await self.delete_network(plugin, network)
                except NetcoreError as second:
                    error.add_note(f"undo: {second}")
            raise

    async def delete_network(self, plugin: str, network: Network) -> None:
        """Let the plugin remove *network*."""
        await self._client.take_back(plugin, _KIND, "DeleteNetwork", {"NetworkID": network.id})

    async def create_and_join(self, plugin: str, sandbox: Sandbox, target: Endpoint, options: Mapping[str, str]) -> JoinedEndpoint:
        """Create *target* and join it. When a call fails, those before it are undone."""
        try:
            answer = await self._client.call(plugin, _KIND, "CreateEndpoint", messages.create_endpoint(target, sandbox, options))
            created = messages.with_interface(plugin, target, answer)
        except PluginFailed as error:
            if not error.refused:
                await self._undo(plugin, "DeleteEndpoint", target, error)
            raise
        try:
            answer = await self._client.call(plugin, _KIND, "Join", messages.join(created, sandbox))
            joined = messages.parse_join(plugin, answer)
        except BaseException as error:
            if not (isinstance(error, PluginFailed) and error.refused):
                await self._undo(plugin, "Leave", target, error)
            await self._undo(plugin, "DeleteEndpoint", target, error)
            raise
        endpoint = replace(created, answer=joined.answer, routes=(*created.routes, *joined.routes))
        return JoinedEndpoint(endpoint, joined.ifname, joined.ifname_prefix)

    async def endpoint_information(self, plugin: str, target: Endpoint) -> dict[str, Any]:
        """Return what the plugin tells of an endpoint, for a person."""
        answer = await self._client.call_optional(plugin, _KIND, "EndpointOperInfo", messages.endpoint(target)) or {}
        value = answer.get("Value")
        return value if isinstance(value, dict) else {}

    async def program_external_connectivity(self, plugin: str, target: Endpoint, sandbox: Sandbox) -> None:
        """Tell the plugin that the sandbox's traffic to the outside goes through *target*."""
        body = {**messages.endpoint(target), "Options": messages.endpoint_options(sandbox)}
        await self._client.call_optional(plugin, _KIND, "ProgramExternalConnectivity", body)

    async def revoke_external_connectivity(self, plugin: str, target: Endpoint) -> None:
        """Tell the plugin that traffic to the outside no longer goes through *target*."""
        await self._client.take_back(plugin, _KIND, "RevokeExternalConnectivity", messages.endpoint(target), optional=True)

    async def leave(self, plugin: str, target: Endpoint) -> None:
        """Tell the plugin that the sandbox leaves; its link is still there."""
        await self._client.take_back(plugin, _KIND, "Leave", messages.endpoint(target))

    async def delete_endpoint(self, plugin: str, target: Endpoint) -> None:
        """Let the plugin remove what it made for *target*."""
        await self._client.take_back(plugin, _KIND, "DeleteEndpoint", messages.endpoint(target))

    async def _undo(self, plugin: str, method: str, target: Endpoint, error: BaseException) -> None:
        """Take back what may have been made before *error*, which stays the one to report."""
        try:
            await self._client.take_back(plugin, _KIND, method, messages.endpoint(target))
        except NetcoreError as second:
            error.add_note(f"undo: {second}")
