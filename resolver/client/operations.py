"""The operations of the admin API.

A class for each part of it, a method for each operation. Written by `python -m resolver.daemon.client_code`; not by hand.
"""
# fmt: off

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from resolver.client import shapes
from resolver.client.connection import Connection
from resolver.client.requests import segment


class Networks:
    """Networks and their static names."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_network(self, body: shapes.NetworkBody) -> shapes.NetworkView:
        """Create a network: `POST /v1/networks`."""
        return await self._connection.ask("POST", "/v1/networks", shapes.NetworkView, body=body)

    async def plan_create_network(self, body: shapes.NetworkBody) -> shapes.PlanView:
        """Say what `create_network` would do, and do nothing: `POST /v1/networks`."""
        return await self._connection.ask("POST", "/v1/networks", shapes.PlanView, query={"dry_run": True}, body=body)

    async def list_networks(self) -> list[shapes.NetworkView]:
        """List networks: `GET /v1/networks`."""
        return await self._connection.ask("GET", "/v1/networks", list[shapes.NetworkView])

    async def show_network(self, network: str) -> shapes.NetworkView:
        """Show one network: `GET /v1/networks/{network}`."""
        return await self._connection.ask("GET", f"/v1/networks/{segment(network)}", shapes.NetworkView)

    async def remove_network(self, network: str, *, wait: str | None = None) -> shapes.OutcomeView:
        """Remove a network without endpoints: `DELETE /v1/networks/{network}`.

        *wait*: `gone`: answer when the kernel has deleted the links, too.
        """
        return await self._connection.ask("DELETE", f"/v1/networks/{segment(network)}", shapes.OutcomeView, query={"wait": wait})

    async def plan_remove_network(self, network: str, *, wait: str | None = None) -> shapes.PlanView:
        """Say what `remove_network` would do, and do nothing: `DELETE /v1/networks/{network}`.

        *wait*: `gone`: answer when the kernel has deleted the links, too.
        """
        return await self._connection.ask(
            "DELETE",
            f"/v1/networks/{segment(network)}",
            shapes.PlanView,
            query={"wait": wait, "dry_run": True},
        )

    async def list_records(self, network: str) -> list[shapes.RecordView]:
        """List the static names of a network: `GET /v1/networks/{network}/records`."""
        return await self._connection.ask("GET", f"/v1/networks/{segment(network)}/records", list[shapes.RecordView])

    async def add_record(self, network: str, body: shapes.RecordBody) -> shapes.RecordView:
        """Add a static name to a network: `POST /v1/networks/{network}/records`."""
        return await self._connection.ask("POST", f"/v1/networks/{segment(network)}/records", shapes.RecordView, body=body)

    async def remove_records(
        self,
        network: str,
        *,
        name: str | None = None,
        type: str | None = None,
        data: str | None = None,
    ) -> list[shapes.RecordView]:
        """Remove static names from a network: all of a name, or those of a type, or the one with certain data.

        `DELETE /v1/networks/{network}/records`

        *name*: Name on the network; needed.
        *type*: Only records of this type.
        *data*: Only the record with this data, in presentation format; needs a type.
        """
        return await self._connection.ask(
            "DELETE",
            f"/v1/networks/{segment(network)}/records",
            list[shapes.RecordView],
            query={"name": name, "type": type, "data": data},
        )

    async def prune_networks(self, body: shapes.PruneBody | None = None) -> shapes.PrunedView:
        """Remove networks without endpoints: `POST /v1/networks/prune`."""
        return await self._connection.ask("POST", "/v1/networks/prune", shapes.PrunedView, body=body)

    async def connect_sandbox(self, network: str, body: shapes.ConnectBody) -> shapes.SandboxView:
        """Connect a sandbox to a network: `POST /v1/networks/{network}/connect`."""
        return await self._connection.ask("POST", f"/v1/networks/{segment(network)}/connect", shapes.SandboxView, body=body)

    async def plan_connect_sandbox(self, network: str, body: shapes.ConnectBody) -> shapes.PlanView:
        """Say what `connect_sandbox` would do, and do nothing: `POST /v1/networks/{network}/connect`."""
        return await self._connection.ask(
            "POST",
            f"/v1/networks/{segment(network)}/connect",
            shapes.PlanView,
            query={"dry_run": True},
            body=body,
        )

    async def disconnect_sandbox(self, network: str, body: shapes.DisconnectBody, *, wait: str | None = None) -> shapes.SandboxView:
        """Disconnect a sandbox from a network: `POST /v1/networks/{network}/disconnect`.

        *wait*: `gone`: answer when the kernel has deleted the links, too.
        """
        return await self._connection.ask(
            "POST",
            f"/v1/networks/{segment(network)}/disconnect",
            shapes.SandboxView,
            query={"wait": wait},
            body=body,
        )

    async def plan_disconnect_sandbox(self, network: str, body: shapes.DisconnectBody, *, wait: str | None = None) -> shapes.PlanView:
        """Say what `disconnect_sandbox` would do, and do nothing: `POST /v1/networks/{network}/disconnect`.

        *wait*: `gone`: answer when the kernel has deleted the links, too.
        """
        return await self._connection.ask(
            "POST",
            f"/v1/networks/{segment(network)}/disconnect",
            shapes.PlanView,
            query={"wait": wait, "dry_run": True},
            body=body,
        )


class Sandboxes:
    """Sandboxes, and what each of them may reach."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create_sandbox(self, body: shapes.SandboxBody) -> shapes.SandboxView:
        """Create or adopt a sandbox: `POST /v1/sandboxes`."""
        return await self._connection.ask("POST", "/v1/sandboxes", shapes.SandboxView, body=body)

    async def plan_create_sandbox(self, body: shapes.SandboxBody) -> shapes.PlanView:
        """Say what `create_sandbox` would do, and do nothing: `POST /v1/sandboxes`."""
        return await self._connection.ask("POST", "/v1/sandboxes", shapes.PlanView, query={"dry_run": True}, body=body)

    async def list_sandboxes(self, *, all: bool = False) -> list[shapes.SandboxView]:
        """List sandboxes: `GET /v1/sandboxes`.

        *all*: Those that are stopped too.
        """
        return await self._connection.ask("GET", "/v1/sandboxes", list[shapes.SandboxView], query={"all": all})

    async def show_sandbox(self, sandbox: str, *, plugins: bool = False) -> shapes.SandboxView:
        """Show one sandbox: `GET /v1/sandboxes/{sandbox}`.

        *plugins*: Ask network plugins for information about the endpoints.
        """
        return await self._connection.ask("GET", f"/v1/sandboxes/{segment(sandbox)}", shapes.SandboxView, query={"plugins": plugins})

    async def change_sandbox(self, sandbox: str, body: shapes.SandboxChange) -> shapes.SandboxView:
        """Rename a sandbox, or make a process its owner or the one that further commands join: `PATCH /v1/sandboxes/{sandbox}`."""
        return await self._connection.ask("PATCH", f"/v1/sandboxes/{segment(sandbox)}", shapes.SandboxView, body=body)

    async def remove_sandbox(self, sandbox: str, *, wait: str | None = None, exit_code: int | None = None) -> shapes.OutcomeView:
        """End what was started in a sandbox, and remove the sandbox and everything it has: `DELETE /v1/sandboxes/{sandbox}`.

        *wait*: `gone`: answer when the kernel has deleted the links, too.
        *exit_code*: What the command in it has ended with, for the event.
        """
        return await self._connection.ask(
            "DELETE",
            f"/v1/sandboxes/{segment(sandbox)}",
            shapes.OutcomeView,
            query={"wait": wait, "exit_code": exit_code},
        )

    async def plan_remove_sandbox(self, sandbox: str, *, wait: str | None = None, exit_code: int | None = None) -> shapes.PlanView:
        """Say what `remove_sandbox` would do, and do nothing: `DELETE /v1/sandboxes/{sandbox}`.

        *wait*: `gone`: answer when the kernel has deleted the links, too.
        *exit_code*: What the command in it has ended with, for the event.
        """
        return await self._connection.ask(
            "DELETE",
            f"/v1/sandboxes/{segment(sandbox)}",
            shapes.PlanView,
            query={"wait": wait, "exit_code": exit_code, "dry_run": True},
        )

    async def start_sandbox(self, sandbox: str, body: shapes.StartBody) -> shapes.StartView:
        """Make a stopped sandbox again, for the caller to start its command in: `POST /v1/sandboxes/{sandbox}/start`."""
        return await self._connection.ask("POST", f"/v1/sandboxes/{segment(sandbox)}/start", shapes.StartView, body=body)

    async def stop_sandbox(self, sandbox: str, body: shapes.StopBody | None = None) -> shapes.OutcomeView:
        """Stop the command in a sandbox, and free its addresses and ports: `POST /v1/sandboxes/{sandbox}/stop`."""
        return await self._connection.ask("POST", f"/v1/sandboxes/{segment(sandbox)}/stop", shapes.OutcomeView, body=body)

    async def prune_sandboxes(self, body: shapes.PruneBody | None = None) -> shapes.PrunedView:
        """Remove the sandboxes that are stopped: `POST /v1/sandboxes/prune`."""
        return await self._connection.ask("POST", "/v1/sandboxes/prune", shapes.PrunedView, body=body)

    async def show_egress(self, sandbox: str) -> shapes.EgressView:
        """Show the egress rules of a sandbox: `GET /v1/sandboxes/{sandbox}/egress`."""
        return await self._connection.ask("GET", f"/v1/sandboxes/{segment(sandbox)}/egress", shapes.EgressView)

    async def test_egress(self, sandbox: str, body: shapes.EgressTestBody) -> shapes.EgressTestView:
        """Say whether a sandbox may reach something: `POST /v1/sandboxes/{sandbox}/egress/test`."""
        return await self._connection.ask("POST", f"/v1/sandboxes/{segment(sandbox)}/egress/test", shapes.EgressTestView, body=body)


