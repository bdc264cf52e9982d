"""The admin API: HTTP on a unix socket. Handlers read a body, make one call, write the result; errors go by one table."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from netcore import errors as netcore_errors
from netcore.controller import Controller
from netcore.errors import InvalidRequest
from netcore.model import DEFAULT_BRIDGE, EndpointRequest, Network, NetworkRequest, Sandbox, Stack
from netcore.plan.plans import Outcome
from netcore.store.protocol import Compacted, CompareFailed
from resolver import errors, limits
from resolver.daemon import convert, metrics, schema
from resolver.daemon.events import Events
from resolver.daemon.keeper import Keeper
from resolver.daemon.lookup import Lookup
from resolver.daemon.other_firewalls import OtherFirewalls
from resolver.daemon.registry import Registry

log = logging.getLogger(__name__)

_DEFAULT = NetworkRequest(name="default", labels=(("berth.auto", "true"),))
_B = TypeVar("_B", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS: dict[type[Exception], tuple[int, str]] = {
    netcore_errors.InvalidRequest: (400, "invalid"),
    netcore_errors.NotFound: (404, "not-found"),
    netcore_errors.Conflict: (409, "conflict"),
    netcore_errors.Exhausted: (409, "exhausted"),
    netcore_errors.KernelError: (500, "kernel"),
    netcore_errors.Unavailable: (503, "unavailable"),
    netcore_errors.PluginFailed: (502, "plugin"),
    netcore_errors.TeardownFailed: (500, "teardown"),
    CompareFailed: (409, "conflict"),
    Compacted: (503, "unavailable"),
    errors.DecodeError: (400, "invalid"),
    errors.BadName: (400, "invalid"),
    errors.ConfigError: (400, "invalid"),
}
"""Every error of both halves → (HTTP status, kind in the body)."""


class Admin:
    """The handlers. All collaborators are given; nothing here knows how anything is done."""

    def __init__(
        self,
        *,
        version: str,
        controller: Controller,
        registry: Registry,
        keeper: Keeper,
        lookup: Lookup,
        events: Events,
        foreign: OtherFirewalls,
        proxies: Mapping[str, Mapping[str, str]],
        default_bridge: NetworkRequest,
    ) -> None:
        self._version = version
        self._controller = controller
        self._registry = registry
        self._keeper = keeper
        self._lookup = lookup
        self._events = events
        self._foreign = foreign
        self._proxies = proxies
        self._default_bridge = default_bridge
        self._started = time.monotonic()
        self._default = asyncio.Lock()
        self.ready = False
        self.busy = 0

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=limits.BODY, middlewares=[self._middleware()])
        handlers: dict[tuple[str, str], Handler] = {
            ("post", "/v1/networks"): self._create_network,
            ("get", "/v1/networks"): self._list_networks,
            ("get", "/v1/networks/{network}"): self._show_network,
            ("delete", "/v1/networks/{network}"): self._remove_network,
            ("post", "/v1/networks/prune"): self._prune_networks,
            ("post", "/v1/networks/{network}/connect"): self._connect,
            ("post", "/v1/networks/{network}/disconnect"): self._disconnect,
            ("post", "/v1/sandboxes"): self._create_sandbox,
            ("get", "/v1/sandboxes"): self._list_sandboxes,
            ("get", "/v1/sandboxes/{sandbox}"): self._show_sandbox,
            ("patch", "/v1/sandboxes/{sandbox}"): self._change_sandbox,
            ("delete", "/v1/sandboxes/{sandbox}"): self._remove_sandbox,
            ("get", "/v1/nodes"): self._list_nodes,
            ("post", "/v1/resolve"): self._resolve,
            ("get", "/v1/cache"): self._show_cache,
            ("post", "/v1/cache/flush"): self._flush_cache,
            ("get", "/v1/events"): self._stream_events,
            ("get", "/v1/status"): self._status,
            ("get", "/healthz"): self._health,
            ("get", "/readyz"): self._readiness,
            ("get", "/metrics"): self._metrics,
            ("get", "/v1/openapi.json"): self._openapi,
        }
        for (method, path), handler in handlers.items():
            app.router.add_route(method.upper(), path, handler)
        return app

    def _middleware(self) -> Any:
        @web.middleware
        async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.busy += 1
            try:
                return await handler(request)
            except web.HTTPException as error:
                return _error(error.status, "invalid" if error.status < 500 else "internal", request.path, error.reason)
            except tuple(STATUS) as error:
                status, kind = STATUS[type(error)]
                level = logging.ERROR if status >= 500 else logging.INFO
                log.log(level, "request refused method=%s path=%s status=%d reason=%s", request.method, request.path, status, error)
                return _error(status, kind, _object(error), _message(error))
            except Exception as error:
                log.exception("request failed method=%s path=%s", request.method, request.path)
                return _error(500, "internal", request.path, f"{type(error).__name__}: {error}")
            finally:
                self.busy -= 1

        return answer_errors

    # --- networks -----------------------------------------------------------------------------------------------

    async def _create_network(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.NetworkBody)
        owner = await self._keeper.owner(body.owner_pid)
        asked = convert.network_request(body, owner)
        network, outcome = await self._controller.networks.create(asked, dry_run=_dry(request))
        if _dry(request):
            return _plan(outcome)
        await self._keeper.watch(owner)
        self._events.emit("network", "create", network.name)
        await self._foreign.check()
        return _json(self._network_view(network, (*outcome.warnings, *self._foreign.warnings())), 201)

    async def _list_networks(self, _: web.Request) -> web.Response:
        networks = sorted(self._controller.state.networks.values(), key=lambda item: item.name)
        return _json([self._network_view(item) for item in networks])

    async def _show_network(self, request: web.Request) -> web.Response:
        return _json(self._network_view(self._controller.state.find_network(request.match_info["network"])))

    async def _remove_network(self, request: web.Request) -> web.Response:
        reference = request.match_info["network"]
        if _dry(request):
            return _plan(await self._controller.networks.remove(reference, dry_run=True))
        name = self._controller.state.find_network(reference).name if reference not in ("bridge", "host", "none") else reference
        await self.remove_network(reference)
        return _json(schema.OutcomeView(f"network {name} removed"))

    async def remove_network(self, reference: str) -> None:
        """Remove a network and tell everybody."""
        name = self._controller.state.find_network(reference).name
        await self._controller.networks.remove(reference)
        self._events.emit("network", "remove", name)
        await self._foreign.check()

    async def _prune_networks(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.PruneBody) if request.can_read_body else schema.PruneBody()
        removed = []
        for network in list(self._controller.state.networks.values()):
            if convert.is_meant(network, body) and not self._controller.state.members(network.id):
                await self.remove_network(network.id)
                removed.append(network.name)
        return _json(schema.PrunedView(removed))

    def _network_view(self, network: Network, warnings: tuple[str, ...] = ()) -> schema.NetworkView:
        members = self._controller.state.members(network.id)
        remote = self._controller.overlays.elsewhere(network)
        return convert.network_view(network, members, self._controller.pool_usage(network), warnings, remote)

    # --- sandboxes ----------------------------------------------------------------------------------------------

    async def _create_sandbox(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.SandboxBody)
        owner = await self._keeper.owner(body.owner_pid if body.owner_pid is not None else body.pid)
        asked = convert.sandbox_request(body, _adopted(body, request), owner)
        if body.default_network and not body.networks:
            asked = replace(asked, networks=(EndpointRequest(network=(await self._automatic(_DEFAULT)).id),))
        if any(item.network == DEFAULT_BRIDGE for item in asked.networks):
            await self._automatic(self._default_bridge)
        sandbox, outcome = await self._controller.sandboxes.create(asked, dry_run=_dry(request))
        if _dry(request):
            return _plan(outcome)
        await self._keeper.watch(owner)
        self._events.emit("sandbox", "create", sandbox.name)
        for item in asked.networks if sandbox.stack is Stack.OWN else ():
            self._events.emit("endpoint", "connect", sandbox.name, self._controller.state.find_network(item.network).name)
        return _json(self._sandbox_view(sandbox, (*outcome.warnings, *self._foreign.warnings())), 201)

    async def _automatic(self, asked: NetworkRequest) -> Network:
        """Return the network that *asked* means: `default` or `bridge`, which are made when first needed."""
        async with self._default:
            found = next((item for item in self._controller.state.networks.values() if item.name == asked.name), None)
            if found is None:
                found, _ = await self._controller.networks.create(asked)
                self._events.emit("network", "create", found.name)
                await self._foreign.check()
            return found

    async def _list_sandboxes(self, _: web.Request) -> web.Response:
        sandboxes = sorted(self._controller.state.sandboxes.values(), key=lambda item: item.name)
        return _json([self._sandbox_view(item) for item in sandboxes])

    async def _show_sandbox(self, request: web.Request) -> web.Response:
        sandbox = self._controller.state.find_sandbox(request.match_info["sandbox"])
        told = await self._controller.plugin_information(sandbox) if request.query.get("plugins") == "1" else None
        return _json(self._sandbox_view(sandbox, told=told))

    async def _change_sandbox(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.SandboxChange)
        owner = await self._keeper.owner(body.owner_pid)

        def change(sandbox: Sandbox) -> Sandbox:
            return replace(sandbox, name=body.name or sandbox.name, owner=owner or sandbox.owner)

        sandbox = await self._controller.sandboxes.change(request.match_info["sandbox"], change)
        await self._keeper.watch(owner)
        if body.name:
            self._events.emit("sandbox", "rename", sandbox.name)
        return _json(self._sandbox_view(sandbox))

    async def _remove_sandbox(self, request: web.Request) -> web.Response:
        reference = request.match_info["sandbox"]
        if _dry(request):
            return _plan(await self._controller.sandboxes.remove(reference, dry_run=True))
        name = self._controller.state.find_sandbox(reference).name
        outcome = await self.remove_sandbox(reference)
        return _json(schema.OutcomeView(f"sandbox {name} removed", list(outcome.warnings)))

    async def remove_sandbox(self, reference: str) -> Outcome:
        """Remove a sandbox and tell everybody."""
        name = self._controller.state.find_sandbox(reference).name
        outcome = await self._controller.sandboxes.remove(reference)
        self._events.emit("sandbox", "remove", name)
        return outcome

    async def _connect(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.ConnectBody)
        if request.match_info["network"] == DEFAULT_BRIDGE:
            await self._automatic(self._default_bridge)
        network = self._controller.state.find_network(request.match_info["network"])
        asked = convert.endpoint_request(body, network.id)
        outcome = await self._controller.sandboxes.connect(body.sandbox, asked, dry_run=_dry(request))
        if _dry(request):
            return _plan(outcome)
        sandbox = self._controller.state.find_sandbox(body.sandbox)
        self._events.emit("endpoint", "connect", sandbox.name, network.name)
        return _json(self._sandbox_view(sandbox, (*outcome.warnings, *self._foreign.warnings())))

    async def _disconnect(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.DisconnectBody)
        network = self._controller.state.find_network(request.match_info["network"])
        outcome = await self._controller.sandboxes.disconnect(body.sandbox, network.id, dry_run=_dry(request))
        if _dry(request):
            return _plan(outcome)
        sandbox = self._controller.state.find_sandbox(body.sandbox)
        self._events.emit("endpoint", "disconnect", sandbox.name, network.name)
        return _json(self._sandbox_view(sandbox))

    def _sandbox_view(
        self, sandbox: Sandbox, warnings: tuple[str, ...] = (), told: Mapping[str, dict[str, Any]] | None = None
    ) -> schema.SandboxView:
        endpoints = self._controller.state.endpoints[sandbox.id]
        directory = self._controller.files_of(sandbox.id)
        target = self._controller.state.sandboxes.get(sandbox.shared_with) if sandbox.shared_with is not None else None
        return convert.sandbox_view(sandbox, endpoints, self._controller.state.networks, directory, target, self._proxies, warnings, told)

    # --- the rest -----------------------------------------------------------------------------------------------

    async def _list_nodes(self, _: web.Request) -> web.Response:
        cluster = self._controller.overlays.require_cluster()
        counts = cluster.state.counts()
        nodes = sorted(cluster.state.nodes.values(), key=lambda item: (item.name, item.id))
        return _json(
            [schema.NodeView(item.id, item.name, str(item.vtep), counts.get(item.id, 0), item.id == cluster.node.id) for item in nodes]
        )

    async def _resolve(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.ResolveBody)
        sandbox = self._controller.state.find_sandbox(body.sandbox) if body.sandbox else None
        return _json(await self._lookup.resolve(body.name, body.type, sandbox))

    async def _show_cache(self, request: web.Request) -> web.Response:
        service = self._lookup.service
        most = request.query.get("limit", str(limits.CACHE_SHOWN))
        if not most.isdigit() or not 0 < int(most) <= limits.CACHE_SHOWN_MOST:
            raise InvalidRequest("limit", f"{most!r} is not a number from 1 to {limits.CACHE_SHOWN_MOST}")
        found, entries = await self._lookup.cached(request.query.get("name"), int(most))
        return _json(
            schema.CacheView(
                found=found,
                size=service.cache.size,
                bound=service.cache.settings.size,
                hits=service.counters["hits"],
                misses=service.counters["misses"],
                entries=entries,
            )
        )

    async def _flush_cache(self, request: web.Request) -> web.Response:
        body = await _body(request, schema.FlushBody)
        return _json(schema.FlushView(self._lookup.forget(body.name)))

    async def _stream_events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        # Who only listens does not keep the daemon.
        self.busy -= 1
        try:
            async for event in self._events.listen():
                await response.write(msgspec.json.encode(event) + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.busy += 1
        return response

    async def _status(self, _: web.Request) -> web.Response:
        host = self._lookup.host
        return _json(
            schema.StatusView(
                version=self._version,
                pid=os.getpid(),
                uptime_seconds=round(time.monotonic() - self._started, 3),
                networks=len(self._controller.state.networks),
                sandboxes=len(self._controller.state.sandboxes),
                queries=sum(slot.queries for slot in self._registry.slots()) + self._registry.closed_queries,
                resolv_conf=host.path,
                nameservers=list(host.content.nameservers),
                upstreams=self._lookup.upstreams(),
                firewall="nftables" if self._controller.settings.firewall else "none",
                warnings=[*self._registry.warnings(), *self._controller.host_warnings(), *self._foreign.warnings()],
            )
        )

    async def _health(self, _: web.Request) -> web.Response:
        return _json(schema.HealthView("ok"))

    async def _readiness(self, _: web.Request) -> web.Response:
        return _json(schema.HealthView("ok" if self.ready else "starting"), 200 if self.ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        text = metrics.render(self._controller, self._registry, self._lookup.service, self._lookup.pool, time.monotonic())
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _openapi(self, _: web.Request) -> web.Response:
        return _json(schema.openapi(self._version))


async def _body(request: web.Request, kind: type[_B]) -> _B:
    octets = await request.read()
    try:
        return msgspec.json.decode(octets, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidRequest("body", str(error)) from error


def _adopted(body: schema.SandboxBody, request: web.Request) -> str | None:
    """Return the path of the namespace to adopt: a path, a process, or a descriptor of the caller's process."""
    if body.netns is not None:
        return body.netns
    if body.fd is not None:
        pid = body.pid if body.pid is not None else _peer_pid(request)
        if pid != _peer_pid(request) and _peer_uid(request) != 0:
            raise InvalidRequest("fd", "only root may name a descriptor of another process")
        return f"/proc/{pid}/fd/{body.fd}"
    return None if body.pid is None else f"/proc/{body.pid}/ns/net"


def _credentials(request: web.Request) -> tuple[int, int, int]:
    sock = request.transport.get_extra_info("socket") if request.transport else None
    octets = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12) if sock is not None else bytes(12)
    pid, uid, gid = struct.unpack("iII", octets)
    return pid, uid, gid


def _peer_pid(request: web.Request) -> int:
    return _credentials(request)[0]


def _peer_uid(request: web.Request) -> int:
    return _credentials(request)[1]


def _dry(request: web.Request) -> bool:
    return request.query.get("dry_run", "") in ("1", "true")


def _plan(outcome: Outcome) -> web.Response:
    return _json(schema.PlanView([step.describe() for step in outcome.steps], list(outcome.warnings)))


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _error(status: int, kind: str, name: str, message: str) -> web.Response:
    return _json(schema.ErrorView(schema.ErrorBody(kind, name, message)), status)


def _message(error: BaseException) -> str:
    return "; ".join([str(error), *getattr(error, "__notes__", ())])


def _object(error: Exception) -> str:
    for attribute in ("field", "name", "target", "capability", "key", "source", "text"):
        value = getattr(error, attribute, None)
        if isinstance(value, str):
            return value
    return ""
