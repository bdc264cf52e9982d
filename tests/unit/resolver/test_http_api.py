"""HTTP of the admin API: what a handler is given, how its result and its errors come out. Over a socket in a directory."""

import asyncio
import io
import logging
import os
import time
from contextlib import AsyncExitStack

import aiohttp
import msgspec
import pytest

from netcore.errors import Conflict, InvalidRequest, KernelError, NotFound, PluginFailed
from resolver import limits
from resolver.daemon import admin_listeners, http_api
from resolver.daemon.admission import Admission
from resolver.daemon.api_route import DRY_RUN, ApiReply, ApiRequest, ApiRoute, Caller
from resolver.daemon.config import DaemonConfig
from resolver.daemon.http_api import HttpApi
from resolver.daemon.schema import PlanView
from resolver.errors import BadName


class Body(msgspec.Struct, forbid_unknown_fields=True):
    size: int = 1


class Handlers:
    """Notes each request. *answer* is what the next one gets; an error is raised."""

    def __init__(self):
        self.requests = []
        self.answer = {"done": True}
        self.released, self.ended, self.going_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(self, request):
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def slowly(self, request):
        self.requests.append(request)
        await self.going_on.wait()
        return self.answer

    async def stream(self, request):
        async def values():
            try:
                yield {"number": 1}
                await self.released.wait()
                yield {"number": 2}
            finally:
                self.ended.set()

        return values()


def route(method, path, handler=Handlers.handle, **more):
    return ApiRoute(method=method, path=path, operation_id="x", summary="x", response=dict, handler=handler, **more)


ROUTES = (
    route("GET", "/things/{thing}"), route("GET", "/plain", media_type="text/plain; charset=utf-8"),
    route("POST", "/things", body=Body, status=201, query=(DRY_RUN,)),
    route("POST", "/look", reads_only=True), route("POST", "/stop", ends_daemon=True), route("DELETE", "/slow", Handlers.slowly),
    route("POST", "/prune", body=Body, body_required=False), route("GET", "/stream", Handlers.stream, stream=True, media_type="application/x-ndjson"),
)  # fmt: skip


class Served:
    def __init__(self, http_api, handlers, session):
        self.http_api, self.handlers, self.session = http_api, handlers, session

    async def ask(self, method, path, **more):
        async with self.session.request(method, f"http://berth{path}", **more) as response:
            return response.status, await response.json()

    async def error(self, method, path, **more):
        status, answer = await self.ask(method, path, **more)
        assert list(answer) == ["error"]
        assert list(answer["error"]) == ["kind", "object", "message"]
        return status, *answer["error"].values()


@pytest.fixture
async def api(tmp_path):
    handlers = Handlers()
    http_api = HttpApi(ROUTES, handlers)
    async with AsyncExitStack() as stack:
        await admin_listeners.serve(http_api.application, DaemonConfig(run_dir=str(tmp_path)), Admission(time.monotonic), stack)
        connector = aiohttp.UnixConnector(str(tmp_path / "berth.sock"))
        yield Served(http_api, handlers, await stack.enter_async_context(aiohttp.ClientSession(connector=connector)))


async def test_handler_is_given_body_path_query_and_caller(api):
    assert await api.ask("POST", "/things?dry_run=1", data=b'{"size": 3}') == (201, {"done": True})
    assert await api.ask("GET", "/things/x?a=b") == (200, {"done": True})
    first, second = api.handlers.requests
    assert (first.body, first.dry_run, first.flag("other")) == (Body(3), True, False)
    assert (second.body, second.path["thing"], second.query["a"]) == (None, "x", "b")
    assert first.caller == Caller(os.getpid(), os.getuid(), name=f"uid {os.getuid()} pid {os.getpid()}")


async def test_there_are_pauses_around_the_work_of_a_handler(tmp_path):
    came = []

    class Noting:
        async def handle(self, _request):
            came.append("handler")
            return {}

    http_api = HttpApi((route("POST", "/x", Noting.handle),), Noting(), lambda: came.append("pause"))
    async with AsyncExitStack() as stack:
        await admin_listeners.serve(http_api.application, DaemonConfig(run_dir=str(tmp_path)), Admission(time.monotonic), stack)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "berth.sock"))))
        assert await Served(http_api, None, session).ask("POST", "/x") == (200, {})
    # After it also around the line of the log.
    assert came == ["pause", "handler", "pause", "pause"]


async def test_status_and_media_type_come_from_the_route_or_the_reply(api):
    api.handlers.answer = ApiReply({"planned": True}, 200)
    assert await api.ask("POST", "/things", data=b"{}") == (200, {"planned": True})
    api.handlers.answer = b"text"
    async with api.session.get("http://berth/plain") as response:
        assert (response.headers["Content-Type"], await response.read()) == ("text/plain; charset=utf-8", b"text")


