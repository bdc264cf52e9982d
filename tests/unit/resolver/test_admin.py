"""The handlers of the admin API: a body in, one call, a view out."""

from types import SimpleNamespace

import pytest

from netcore.errors import InvalidRequest, NotFound
from netcore.model import NetworkRequest, SandboxRequest
from resolver.daemon import cache_shapes, schema
from resolver.daemon.admin import ROUTES, Admin
from resolver.daemon.api_route import ApiReply, ApiRequest, Caller
from resolver.daemon.doctor import Doctor
from resolver.daemon.record_operations import RecordOperations
from resolver.errors import Forbidden
from tests.unit.resolver.daemon_fakes import World


class Lookup:
    service = SimpleNamespace(cache=SimpleNamespace(size=10, settings=SimpleNamespace(size=20)), counters={"hits": 1, "misses": 2})

    async def resolve(self, name, rtype, sandbox):
        return schema.ResolveView(name, rtype, "NOERROR", "zone", [], [sandbox.name if sandbox else "the host"])

    async def cached(self, name, most):
        self.asked = name, most
        return 0, []

    def forget(self, name):
        return 0 if name is None else len(name)


class Health:
    version = "1.2.3"
    is_ready = False

    def liveness(self):
        return schema.HealthView("ok")

    def readiness(self):
        return schema.HealthView("ok" if self.is_ready else "starting")

    async def status(self):
        return "status"


async def no_marks():
    return False


async def metrics():
    return b"metrics"


@pytest.fixture
async def world():
    world = World()
    world.lookup, world.health = Lookup(), Health()
    world.admin = Admin(
        egress=SimpleNamespace(), operations=world.operations, lifecycle=world.lifecycle, runs=world.runs, dry_run=world.dry_run,
        owners=world.owners, lookup=world.lookup, events=world.events,
        records=RecordOperations(world.static_names, "berth.internal"), hosts_block=SimpleNamespace(write=no_marks),
        health=world.health, doctor=Doctor([]), render_metrics=metrics, proxies={"default": {"httpProxy": "http://p"}},
        stop=lambda: world.journal.append("stop"),
    )  # fmt: skip
    await world.operations.create_network(NetworkRequest(name="front"))
    await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=False)
    world.took()
    yield world
    world.close()


def request(body=None, caller=Caller(9, 0), query=None, **path):  # noqa: B008 (frozen)
    return ApiRequest(body, path, query or {}, caller)


DRY = {"dry_run": "1"}


async def test_networks(world):
    view = await world.admin.create_network(request(schema.NetworkBody(name="back", owner_pid=5)))
    assert (view.name, view.warnings) == ("back", ["network warning", "firewall warning"])
    assert "watch 5" in world.took()
    assert [view.name for view in await world.admin.list_networks(request())] == ["back", "front"]
    assert (await world.admin.show_network(request(network="back"))).pools[0].in_use == 2
    assert (await world.admin.remove_network(request(network="back"))).done == "network back removed"
    assert (await world.admin.prune_networks(request(schema.PruneBody()))).removed == ["front"]
    with pytest.raises(NotFound):
        await world.admin.show_network(request(network="back"))


async def test_sandboxes(world):
    view = await world.admin.create_sandbox(request(schema.SandboxBody(name="api", networks=[schema.EndpointBody(network="front")], pid=5)))
    assert (view.name, view.networks, view.pid, view.environment["HTTP_PROXY"]) == ("api", ["front"], 5, "http://p")
    assert view.warnings == ["sandbox warning", "firewall warning"]
    assert [view.name for view in await world.admin.list_sandboxes(request())] == ["api", "web"]
    assert (await world.admin.show_sandbox(request(sandbox="api"))).endpoints[0].told_by_plugin == {}
    assert (await world.admin.show_sandbox(request(sandbox="api", query={"plugins": "1"}))).name == "api"
    assert (await world.admin.change_sandbox(request(schema.SandboxChange(name="www"), sandbox="web"))).name == "www"
    connected = await world.admin.connect_sandbox(request(schema.ConnectBody(sandbox="www"), network="front"))
    assert (connected.networks, connected.warnings) == (["front"], ["connect warning", "firewall warning"])
    assert (await world.admin.disconnect_sandbox(request(schema.DisconnectBody("www"), network="front"))).networks == []
    removed = await world.admin.remove_sandbox(request(sandbox="www"))
    assert (removed.done, removed.warnings) == ("sandbox www removed", ["removal warning"])


async def test_owner_is_the_process_that_is_named_or_else_the_one_adopted(world):
    for number, (body, owner) in enumerate((({"pid": 5}, 5), ({"pid": 5, "owner_pid": 6}, 6), ({"owner_pid": 6}, 6), ({}, None))):
        view = await world.admin.create_sandbox(request(schema.SandboxBody(name=f"n{number}", **body)))
        assert view.owner_pid == owner


@pytest.mark.parametrize(
    ("handler", "body", "path"),
    [
        (Admin.create_network, schema.NetworkBody(name="x", owner_pid=5), {}),
        (Admin.remove_network, None, {"network": "front"}),
        (Admin.create_sandbox, schema.SandboxBody(name="x", default_network=True, owner_pid=5), {}),
        (Admin.remove_sandbox, None, {"sandbox": "web"}),
        (Admin.connect_sandbox, schema.ConnectBody(sandbox="web"), {"network": "front"}),
        (Admin.disconnect_sandbox, schema.DisconnectBody("web"), {"network": "front"}),
    ],
)
async def test_dry_run_answers_with_the_steps_and_does_nothing(world, handler, body, path):
    reply = await handler(world.admin, request(body, query=DRY, **path))
    view = reply.view if isinstance(reply, ApiReply) else reply
    assert isinstance(view, schema.PlanView)
    assert view.steps
    assert all(text.startswith("plan ") for text in world.took())