class Egress:
    """What egress rules have refused, and what they have learned."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def show_learned(self, sandbox: str) -> shapes.LearnedView:
        """The rules that a sandbox with the rule learn has needed: `GET /v1/egress/learned/{sandbox}`."""
        return await self._connection.ask("GET", f"/v1/egress/learned/{segment(sandbox)}", shapes.LearnedView)

    async def forget_learned(self, sandbox: str) -> shapes.LearnedView:
        """Forget the rules that a sandbox with the rule learn has needed: `DELETE /v1/egress/learned/{sandbox}`."""
        return await self._connection.ask("DELETE", f"/v1/egress/learned/{segment(sandbox)}", shapes.LearnedView)

    async def show_refused(self, *, sandbox: str | None = None, since: str | None = None) -> list[shapes.RefusedView]:
        """What egress rules refused: `GET /v1/egress/log`.

        *sandbox*: Only of this sandbox.
        *since*: Only what was refused since then; seconds since 1970.
        """
        return await self._connection.ask("GET", "/v1/egress/log", list[shapes.RefusedView], query={"sandbox": sandbox, "since": since})

    def stream_refused(self, *, sandbox: str | None = None, since: str | None = None) -> AsyncIterator[shapes.RefusedView]:
        """Follow what egress rules refuse: `GET /v1/egress/log/stream`.

        *sandbox*: Only of this sandbox.
        *since*: Only what was refused since then; seconds since 1970.
        """
        return self._connection.follow("/v1/egress/log/stream", shapes.RefusedView, query={"sandbox": sandbox, "since": since})


class Daemon:
    """The daemon itself, its cache, its look-ups and its cluster."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list_nodes(self) -> list[shapes.NodeView]:
        """List the hosts that share overlay networks: `GET /v1/nodes`."""
        return await self._connection.ask("GET", "/v1/nodes", list[shapes.NodeView])

    async def resolve_name(self, body: shapes.ResolveBody) -> shapes.ResolveView:
        """Look a name up as a sandbox would, with the reasons: `POST /v1/resolve`."""
        return await self._connection.ask("POST", "/v1/resolve", shapes.ResolveView, body=body)

    async def write_host_names(self) -> shapes.OutcomeView:
        """Write the names of sandboxes to the host's /etc/hosts, if it has marks for them: `POST /v1/host-names/write`."""
        return await self._connection.ask("POST", "/v1/host-names/write", shapes.OutcomeView)

    async def show_cache(self, *, name: str | None = None, limit: int | None = None) -> shapes.CacheView:
        """Show cached answers of upstreams: `GET /v1/cache`.

        *name*: Only answers for this domain name and names below it.
        *limit*: Maximum number of entries; 1000 by default.
        """
        return await self._connection.ask("GET", "/v1/cache", shapes.CacheView, query={"name": name, "limit": limit})

    async def flush_cache(self, body: shapes.FlushBody) -> shapes.FlushView:
        """Remove answers from the cache: `POST /v1/cache/flush`."""
        return await self._connection.ask("POST", "/v1/cache/flush", shapes.FlushView, body=body)

    def stream_events(self, *, since: str | None = None, until: str | None = None) -> AsyncIterator[shapes.EventView]:
        """Stream events, one JSON object a line: `GET /v1/events`.

        *since*: Also events since then that are remembered; seconds since 1970.
        *until*: End then; seconds since 1970.
        """
        return self._connection.follow("/v1/events", shapes.EventView, query={"since": since, "until": until})

    async def show_status(self) -> shapes.StatusView:
        """Show the state of the daemon, and its warnings: `GET /v1/status`."""
        return await self._connection.ask("GET", "/v1/status", shapes.StatusView)

    async def show_findings(self) -> list[shapes.FindingView]:
        """Show what is not as it should be: `GET /v1/doctor`."""
        return await self._connection.ask("GET", "/v1/doctor", list[shapes.FindingView])

    async def mend_findings(self, body: shapes.DoctorBody) -> list[shapes.FindingView]:
        """Mend what is not as it should be, in one way: `POST /v1/doctor`."""
        return await self._connection.ask("POST", "/v1/doctor", list[shapes.FindingView], body=body)

    async def stop_daemon(self) -> shapes.OutcomeView:
        """Stop the daemon; sandboxes go on: `POST /v1/stop`."""
        return await self._connection.ask("POST", "/v1/stop", shapes.OutcomeView)

    async def show_liveness(self) -> shapes.HealthView:
        """Report that the process is alive: `GET /healthz`."""
        return await self._connection.ask("GET", "/healthz", shapes.HealthView)

    async def show_readiness(self) -> shapes.HealthView:
        """Report whether networks and names of the last run are back: `GET /readyz`."""
        return await self._connection.ask("GET", "/readyz", shapes.HealthView, accepted=(503,))

    async def show_metrics(self) -> str:
        """Show metrics in the text format of Prometheus: `GET /metrics`."""
        return await self._connection.text("GET", "/metrics")

    async def show_open_api(self) -> dict[str, Any]:
        """This document: `GET /v1/openapi.json`."""
        return await self._connection.ask("GET", "/v1/openapi.json", dict[str, Any])
