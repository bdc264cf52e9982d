"""The admin API: each handler parses a body, calls an operation, formats the result. `ROUTES` is the table of all of them.

HTTP itself is in `http_api`, the shapes are in `schema`, the document that describes both is made by `openapi`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from netcore.errors import InvalidRequest
from netcore.model import Network, Sandbox
from resolver import limits
from resolver.daemon import (
    cache_shapes,
    convert,
    egress_api,
    health_shapes,
    lifecycle_handlers,
    openapi,
    record_handlers,
    schema,
    schema_findings,
)
from resolver.daemon.api_route import DRY_RUN, ApiReply, ApiRequest, ApiRoute, Caller, OtherResponse, QueryParameter
from resolver.daemon.doctor import Doctor
from resolver.daemon.dry_run import DryRun
from resolver.daemon.egress_operations import EgressOperations
from resolver.daemon.events import Cause, Events
from resolver.daemon.health import Health
from resolver.daemon.hosts_block import HostsBlock
from resolver.daemon.lifecycle import Lifecycle
from resolver.daemon.lifecycle_handlers import stopped_view
from resolver.daemon.lookup import Lookup
from resolver.daemon.moments import moment
from resolver.daemon.operations import Operations
from resolver.daemon.owners import Owners
from resolver.daemon.record_operations import RecordOperations
from resolver.daemon.record_shapes import RecordBody, RecordView
from resolver.daemon.run_shapes import process
from resolver.daemon.runs import Run, Runs
from resolver.errors import Forbidden
from resolver.numbers import whole_number


class Admin:
    """The handlers. *proxies*: as configured. *render_metrics*: returns all metrics as Prometheus text.

    *stop*: has the daemon end soon.
    """

    def __init__(
        self,
        *,
        operations: Operations,
        lifecycle: Lifecycle,
        runs: Runs,
        egress: EgressOperations,
        dry_run: DryRun,
        owners: Owners,
        lookup: Lookup,
        records: RecordOperations,
        hosts_block: HostsBlock,
        events: Events,
        health: Health,
        doctor: Doctor,
        render_metrics: Callable[[], Awaitable[bytes]],
        proxies: Mapping[str, Mapping[str, str]],
        stop: Callable[[], None],
    ) -> None:
        self.operations = operations
        self.records = records
        self.hosts_block = hosts_block
        self.lifecycle = lifecycle
        self.runs = runs
        self.egress = egress
        self._dry_run = dry_run
        self.owners = owners
        self._lookup = lookup
        self._events = events
        self._health = health
        self._doctor = doctor
        self._render_metrics = render_metrics
        self._proxies = proxies
        self._stop = stop

    def set_proxies(self, proxies: Mapping[str, Mapping[str, str]]) -> None:
        """Show *proxies* from now on."""
        self._proxies = proxies

    # --- networks -----------------------------------------------------------------------------------------------

    async def create_network(self, request: ApiRequest[schema.NetworkBody]) -> schema.NetworkView | ApiReply:
        owner = await self.owners.find(request.body.owner_pid, request.caller.pid)
        problems = self.records.problems(request.body.records, request.body.name)
        wanted = convert.network_request(request.body, owner, problems=problems)
        if request.dry_run:
            return ApiReply(await self._dry_run.create_network(wanted), 200)
        network, warnings = await self.operations.create_network(wanted)
        if request.body.records:
            await record_handlers.add_to_new(self, network, request.body.records)
        return await self._network_view(network, warnings)

    async def list_networks(self, request: ApiRequest[None]) -> list[schema.NetworkView]:
        networks = await self.operations.networks()
        return [convert.network_view(details, self.records.views(details.network)) for details in networks]

    async def show_network(self, request: ApiRequest[None]) -> schema.NetworkView:
        return await self._network_view(self.operations.find_network(request.path["network"]))

    async def remove_network(self, request: ApiRequest[None]) -> schema.OutcomeView | schema.PlanView:
        if request.dry_run:
            return await self._dry_run.remove_network(request.path["network"])
        name = await self.operations.remove_network(request.path["network"], wait=_waits(request))
        return schema.OutcomeView(f"network {name} removed")

    async def prune_networks(self, request: ApiRequest[schema.PruneBody]) -> schema.PrunedView:
        return schema.PrunedView(await self.operations.prune_networks(request.body))

    async def _network_view(self, network: Network, warnings: Iterable[str] = ()) -> schema.NetworkView:
        return convert.network_view(await self.operations.details_of_network(network), self.records.views(network), warnings)

    # --- sandboxes ----------------------------------------------------------------------------------------------

    async def create_sandbox(self, request: ApiRequest[schema.SandboxBody]) -> schema.SandboxView | ApiReply:
        body = request.body
        if request.caller.uid != 0:
            await self._check_rights(body, request.caller)
        owner = await self.owners.find(body.owner_pid if body.owner_pid is not None else body.pid, request.caller.pid)
        # A descriptor says nothing of the other namespaces of the process that holds it.
        leader = await self.owners.find(body.pid, request.caller.pid) if body.netns is None and body.fd is None else None
        wanted = convert.sandbox_request(body, _adopted_netns(request), owner, leader)
        started = None if body.process is None else process(body.process)
        if started is not None and (wanted.netns is not None or wanted.follows):
            raise InvalidRequest("process", "nothing is started in a namespace that is adopted")
        if wanted.follows and (wanted.netns is not None or wanted.owner is not None):
            raise InvalidRequest("follow", "the namespace is that of what is followed; leave pid, netns, fd and owner_pid out")
        if wanted.persists and (wanted.netns is not None or wanted.owner is not None):
            raise InvalidRequest("persist", "only a sandbox without a process and with a namespace of its own can be made again")
        if request.dry_run:
            return ApiReply(await self._dry_run.create_sandbox(wanted, on_default=body.default_network), 200)
        sandbox, warnings = await self.operations.create_sandbox(wanted, on_default=body.default_network, process=started)
        return self.sandbox_view(sandbox, warnings)

    async def _check_rights(self, body: schema.SandboxBody, caller: Caller) -> None:
        """Raise Forbidden unless what is to be adopted is the caller's own: a process of the same user, or a descriptor of it."""
        if body.process is not None:
            raise Forbidden("process", "only root may leave a command that root will start again")
        if body.follow:
            raise Forbidden("follow", "only root may adopt whatever namespaces a program has: use sudo")
        if body.netns is not None:
            raise Forbidden("netns", "only root may adopt a namespace by its path; name a process of yours in it (--pid)")
        pid = body.pid if body.pid is not None else caller.pid
        if body.fd is not None and pid != caller.pid:
            raise Forbidden("fd", "only root may name a descriptor of another process")
        if body.fd is None and body.pid is not None and await self.owners.uid(pid) != caller.uid:
            raise Forbidden("pid", f"process {pid} is not yours; only root may adopt the namespace of another user's process")

    async def list_sandboxes(self, request: ApiRequest[None]) -> list[schema.SandboxView]:
        stopped = {run.id: run for run in self.lifecycle.stopped()}
        running = [details for details in self.operations.sandboxes() if details.sandbox.id not in stopped]
        views = [convert.sandbox_view(details, self._proxies) for details in running]
        if request.flag(_ALL.name):
            views = sorted([*views, *(stopped_view(run, self.runs) for run in stopped.values())], key=lambda view: view.name)
        return views

    async def show_sandbox(self, request: ApiRequest[None]) -> schema.SandboxView:
        sandbox = self.operations.find(request.path["sandbox"])
        if isinstance(sandbox, Run):
            return stopped_view(sandbox, self.runs)
        told_by_plugins = await self.operations.told_by_plugins(sandbox) if request.flag("plugins") else None
        return convert.sandbox_view(self.operations.details_of_sandbox(sandbox), self._proxies, (), told_by_plugins)

    async def change_sandbox(self, request: ApiRequest[schema.SandboxChange]) -> schema.SandboxView:
        found = self.operations.find(request.path["sandbox"])
        if isinstance(found, Run) and request.body.name and request.body == schema.SandboxChange(name=request.body.name):
            await self.lifecycle.rename_stopped(found, request.body.name)
            return stopped_view(self.runs.get(found.id) or found, self.runs)
        if isinstance(found, Run) and request.body.egress is not None and request.body == schema.SandboxChange(egress=request.body.egress):
            return stopped_view(await self.egress.change_stopped(found, request.body.egress), self.runs)
        if request.body.restarting is not None:
            return self.sandbox_view(await self.lifecycle.note_restart(request.path["sandbox"], request.body.restarting))
        if request.body.start_no_more:
            return self.sandbox_view(await self.lifecycle.start_no_more(request.path["sandbox"]))
        if request.body.health is not None:
            health = health_shapes.health(request.body.health)
            return self.sandbox_view(await self.lifecycle.note_health(request.path["sandbox"], health))
        owner = await self.owners.find(request.body.owner_pid, request.caller.pid)
        leader = await self.owners.find_child(request.body.leader_pid, request.caller.pid)
        if request.body.egress is not None:
            await self.egress.change(request.path["sandbox"], request.body.egress)
        sandbox = await self.operations.change_sandbox(request.path["sandbox"], name=request.body.name, owner=owner, leader=leader)
        return self.sandbox_view(sandbox)

    async def remove_sandbox(self, request: ApiRequest[None]) -> schema.OutcomeView | schema.PlanView:
        if request.dry_run:
            found = self.operations.find(request.path["sandbox"])
            if isinstance(found, Run):
                return schema.PlanView([f"remove the record and the output of sandbox {found.name}"])
            return await self._dry_run.remove_sandbox(found.id)
        text = request.query.get(_EXIT_CODE.name)
        code = None if text is None else whole_number(text, 0, 255)
        if text is not None and code is None:
            raise InvalidRequest(_EXIT_CODE.name, f"{text!r:.60} is not a number from 0 to 255")
        cause = Cause.REQUEST if text is None else Cause.COMMAND_ENDED
        name, warnings = await self.operations.remove_sandbox(request.path["sandbox"], cause, lambda: code, wait=_waits(request))
        return schema.OutcomeView(f"sandbox {name} removed", list(warnings))

    async def connect_sandbox(self, request: ApiRequest[schema.ConnectBody]) -> schema.SandboxView | schema.PlanView:
        wanted = convert.endpoint_request(request.body, request.path["network"])
        if isinstance(self.operations.find(request.body.sandbox), Run):
            return await lifecycle_handlers.connect_stopped(self, request, wanted)
        if request.dry_run:
            return await self._dry_run.connect(request.body.sandbox, wanted)
        sandbox, warnings = await self.operations.connect(request.body.sandbox, wanted)
        return self.sandbox_view(sandbox, warnings)

    async def disconnect_sandbox(self, request: ApiRequest[schema.DisconnectBody]) -> schema.SandboxView | schema.PlanView:
        if isinstance(self.operations.find(request.body.sandbox), Run):
            return await lifecycle_handlers.disconnect_stopped(self, request)
        if request.dry_run:
            return await self._dry_run.disconnect(request.body.sandbox, request.path["network"])
        wait = _waits(request)
        sandbox, warnings = await self.operations.disconnect(request.body.sandbox, request.path["network"], wait=wait)
        return self.sandbox_view(sandbox, warnings)

    def sandbox_view(self, sandbox: Sandbox, warnings: Iterable[str] = ()) -> schema.SandboxView:
        """Return what is told of a sandbox."""
        return convert.sandbox_view(self.operations.details_of_sandbox(sandbox), self._proxies, warnings)

    # --- names --------------------------------------------------------------------------------------------------

    async def resolve_name(self, request: ApiRequest[schema.ResolveBody]) -> schema.ResolveView:
        body = request.body
        sandbox = self.operations.find_sandbox(body.sandbox) if body.sandbox else None
        return await self._lookup.resolve(body.name, body.type, sandbox)

    async def show_cache(self, request: ApiRequest[None]) -> cache_shapes.CacheView:
        service = self._lookup.service
        found, entries = await self._lookup.cached(request.query.get("name"), _limit(request))
        return cache_shapes.CacheView(
            found=found,
            size=service.cache.size,
            bound=service.cache.settings.size,
            hits=service.counters["hits"],
            misses=service.counters["misses"],
            entries=entries,
        )

    async def flush_cache(self, request: ApiRequest[cache_shapes.FlushBody]) -> cache_shapes.FlushView:
        return cache_shapes.FlushView(self._lookup.forget(request.body.name))

    # --- the daemon ---------------------------------------------------------------------------------------------

    async def list_nodes(self, request: ApiRequest[None]) -> list[schema.NodeView]:
        return [convert.node_view(details) for details in await self.operations.nodes()]

    async def stream_events(self, request: ApiRequest[None]) -> AsyncGenerator[schema.EventView, None]:
        return self._events.listen(moment(request, _SINCE), moment(request, _UNTIL))

    async def show_status(self, request: ApiRequest[None]) -> schema.StatusView:
        return await self._health.status()

    async def show_findings(self, request: ApiRequest[None]) -> list[schema_findings.FindingView]:
        return await self._doctor.examine()

    async def mend_findings(self, request: ApiRequest[schema_findings.DoctorBody]) -> list[schema_findings.FindingView]:
        return await self._doctor.treat(request.body.treatment)

    async def stop_daemon(self, request: ApiRequest[None]) -> schema.OutcomeView:
        self._stop()
        return schema.OutcomeView("the daemon stops")

    async def show_liveness(self, request: ApiRequest[None]) -> schema.HealthView:
        return self._health.liveness()

    async def show_readiness(self, request: ApiRequest[None]) -> schema.HealthView | ApiReply:
        view = self._health.readiness()
        return view if self._health.is_ready else ApiReply(view, 503)

    async def show_metrics(self, request: ApiRequest[None]) -> bytes:
        return await self._render_metrics()

    async def show_openapi(self, request: ApiRequest[None]) -> dict[str, Any]:
        return openapi.document(ROUTES, self._health.version)


