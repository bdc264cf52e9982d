"""The admin API on sandboxes that stay: start, stop, prune. Handlers as those of `admin`, whose object they are given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from netcore.errors import InvalidRequest
from netcore.model import Sandbox
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
    owner = await handlers.owners.find(request.body.owner_pid)
    if owner is None:
        raise InvalidRequest("owner_pid", "it is missing")
    sandbox, started, warnings = await handlers.lifecycle.start(request.path["sandbox"], owner)
    return schema.StartView(handlers.sandbox_view(sandbox, warnings), run_shapes.process_body(started))


async def stop_sandbox(handlers: Handlers, request: ApiRequest[schema.StopBody]) -> schema.OutcomeView:
    """Stop the command in a sandbox."""
    body = request.body
    name = await handlers.lifecycle.stop(request.path["sandbox"], grace=body.timeout, signal_name=body.signal)
    return schema.OutcomeView(f"sandbox {name} stopped")


async def prune_sandboxes(handlers: Handlers, request: ApiRequest[schema.PruneBody]) -> schema.PrunedView:
    """Remove the sandboxes that are stopped and that the filters match."""
    return schema.PrunedView(await handlers.lifecycle.prune(request.body))


def stopped_view(run: Run, runs: Runs) -> schema.SandboxView:
    """Return what is told of a sandbox that is stopped."""
    return run_shapes.stopped_view(run, runs.directory_of(run.id))
