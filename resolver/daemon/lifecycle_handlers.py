"""The admin API on sandboxes that stay: start, stop, prune. Handlers as those of `admin`, whose object they are given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from netcore.errors import InvalidRequest
from netcore.model import EndpointRequest, Sandbox
from resolver.daemon import run_shapes, schema
from resolver.daemon.api_route import ApiRequest
from resolver.daemon.lifecycle import Lifecycle
from resolver.daemon.owners import Owners
from resolver.daemon.runs import Run, Runs
from resolver.errors import Forbidden


class Handlers(Protocol):
    """What of `admin.Admin` these handlers work with."""

    lifecycle: Lifecycle
    runs: Runs
    owners: Owners

    def sandbox_view(self, sandbox: Sandbox, warnings: Iterable[str] = ()) -> schema.SandboxView:
        """Return what is told of a sandbox."""


async def start_sandbox(handlers: Handlers, request: ApiRequest[schema.StartBody]) -> schema.StartView:
    """Make a stopped sandbox again; the answer has its variables, so only root may ask."""
    if request.caller.uid != 0:
        raise Forbidden("sandbox", "only root may start what a sandbox was made for: use sudo")
    owner = await handlers.owners.find(request.body.owner_pid, request.caller.pid)
    if owner is None:
        raise InvalidRequest("owner_pid", "it is missing")
    sandbox, started, warnings = await handlers.lifecycle.start(request.path["sandbox"], owner)
    return schema.StartView(handlers.sandbox_view(sandbox, warnings), run_shapes.process_body(started))


async def stop_sandbox(handlers: Handlers, request: ApiRequest[schema.StopBody]) -> schema.OutcomeView:
    """Stop the command in a sandbox."""
    body = request.body
    name = await handlers.lifecycle.stop(request.path["sandbox"], grace=body.timeout, signal_name=body.signal)
    return schema.OutcomeView(f"sandbox {name} stopped")


async def connect_stopped(
    handlers: Handlers, request: ApiRequest[schema.ConnectBody], wanted: EndpointRequest
) -> schema.SandboxView | schema.PlanView:
    """Have a sandbox that is stopped be on one more network from its next start on."""
    run = await handlers.lifecycle.connect_stopped(request.body.sandbox, wanted, dry_run=request.dry_run)
    return _at_next_start(f"connect {run.name} to network {wanted.network}") if request.dry_run else stopped_view(run, handlers.runs)


async def disconnect_stopped(handlers: Handlers, request: ApiRequest[schema.DisconnectBody]) -> schema.SandboxView | schema.PlanView:
    """Have a sandbox that is stopped be off a network from its next start on."""
    network = request.path["network"]
    run = await handlers.lifecycle.disconnect_stopped(request.body.sandbox, network, dry_run=request.dry_run)
    return _at_next_start(f"disconnect {run.name} from network {network}") if request.dry_run else stopped_view(run, handlers.runs)


def _at_next_start(step: str) -> schema.PlanView:
    return schema.PlanView([f"{step} when it is started"])


async def prune_sandboxes(handlers: Handlers, request: ApiRequest[schema.PruneBody]) -> schema.PrunedView:
    """Remove the sandboxes that are stopped and that the filters match."""
    return schema.PrunedView(await handlers.lifecycle.prune(request.body))


def stopped_view(run: Run, runs: Runs) -> schema.SandboxView:
    """Return what is told of a sandbox that is stopped."""
    return run_shapes.stopped_view(run, runs.directory_of(run.id), due=runs.is_due(run))
