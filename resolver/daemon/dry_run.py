"""`--dry-run`: the steps that an operation would take.

Has the controller's planning and nothing else at hand, no events, no owners and no firewalls: a dry run can have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netcore.controller import Controller
from netcore.model import EndpointRequest, Network, NetworkRequest, SandboxRequest
from netcore.plan.endpoint import check_endpoint_request
from netcore.plan.modes import check_connectable
from netcore.plan.plans import Outcome
from netcore.plan.published_ports import ignored
from netcore.plan.sandbox import check_networks
from resolver.daemon.automatic_networks import AutomaticNetworks
from resolver.daemon.schema import PlanView


class DryRun:
    """Each method plans the operation of the same name in `operations.Operations`."""

    def __init__(self, controller: Controller, automatic_networks: AutomaticNetworks) -> None:
        self._controller = controller
        self._automatic_networks = automatic_networks

    async def create_network(self, request: NetworkRequest) -> PlanView:
        """Plan to create a network."""
        _, outcome = await self._controller.networks.create(request, dry_run=True)
        return _planned(outcome)

    async def remove_network(self, reference: str) -> PlanView:
        """Plan to remove a network that has no endpoints."""
        return _planned(await self._controller.networks.remove(reference, dry_run=True))

    async def create_sandbox(self, request: SandboxRequest, *, on_default: bool) -> PlanView:
        """Plan to create or adopt a sandbox; see `operations.Operations.create_sandbox`."""
        needed = self._automatic_networks.needed([endpoint.network for endpoint in request.networks], on_default=on_default)
        if needed is None:
            return _planned((await self._controller.sandboxes.create(request, dry_run=True))[1])
        endpoints = request.networks or (EndpointRequest(network=needed.name),)
        existing = self._automatic_networks.find(needed)
        if existing is not None:
            networks = tuple(
                replace(endpoint, network=existing.id) if endpoint.network == needed.name else endpoint for endpoint in endpoints
            )
            return _planned((await self._controller.sandboxes.create(replace(request, networks=networks), dry_run=True))[1])
        network, made = await self._controller.networks.create(needed, dry_run=True)
        on_others = tuple(endpoint for endpoint in endpoints if endpoint.network != needed.name)
        check_networks([network, *(self._controller.state.find_network(endpoint.network) for endpoint in on_others)])
        connects = _connects(request.name, endpoints, network)
        _, outcome = await self._controller.sandboxes.create(replace(request, networks=on_others), dry_run=True)
        # The network that is only planned publishes them.
        outcome = replace(outcome, warnings=tuple(warning for warning in outcome.warnings if warning != ignored(request.name)))
        return _joined(_planned(made), _planned(outcome), connects)

    async def remove_sandbox(self, reference: str) -> PlanView:
        """Plan to remove a sandbox."""
        return _planned(await self._controller.sandboxes.remove(reference, dry_run=True))

    async def connect(self, sandbox_reference: str, request: EndpointRequest) -> PlanView:
        """Plan to connect a sandbox to one more network."""
        needed = self._automatic_networks.needed([request.network], on_default=False)
        if needed is None or self._automatic_networks.find(needed) is not None:
            return _planned(await self._controller.sandboxes.connect(sandbox_reference, request, dry_run=True))
        sandbox = self._controller.state.find_sandbox(sandbox_reference)
        check_connectable(sandbox)
        network, made = await self._controller.networks.create(needed, dry_run=True)
        return _joined(_planned(made), _connects(sandbox.name, [request], network))

    async def disconnect(self, sandbox_reference: str, network_reference: str) -> PlanView:
        """Plan to disconnect a sandbox from a network."""
        return _planned(await self._controller.sandboxes.disconnect(sandbox_reference, network_reference, dry_run=True))


def _planned(outcome: Outcome) -> PlanView:
    return PlanView([step.describe() for step in outcome.steps], list(outcome.warnings))


def _connects(sandbox_name: str, endpoints: Sequence[EndpointRequest], network: Network) -> PlanView:
    """Return the step that connects a sandbox to a *network* that is only planned: what it consists of is not known yet."""
    for endpoint in endpoints:
        if endpoint.network == network.name:
            check_endpoint_request(endpoint, network)
    return PlanView([f"create endpoint of {sandbox_name} on network {network.name}"])


def _joined(*parts: PlanView) -> PlanView:
    return PlanView([step for part in parts for step in part.steps], [warning for part in parts for warning in part.warnings])