async def test_body_may_be_left_out_only_where_the_route_says_so(api):
    assert await api.ask("POST", "/prune") == (200, {"done": True})
    assert api.handlers.requests[0].body == Body()
    assert (await api.error("POST", "/things"))[:3] == (400, "invalid", "body")


@pytest.mark.parametrize("body", [b"{", b'{"size": "x"}', b'{"colour": 1}', b"\xff"])
async def test_wrong_bodies_are_refused(api, body):
    assert (await api.error("POST", "/things", data=body))[:3] == (400, "invalid", "body")
    assert not api.handlers.requests


class Texts(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    labels: dict[str, str] = {}
    names: list[str] = []


@pytest.mark.parametrize(
    "body", [rb'{"name": "a\u0000"}', rb'{"labels": {"\u0000": ""}}', rb'{"labels": {"a": "\u0000b"}}', rb'{"names": ["\u0000"]}']
)
def test_text_with_u0000_is_refused(body):
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        http_api.read_body(body, Texts)
    # Bare, it is no JSON.
    with pytest.raises(InvalidRequest, match="malformed"):
        http_api.read_body(body.replace(rb"\u0000", b"\0"), Texts)


def test_text_that_only_looks_like_u0000_is_taken():
    assert http_api.read_body(rb'{"name": "a\\u0000"}', Texts) == Texts(name=r"a\u0000")


def test_a_body_is_looked_through_only_if_u0000_may_be_in_it(monkeypatch):
    looked = []
    monkeypatch.setattr(http_api, "_has_nul", lambda body: looked.append(body) or False)
    http_api.read_body(b'{"name": "a", "names": ["b", "0000"]}', Texts)
    assert not looked
    http_api.read_body(rb'{"name": "\u0000"}', Texts)
    assert looked == [{"name": "\0", "labels": {}, "names": []}]


async def test_dry_run_is_yes_or_no_and_only_where_there_is_one(api):
    status, kind, subject, message = await api.error("POST", "/prune?dry_run=1")
    assert (status, kind, subject) == (400, "invalid", "dry_run")
    assert message == "invalid dry_run: POST /prune has no dry run"
    assert not api.handlers.requests
    for text, wanted in (("1", True), ("true", True), ("0", False), ("false", False)):
        assert ApiRequest(None, {}, {"dry_run": text}, Caller(0, 0)).dry_run is wanted
    with pytest.raises(Exception, match="neither true nor false"):
        _ = ApiRequest(None, {}, {"dry_run": "perhaps"}, Caller(0, 0)).dry_run


@pytest.mark.parametrize(
    ("error", "expected", "level"),
    [
        (Conflict("network", "front", "already exists"), (409, "conflict", "front", "network front already exists"), logging.INFO),
        (BadName("a..b", "x"), (400, "invalid", "a..b", "'a..b' is no domain name: x"), logging.INFO),
        (PluginFailed("p", "m", "r"), (502, "plugin", "p", "plugin p: m: r"), logging.ERROR),
        (KernelError("create", "link x", 17), (500, "kernel", "link x", "create link x: EEXIST (File exists)"), logging.ERROR),
        (ValueError("odd"), (500, "internal", "/things/x", "ValueError: odd"), logging.ERROR),
    ],
)
async def test_error_is_answered_by_its_own_status_and_logged_once(api, caplog, error, expected, level):
    api.handlers.answer = error
    with caplog.at_level(logging.INFO):
        assert await api.error("GET", "/things/x") == expected
    ours = [record for record in caplog.records if record.name != "aiohttp.access"]
    assert [record.levelno for record in ours] == [level]
    assert api.http_api.requests_in_flight == 0


async def test_notes_of_an_error_are_told(api):
    api.handlers.answer = KernelError("create", "link x", 17)
    api.handlers.answer.add_note("while: create link y")
    assert (await api.error("GET", "/things/x"))[3] == "create link x: EEXIST (File exists); while: create link y"


async def test_what_http_itself_refuses_has_the_same_shape(api):
    assert (await api.error("GET", "/nowhere"))[:3] == (404, "invalid", "/nowhere")
    assert (await api.error("DELETE", "/things"))[:3] == (405, "invalid", "/things")
    assert (await api.error("POST", "/things", data=io.BytesIO(b"x" * (limits.BODY + 1))))[:3] == (413, "invalid", "/things")


async def test_listener_gets_each_line_at_once_and_keeps_no_daemon(api):
    async with api.session.get("http://berth/stream") as response:
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert await response.content.readline() == b'{"number":1}\n'
        assert api.http_api.requests_in_flight == 0
        api.handlers.released.set()
        assert await response.content.readline() == b'{"number":2}\n'
        assert await response.content.readline() == b""


async def test_that_a_question_finds_nothing_is_not_logged(api, caplog):
    api.handlers.answer = NotFound("sandbox", "web")
    with caplog.at_level(logging.INFO):
        assert (await api.error("GET", "/things/web"))[0] == 404
    assert not [record for record in caplog.records if record.name == "resolver.daemon.http_api"]


async def test_listener_that_goes_is_forgotten(api, caplog):
    async with api.session.get("http://berth/stream") as response:
        await response.content.readline()
    # It is noticed with the next value for it.
    assert await api.ask("GET", "/things/x") == (200, {"done": True})
    api.handlers.released.set()
    await api.handlers.ended.wait()
    assert api.http_api.requests_in_flight == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_body_that_breaks_off_is_refused_and_no_failure_of_ours(api, caplog, tmp_path):
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "berth.sock"))
    writer.write(b'POST /things HTTP/1.1\r\nHost: berth\r\nContent-Length: 100\r\n\r\n{"size"')
    await writer.drain()
    while not api.http_api.requests_in_flight:
        await asyncio.sleep(0)
    with caplog.at_level(logging.INFO):
        writer.close()
        await writer.wait_closed()
        while api.http_api.requests_in_flight:
            await asyncio.sleep(0)
    (record,) = (record for record in caplog.records if record.name == "resolver.daemon.http_api")
    assert record.levelno == logging.INFO
    assert record.getMessage().endswith("reason=invalid body: the client closed the connection before its end")
    assert not api.handlers.requests