async def test_every_route_with_a_dry_run_is_in_the_test_above():
    (mark,) = test_dry_run_answers_with_the_steps_and_does_nothing.pytestmark
    assert {row[0] for row in mark.args[1]} == {route.handler for route in ROUTES if route.query and route.query[0].name == "dry_run"}


@pytest.mark.parametrize(
    ("body", "caller", "netns"),
    [
        ({}, Caller(9, 0), None),
        ({"netns": "/run/netns/x"}, Caller(9, 0), "/run/netns/x"),
        ({"pid": 5}, Caller(9, 0), "/proc/5/ns/net"),
        ({"fd": 3}, Caller(9, 1000), "/proc/9/fd/3"),
        ({"pid": 9, "fd": 3}, Caller(9, 1000), "/proc/9/fd/3"),
        ({"pid": 5, "fd": 3}, Caller(9, 0), "/proc/5/fd/3"),
    ],
)
async def test_namespace_to_adopt(world, body, caller, netns):
    asked = []
    original = world.controller.create_sandbox

    async def create_sandbox(wanted, *, dry_run=False):
        asked.append(wanted.netns)
        return await original(wanted, dry_run=dry_run)

    world.controller.sandboxes.create = create_sandbox
    await world.admin.create_sandbox(request(schema.SandboxBody(name="x", **body), caller))
    assert asked == [netns]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"pid": 5, "fd": 3}, "only root may name a descriptor"), ({"pid": 5}, "process 5 is not yours"),
        ({"netns": "/run/netns/x"}, "only root may adopt a namespace by its path"),
    ],
)  # fmt: skip
async def test_others_than_root_may_adopt_only_what_is_theirs(world, body, reason):
    world.owners.uids[5] = 1001
    with pytest.raises(Forbidden, match=reason):
        await world.admin.create_sandbox(request(schema.SandboxBody(name="x", **body), Caller(9, 1000)))
    assert not world.took()


async def test_names_and_cache(world):
    assert (await world.admin.resolve_name(request(schema.ResolveBody("x", sandbox="web")))).explanation == ["web"]
    assert (await world.admin.resolve_name(request(schema.ResolveBody("x")))).explanation == ["the host"]
    view = await world.admin.show_cache(request(query={"name": "x.test", "limit": "5"}))
    assert (view.size, view.bound, view.hits, view.misses) == (10, 20, 1, 2)
    assert world.lookup.asked == ("x.test", 5)
    await world.admin.show_cache(request())
    assert world.lookup.asked == (None, 1000)
    for wrong in ("0", "x", "10001", ""):
        with pytest.raises(InvalidRequest, match="limit"):
            await world.admin.show_cache(request(query={"limit": wrong}))
    assert (await world.admin.flush_cache(request(cache_shapes.FlushBody("abc")))).removed == 3


async def test_the_daemon_itself(world):
    assert [(view.name, view.own) for view in await world.admin.list_nodes(request())] == [("one", True), ("two", False)]
    assert await world.admin.show_status(request()) == "status"
    assert await world.admin.show_liveness(request()) == schema.HealthView("ok")
    assert await world.admin.show_readiness(request()) == ApiReply(schema.HealthView("starting"), 503)
    world.health.is_ready = True
    assert await world.admin.show_readiness(request()) == schema.HealthView("ok")
    assert await world.admin.show_metrics(request()) == b"metrics"
    assert (await world.admin.show_openapi(request()))["info"]["version"] == "1.2.3"


async def test_events_are_those_of_the_daemon(world):
    world.events.listen = lambda since, until: ("the stream", since, until)
    assert await world.admin.stream_events(request()) == ("the stream", None, None)
    assert await world.admin.stream_events(request(query={"since": "1.5", "until": "2"})) == ("the stream", 1.5, 2.0)
    with pytest.raises(InvalidRequest, match="'soon' is not a number of seconds since 1970"):
        await world.admin.stream_events(request(query={"since": "soon"}))


async def test_the_exit_code_of_a_command_is_told(world):
    await world.admin.create_sandbox(request(schema.SandboxBody(name="web")))
    world.took()
    with pytest.raises(InvalidRequest, match="'x' is not a number from 0 to 255"):
        await world.admin.remove_sandbox(request(query={"exit_code": "x"}, sandbox="web"))
    await world.admin.remove_sandbox(request(query={"exit_code": "3"}, sandbox="web"))
    assert world.took()[-1] == "event sandbox remove web (command ended) 3"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "1e19", "1e308", "-1e300", "9" * 400, "x", " ", "²"])
async def test_moments_that_are_none_are_refused(world, text):
    route = next(route for route in ROUTES if route.path == "/v1/events")
    for name in ("since", "until"):
        with pytest.raises(InvalidRequest, match="is not a number of seconds since 1970"):
            await route.handler(world.admin, ApiRequest(None, {}, {name: text}, Caller(9, 0)))


@pytest.mark.parametrize("text", ["²", "9" * 5000, "0", ""])
async def test_limits_that_are_no_number_are_refused(world, text):
    route = next(route for route in ROUTES if route.path == "/v1/cache" and route.method == "GET")
    with pytest.raises(InvalidRequest, match="is not a number from 1 to"):
        await route.handler(world.admin, ApiRequest(None, {}, {"limit": text}, Caller(9, 0)))
