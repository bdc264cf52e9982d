"""What third-party network plugins have a part in: making endpoints, leaving them, the way outside."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from netcore import drivers
from netcore.errors import NetcoreError
from netcore.model import Endpoint, Network, Sandbox
from netcore.plan import endpoint as plan_endpoint
from netcore.plan import gateway, link_names
from netcore.plan.host_state import HostState
from netcore.plan.plans import EndpointDraft
from netcore.plugins.network_driver import NetworkDriver

log = logging.getLogger(__name__)


def plugin_of(network: Network) -> str | None:
    """Return the name of the plugin that makes *network*, None for a driver of ours."""
    return drivers.of(network).plugin(network)


class PluginEndpoints:
    """The calls about endpoints, in Docker's order. Endpoints of our own drivers are passed over."""

    def __init__(self, state: HostState, driver: NetworkDriver) -> None:
        self._state = state
        self._driver = driver

    def plugin(self, endpoint: Endpoint) -> str | None:
        """Return the plugin that made *endpoint*, None for one of ours."""
        return plugin_of(self._state.networks[endpoint.network_id])

    async def make(self, sandbox: Sandbox, endpoint: Endpoint, draft: EndpointDraft, used_ifnames: set[str]) -> Endpoint:
        """Let the plugin make *endpoint*; return it with the answer and the name that its link is to have."""
        plugin = self.plugin(endpoint)
        assert plugin is not None
        options = plan_endpoint.plugin_options(draft.request)
        joined = await self._driver.create_and_join(plugin, sandbox, endpoint, options)
        exact = draft.request.ifname or joined.ifname
        return replace(joined.endpoint, ifname=link_names.in_sandbox(sandbox.name, exact, joined.ifname_prefix or "", used_ifnames))

    async def update_external_connectivity(self, sandbox: Sandbox, before: Sequence[Endpoint], after: Sequence[Endpoint]) -> None:
        """Tell plugins which of their endpoints lead outside from now on, and which no longer."""
        old, new = self._leading_outside(before), self._leading_outside(after)
        present = {endpoint.id for endpoint in after}
        for identity, endpoint in old.items():
            if identity not in new and identity in present:
                await self._driver.revoke_external_connectivity(self.plugin(endpoint) or "", endpoint)
        for identity, endpoint in new.items():
            if identity not in old:
                await self._driver.program_external_connectivity(self.plugin(endpoint) or "", endpoint, sandbox)

    def _leading_outside(self, endpoints: Sequence[Endpoint]) -> dict[str, Endpoint]:
        if not any(map(self.plugin, endpoints)):
            return {}
        chosen = gateway.gateway_endpoints(endpoints, self._state.networks)
        return {endpoint.id: endpoint for endpoint in chosen if endpoint is not None and self.plugin(endpoint)}

    async def leave(self, endpoints: Sequence[Endpoint], before: Sequence[Endpoint]) -> list[str]:
        """Tell plugins that the sandbox leaves *endpoints*, before their links go; return what failed.

        *before*: all endpoints that the sandbox had.
        """
        outside, reasons = self._leading_outside(before), []
        for endpoint in endpoints:
            plugin = self.plugin(endpoint)
            if plugin is None:
                continue
            calls = [self._driver.revoke_external_connectivity] if endpoint.id in outside else []
            for call in (*calls, self._driver.leave):
                try:
                    await call(plugin, endpoint)
                except NetcoreError as error:
                    reasons.append(str(error))
        return reasons

    async def delete(self, endpoints: Sequence[Endpoint]) -> list[str]:
        """Let plugins remove what they made for *endpoints*; return what failed."""
        reasons = []
        for endpoint in endpoints:
            plugin = self.plugin(endpoint)
            if plugin is not None:
                try:
                    await self._driver.delete_endpoint(plugin, endpoint)
                except NetcoreError as error:
                    reasons.append(str(error))
        return reasons

    async def undo(self, endpoints: Sequence[Endpoint]) -> None:
        """Take back what plugins made for *endpoints*, as far as they let us: after a failure, or a crash."""
        for reason in [*await self.leave(endpoints, ()), *await self.delete(endpoints)]:
            log.warning("plugin did not remove an endpoint reason=%s", reason)

    async def information(self, endpoints: Sequence[Endpoint]) -> dict[str, dict[str, Any]]:
        """Return network id → what its plugin tells of the endpoint there."""
        told: dict[str, dict[str, Any]] = {}
        for endpoint in endpoints:
            plugin = self.plugin(endpoint)
            if plugin is not None:
                with contextlib.suppress(NetcoreError):
                    told[endpoint.network_id] = await self._driver.endpoint_information(plugin, endpoint)
        return told