@pytest.fixture
async def reader(api, tmp_path):
    connector = aiohttp.UnixConnector(str(tmp_path / "berth-ro.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Served(api.http_api, api.handlers, session)


async def test_read_only_socket_answers_what_changes_nothing(reader):
    assert await reader.ask("GET", "/things/x") == (200, {"done": True})
    assert await reader.ask("POST", "/look") == (200, {"done": True})
    status, kind, _, message = await reader.error("POST", "/things", data=b"{}")
    assert (status, kind) == (403, "forbidden")
    assert "changes are for berth.sock" in message
    assert len(reader.handlers.requests) == 2


async def test_change_is_logged_with_who_made_it_and_a_dry_run_is_not(api, caplog):
    caplog.set_level(logging.INFO)
    await api.ask("POST", "/things", data=b"{}")
    assert f"changed method=POST path=/things by=uid,{os.getuid()},pid,{os.getpid()} program=" in caplog.text
    caplog.clear()
    api.handlers.answer = ApiReply(PlanView([], []), 200)
    await api.ask("POST", "/things?dry_run=1", data=b"{}")
    await api.ask("POST", "/look")
    await api.ask("GET", "/things/x")
    assert "changed" not in caplog.text


async def test_followers_are_bounded(api, monkeypatch):
    monkeypatch.setattr(limits, "API_STREAMS", 1)
    async with api.session.get("http://berth/stream") as response:
        await response.content.readline()
        assert (await api.error("GET", "/stream"))[:2] == (429, "busy")
        api.handlers.released.set()
        await api.handlers.ended.wait()


async def test_daemon_that_stops_ends_the_changes_at_hand_and_takes_no_more(api):
    at_hand = asyncio.create_task(api.ask("DELETE", "/slow"))
    while not api.handlers.requests:
        await asyncio.sleep(0)
    assert not await api.http_api.take_no_more_changes(0.0)
    stopping = asyncio.create_task(api.http_api.take_no_more_changes(30.0))
    status, kind, _, _ = await api.error("POST", "/things", data=b"{}")
    assert (status, kind) == (503, "stopping")
    assert (await api.error("POST", "/prune"))[1] == "stopping"
    # Questions, and another wish that it stops, are answered.
    assert (await api.ask("GET", "/things/x"))[0] == 200
    assert (await api.ask("POST", "/look"))[0] == 200
    assert (await api.ask("POST", "/stop"))[0] == 200
    assert not stopping.done()
    api.handlers.going_on.set()
    assert await at_hand == (200, {"done": True})
    assert await stopping


async def test_refusal_of_a_daemon_that_stops_is_no_error_of_it(api, caplog):
    await api.http_api.take_no_more_changes(0.0)
    with caplog.at_level(logging.INFO):
        await api.ask("POST", "/things", data=b"{}")
    assert {record.levelno for record in caplog.records if record.name == "resolver.daemon.http_api"} == {logging.INFO}
