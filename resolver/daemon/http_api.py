"""HTTP for the admin API: finds the route, decodes the request, calls the handler, encodes its result or its error.

A route is one row of a table (`admin.ROUTES`), from which `openapi` makes the document too. Knows nothing of networks and
sandboxes. An error answers with its own status and {"error": {"kind", "object", "message"}}, see `netcore.errors`; here
is also where it is logged, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from netcore.errors import InvalidRequest, NetcoreError
from netcore.kernel import process
from resolver import limits
from resolver.daemon.admin_listeners import caller_of
from resolver.daemon.admission import Admission, Scope
from resolver.daemon.api_route import DRY_RUN, JSON, ApiReply, ApiRequest, ApiRoute, Caller
from resolver.daemon.schema import ErrorBody, ErrorView, PlanView
from resolver.errors import Busy, Forbidden, ResolverError, Stopping, Unauthenticated

log = logging.getLogger(__name__)
_Body = TypeVar("_Body", bound=msgspec.Struct)


class HttpApi:
    """Serves *routes* by the methods of *handlers*. *pause*: is called between pieces of work that take long together."""

    def __init__(self, routes: Sequence[ApiRoute], handlers: object, pause: Callable[[], None] = lambda: None) -> None:
        self._routes = routes
        self._handlers = handlers
        self._pause = pause
        self.requests_in_flight = 0
        self._streams = 0
        self._changes = 0
        self._is_stopping = False
        self._changes_done = asyncio.Event()

    def application(self, admission: Admission, scope: Scope, *, token: str | None = None) -> web.Application:
        """Return the aiohttp application for one listener. *token*: what each request must carry, if anything."""
        application = web.Application(client_max_size=limits.BODY, middlewares=[self._middleware(), _admit(admission, token)])
        for route in self._routes:
            handler = _read_only if route.changes and scope is Scope.READ else self._handler(route)
            application.router.add_route(route.method, route.path, handler)
        return application

    async def take_no_more_changes(self, within: float) -> bool:
        """Refuse all changes from now on; return whether those at hand are done, for which it waits so many seconds at most."""
        self._is_stopping = True
        if not self._changes:
            return True
        self._changes_done.clear()
        try:
            async with asyncio.timeout(within):
                await self._changes_done.wait()
        except TimeoutError:
            return False
        return True

    @contextlib.contextmanager
    def _change(self, route: ApiRoute) -> Iterator[None]:
        """Have a daemon that is about to stop wait for what is done inside; Stopping if it takes no more changes."""
        if not route.changes or route.ends_daemon:
            yield
            return
        if self._is_stopping:
            raise Stopping
        self._changes += 1
        try:
            yield
        finally:
            self._changes -= 1
            if not self._changes:
                self._changes_done.set()

    def _middleware(self) -> Any:
        @web.middleware
        async def answer_errors(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.requests_in_flight += 1
            try:
                return await handler(request)
            except web.HTTPException as error:
                return _error(error.status, "invalid" if error.status < 500 else "internal", request.path, error.reason)
            except (NetcoreError, ResolverError) as error:
                level = _level(request, error)
                log.log(level, "request refused method=%s path=%s status=%d reason=%s", request.method, request.path, error.status, error)
                return _error(error.status, error.kind, error.subject or "", _with_notes(error))
            except Exception as error:
                log.exception("request failed method=%s path=%s", request.method, request.path)
                return _error(500, "internal", request.path, f"{type(error).__name__}: {error}")
            finally:
                self.requests_in_flight -= 1

        return answer_errors

    def _handler(self, route: ApiRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if DRY_RUN.name in request.query and DRY_RUN not in route.query:
                raise InvalidRequest(DRY_RUN.name, f"{route.method} {route.path} has no dry run")
            body = await _body(route, request)
            decoded = ApiRequest(body, request.match_info, request.query, caller_of(request.transport))
            self._pause()
            with self._change(route):
                result = await route.handler(self._handlers, decoded)
            self._pause()
            if route.stream:
                return await self._stream(route, request, result)
            status, view = (result.status, result.view) if isinstance(result, ApiReply) else (route.status, result)
            if route.changes and not isinstance(view, PlanView):
                _log_change(request, decoded.caller, getattr(view, "name", ""))
                self._pause()
            if route.media_type == JSON:
                return _json(view, status)
            return web.Response(body=view, status=status, headers={"Content-Type": route.media_type})

        return handle

    async def _stream(self, route: ApiRoute, request: web.Request, values: AsyncGenerator[Any, None]) -> web.StreamResponse:
        if self._streams >= limits.API_STREAMS:
            await values.aclose()
            raise Busy(f"{limits.API_STREAMS} clients follow events already; end one of them")
        self._streams += 1
        response = web.StreamResponse(headers={"Content-Type": route.media_type})
        # A listener may stay for days. It must not keep an idle daemon running.
        self.requests_in_flight -= 1
        try:
            await response.prepare(request)
            async with contextlib.aclosing(values):
                async for value in values:
                    await response.write(msgspec.json.encode(value) + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            # The listener has gone, or the daemon stops.
            pass
        finally:
            self._streams -= 1
            self.requests_in_flight += 1
        return response


def _admit(admission: Admission, token: str | None) -> Any:
    @web.middleware
    async def admit(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        caller = caller_of(request.transport)
        if token is not None and not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
            raise Unauthenticated("the request has no valid token; send it as `Authorization: Bearer TOKEN`")
        if not admission.ask(caller.peer or caller.uid):
            raise Busy(f"more than {limits.API_RATE:g} requests a second; ask again later")
        return await handler(request)

    return admit


async def _read_only(request: web.Request) -> web.StreamResponse:
    raise Forbidden(request.path, "this socket or port is for reading; changes are for berth.sock")


def _level(request: web.Request, error: NetcoreError | ResolverError) -> int:
    """Return how loud a refusal is. That something is not there is the answer to a question, not an event."""
    if error.status >= 500 and not isinstance(error, Stopping):
        return logging.ERROR
    return logging.DEBUG if error.status == 404 and request.method == "GET" else logging.INFO


def _log_change(request: web.Request, caller: Caller, name: str) -> None:
    """Write to the log who changed what."""
    program = process.program(caller.pid) if caller.pid else ""
    log.info(
        "changed method=%s path=%s%s by=%s%s", request.method, request.path, f" name={name}" if name else "",
        caller.name.replace(" ", ","), f" program={program}" if program else "",
    )  # fmt: skip


async def _body(route: ApiRoute, request: web.Request) -> Any:
    if route.body is None:
        return None
    try:
        octets = await request.read()
    except ConnectionError as error:
        raise InvalidRequest("body", "the client closed the connection before its end") from error
    if not octets and not route.body_required:
        return route.body()
    return read_body(octets, route.body)


def read_body(octets: bytes, kind: type[_Body]) -> _Body:
    """Return the body that *octets* are; InvalidRequest says what is wrong with it."""
    try:
        body = msgspec.json.decode(octets, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest("body", str(error)) from error
    # JSON has it only escaped. Behind an escaped backslash it is the text that follows, so what was decoded says.
    if b"\\u0000" in octets and _has_nul(msgspec.to_builtins(body)):
        raise InvalidRequest("body", "a text in it contains U+0000, which no name, path or option can")
    return body


def _has_nul(value: Any) -> bool:
    """Return whether a text of a decoded body contains U+0000."""
    match value:
        case str():
            return "\0" in value
        case list():
            return any(map(_has_nul, value))
        case dict():
            return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return False


def _json(value: Any, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=JSON)


def _error(status: int, kind: str, subject: str, message: str) -> web.Response:
    return _json(ErrorView(ErrorBody(kind, subject, message)), status)


def _with_notes(error: BaseException) -> str:
    return "; ".join([str(error), *getattr(error, "__notes__", ())])