def _adopted_netns(request: ApiRequest[schema.SandboxBody]) -> str | None:
    """Return the path of the namespace to adopt: a path, a process's, or a descriptor of the caller or of a process."""
    body, caller = request.body, request.caller
    if body.netns is not None:
        return body.netns
    if body.fd is not None:
        pid = body.pid if body.pid is not None else caller.pid
        return f"/proc/{pid}/fd/{body.fd}"
    return None if body.pid is None else f"/proc/{body.pid}/ns/net"


def _waits(request: ApiRequest[Any]) -> bool:
    """Return whether the caller waits until links are gone; InvalidRequest if for something else."""
    text = request.query.get(_WAIT.name)
    if text not in (None, "gone"):
        raise InvalidRequest(_WAIT.name, f"{text!r} is not known; the only thing to wait for is gone")
    return text is not None


def _limit(request: ApiRequest[None]) -> int:
    text = request.query.get("limit", str(limits.CACHE_SHOWN))
    limit = whole_number(text, 1, limits.CACHE_SHOWN_MOST)
    if limit is None:
        raise InvalidRequest("limit", f"{text!r:.60} is not a number from 1 to {limits.CACHE_SHOWN_MOST}")
    return limit


_PLAN = OtherResponse(200, "what a dry run would do", schema.PlanView)
_ALL = QueryParameter("all", "Those that are stopped too.", "boolean")
_PLUGINS = QueryParameter("plugins", "Ask network plugins for information about the endpoints.", "boolean")
_NAME = QueryParameter("name", "Only answers for this domain name and names below it.")
_LIMIT = QueryParameter("limit", f"Maximum number of entries; {limits.CACHE_SHOWN} by default.", "integer", most=limits.CACHE_SHOWN_MOST)
_EXIT_CODE = QueryParameter("exit_code", "What the command in it has ended with, for the event.", "integer")
_WAIT = QueryParameter("wait", "`gone`: answer when the kernel has deleted the links, too.")
_SINCE = QueryParameter("since", "Also events since then that are remembered; seconds since 1970.")
_UNTIL = QueryParameter("until", "End then; seconds since 1970.")

