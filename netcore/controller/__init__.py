"""The controller: networks, sandboxes and endpoints of this host, and the only writer of them.

Each operation: locks → validate and allocate → record the intent → diff → executor → record the result → publish names.
Names are published last and withdrawn first.

    state ─▶ networks ─────────────────────────────┐
      └────▶ with_plugins ─▶ endpoints ─▶ sandboxes ─▶ Controller
"""

from __future__ import annotations

from netcore.controller.contract import Outcome
from netcore.controller.networks import Networks
from netcore.controller.sandboxes import Sandboxes
from netcore.model import GATEWAY_BRIDGE, EndpointRequest, NetworkRequest, Sandbox, SandboxRequest
from netcore.plan import gateway

_GATEWAY_BRIDGE = NetworkRequest(name=GATEWAY_BRIDGE, options=(("icc", "false"),), predefined=True)


class Controller(Networks, Sandboxes):
    """See the module. `recovery.restore` brings it to the state of the store.

    Here is what takes operations on both networks and endpoints: the gateway bridge (docker-behaviour GW-9).
    """

    async def create_sandbox(self, request: SandboxRequest, *, dry_run: bool = False) -> tuple[Sandbox, Outcome]:
        """Create or adopt a sandbox and connect it to its networks; its names answer when this returns."""
        sandbox, outcome = await super().create_sandbox(request, dry_run=dry_run)
        if not dry_run:
            try:
                await self._settle_gateway_bridge(sandbox)
            except BaseException:
                await self.remove_sandbox(sandbox.id)
                raise
        return self.sandboxes.get(sandbox.id, sandbox), outcome

    async def connect(self, reference: str, request: EndpointRequest, *, dry_run: bool = False) -> Outcome:
        """Connect a sandbox to one more network."""
        sandbox = self.find_sandbox(reference)
        outcome = await super().connect(reference, request, dry_run=dry_run)
        if not dry_run:
            try:
                await self._settle_gateway_bridge(sandbox)
            except BaseException:
                await super().disconnect(sandbox.id, request.network)
                raise
        return outcome

    async def disconnect(self, reference: str, network_reference: str, *, dry_run: bool = False) -> Outcome:
        """Take a sandbox off a network; the default route moves before the link goes."""
        sandbox = self.find_sandbox(reference)
        outcome = await super().disconnect(reference, network_reference, dry_run=dry_run)
        if not dry_run:
            await self._settle_gateway_bridge(sandbox)
        return outcome

    async def _settle_gateway_bridge(self, sandbox: Sandbox) -> None:
        """Connect *sandbox* to the gateway bridge if it has no other way outside, take it off if it has."""
        endpoints = self.endpoints.get(sandbox.id, ())
        bridge = next((item for item in self.networks.values() if item.is_gateway_bridge), None)
        is_on = bridge is not None and any(item.network_id == bridge.id for item in endpoints)
        if gateway.needs_gateway_bridge(endpoints, self.networks) == is_on:
            return
        if is_on and bridge is not None:
            await super().disconnect(sandbox.id, bridge.id)
            return
        async with self._making_gateway_bridge:
            if not any(item.is_gateway_bridge for item in self.networks.values()):
                await self.create_network(_GATEWAY_BRIDGE)
        await super().connect(sandbox.id, EndpointRequest(network=GATEWAY_BRIDGE))