ROUTES: tuple[ApiRoute, ...] = (
    ApiRoute(
        method="POST", path="/v1/networks", operation_id="createNetwork", summary="Create a network", query=(DRY_RUN,),
        body=schema.NetworkBody, status=201, response=schema.NetworkView, other_responses=(_PLAN,), handler=Admin.create_network,
    ),
    ApiRoute(
        method="GET", path="/v1/networks", operation_id="listNetworks", summary="List networks",
        response=list[schema.NetworkView], handler=Admin.list_networks,
    ),
    ApiRoute(
        method="GET", path="/v1/networks/{network}", operation_id="showNetwork", summary="Show one network",
        response=schema.NetworkView, handler=Admin.show_network,
    ),
    ApiRoute(
        method="DELETE", path="/v1/networks/{network}", operation_id="removeNetwork", summary="Remove a network without endpoints",
        query=(DRY_RUN, _WAIT), response=schema.OutcomeView | schema.PlanView, handler=Admin.remove_network,
    ),
    ApiRoute(
        method="GET", path="/v1/networks/{network}/records", operation_id="listRecords", summary="List the static names of a network",
        response=list[RecordView], handler=record_handlers.list_records,
    ),
    ApiRoute(
        method="POST", path="/v1/networks/{network}/records", operation_id="addRecord", summary="Add a static name to a network",
        body=RecordBody, status=201, response=RecordView, handler=record_handlers.add_record,
    ),
    ApiRoute(
        method="DELETE", path="/v1/networks/{network}/records", operation_id="removeRecords",
        summary="Remove static names from a network: all of a name, or those of a type, or the one with certain data",
        query=record_handlers.WHICH, response=list[RecordView], handler=record_handlers.remove_records,
    ),
    ApiRoute(
        method="POST", path="/v1/networks/prune", operation_id="pruneNetworks", summary="Remove networks without endpoints",
        body=schema.PruneBody, body_required=False, response=schema.PrunedView, handler=Admin.prune_networks,
    ),
    ApiRoute(
        method="POST", path="/v1/networks/{network}/connect", operation_id="connectSandbox", summary="Connect a sandbox to a network",
        query=(DRY_RUN,), body=schema.ConnectBody, response=schema.SandboxView | schema.PlanView, handler=Admin.connect_sandbox,
    ),
    ApiRoute(
        method="POST", path="/v1/networks/{network}/disconnect", operation_id="disconnectSandbox",
        summary="Disconnect a sandbox from a network", query=(DRY_RUN, _WAIT), body=schema.DisconnectBody,
        response=schema.SandboxView | schema.PlanView, handler=Admin.disconnect_sandbox,
    ),
    ApiRoute(
        method="POST", path="/v1/sandboxes", operation_id="createSandbox", summary="Create or adopt a sandbox", query=(DRY_RUN,),
        body=schema.SandboxBody, status=201, response=schema.SandboxView, other_responses=(_PLAN,), handler=Admin.create_sandbox,
    ),
    ApiRoute(
        method="GET", path="/v1/sandboxes", operation_id="listSandboxes", summary="List sandboxes", query=(_ALL,),
        response=list[schema.SandboxView], handler=Admin.list_sandboxes,
    ),
    ApiRoute(
        method="GET", path="/v1/sandboxes/{sandbox}", operation_id="showSandbox", summary="Show one sandbox", query=(_PLUGINS,),
        response=schema.SandboxView, handler=Admin.show_sandbox,
    ),
    ApiRoute(
        method="PATCH", path="/v1/sandboxes/{sandbox}", operation_id="changeSandbox",
        summary="Rename a sandbox, or make a process its owner or the one that further commands join",
        body=schema.SandboxChange, response=schema.SandboxView,
        handler=Admin.change_sandbox,
    ),
    ApiRoute(
        method="DELETE", path="/v1/sandboxes/{sandbox}", operation_id="removeSandbox",
        summary="End what was started in a sandbox, and remove the sandbox and everything it has",
        query=(DRY_RUN, _WAIT, _EXIT_CODE), response=schema.OutcomeView | schema.PlanView, handler=Admin.remove_sandbox,
    ),
    ApiRoute(
        method="POST", path="/v1/sandboxes/{sandbox}/start", operation_id="startSandbox",
        summary="Make a stopped sandbox again, for the caller to start its command in", body=schema.StartBody, response=schema.StartView,
        handler=lifecycle_handlers.start_sandbox,
    ),
    ApiRoute(
        method="POST", path="/v1/sandboxes/{sandbox}/stop", operation_id="stopSandbox",
        summary="Stop the command in a sandbox, and free its addresses and ports", body=schema.StopBody, body_required=False,
        response=schema.OutcomeView, handler=lifecycle_handlers.stop_sandbox,
    ),
    ApiRoute(
        method="POST", path="/v1/sandboxes/prune", operation_id="pruneSandboxes", summary="Remove the sandboxes that are stopped",
        body=schema.PruneBody, body_required=False,
        response=schema.PrunedView, handler=lifecycle_handlers.prune_sandboxes,
    ),
    ApiRoute(
        method="GET", path="/v1/nodes", operation_id="listNodes", summary="List the hosts that share overlay networks",
        response=list[schema.NodeView], handler=Admin.list_nodes,
    ),
    ApiRoute(
        method="POST", path="/v1/resolve", operation_id="resolveName", summary="Look a name up as a sandbox would, with the reasons",
        body=schema.ResolveBody, reads_only=True, response=schema.ResolveView, handler=Admin.resolve_name,
    ),
    ApiRoute(
        method="POST", path="/v1/host-names/write", operation_id="writeHostNames",
        summary="Write the names of sandboxes to the host's /etc/hosts, if it has marks for them",
        response=schema.OutcomeView, handler=record_handlers.write_host_names,
    ),
    ApiRoute(
        method="GET", path="/v1/cache", operation_id="showCache", summary="Show cached answers of upstreams", query=(_NAME, _LIMIT),
        response=cache_shapes.CacheView, handler=Admin.show_cache,
    ),
    ApiRoute(
        method="POST", path="/v1/cache/flush", operation_id="flushCache", summary="Remove answers from the cache",
        body=cache_shapes.FlushBody, response=cache_shapes.FlushView, handler=Admin.flush_cache,
    ),
    ApiRoute(
        method="GET", path="/v1/events", operation_id="streamEvents", summary="Stream events, one JSON object a line",
        query=(_SINCE, _UNTIL),
        response=schema.EventView, media_type="application/x-ndjson", stream=True, handler=Admin.stream_events,
    ),
    ApiRoute(
        method="GET", path="/v1/status", operation_id="showStatus", summary="Show the state of the daemon, and its warnings",
        response=schema.StatusView, handler=Admin.show_status,
    ),
    ApiRoute(
        method="GET", path="/v1/doctor", operation_id="showFindings", summary="Show what is not as it should be",
        response=list[schema_findings.FindingView], handler=Admin.show_findings,
    ),
    ApiRoute(
        method="POST", path="/v1/doctor", operation_id="mendFindings", summary="Mend what is not as it should be, in one way",
        body=schema_findings.DoctorBody, response=list[schema_findings.FindingView], handler=Admin.mend_findings,
    ),
    ApiRoute(
        method="POST", path="/v1/stop", operation_id="stopDaemon", summary="Stop the daemon; sandboxes go on",
        ends_daemon=True, response=schema.OutcomeView, handler=Admin.stop_daemon,
    ),
    ApiRoute(
        method="GET", path="/healthz", operation_id="showLiveness", summary="Report that the process is alive",
        response=schema.HealthView, handler=Admin.show_liveness,
    ),
    ApiRoute(
        method="GET", path="/readyz", operation_id="showReadiness", summary="Report whether networks and names of the last run are back",
        response=schema.HealthView, other_responses=(OtherResponse(503, "not yet", schema.HealthView),), handler=Admin.show_readiness,
    ),
    ApiRoute(
        method="GET", path="/metrics", operation_id="showMetrics", summary="Show metrics in the text format of Prometheus",
        response=str, media_type="text/plain; version=0.0.4; charset=utf-8", handler=Admin.show_metrics,
    ),
    ApiRoute(
        method="GET", path="/v1/openapi.json", operation_id="showOpenApi", summary="This document",
        response=dict[str, Any], handler=Admin.show_openapi,
    ),
    *egress_api.ROUTES,
)  # fmt: skip
"""Every operation of the admin API."""
