"""A dry run answers with the steps, and nothing else happens: no network, no event, no owner, no look at firewalls."""

import pytest

from netcore.errors import Conflict, InvalidRequest, NotFound
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from netcore.plan.published_ports import ignored
from tests.unit.resolver.daemon_fakes import OWNER, World


@pytest.fixture
async def world():
    world = World()
    await world.operations.create_network(NetworkRequest(name="front"))
    await world.operations.create_sandbox(SandboxRequest(name="web", networks=on("front")), on_default=False)
    world.took()
    return world


def on(*networks, **settings):
    return tuple(EndpointRequest(network=network, **settings) for network in networks)


DRY_RUNS = [
    (lambda dry: dry.create_network(NetworkRequest(name="new", owner=OWNER)), ["create link of new"], ["network warning"]),
    (lambda dry: dry.remove_network("front"), ["delete link of front"], []),
    (lambda dry: dry.remove_sandbox("web"), ["delete web"], ["removal warning"]),
    (lambda dry: dry.connect("web", *on("front")), ["veth id-front"], ["connect warning"]),
    (lambda dry: dry.disconnect("web", "front"), ["delete link of front"], []),
    (
        lambda dry: dry.create_sandbox(SandboxRequest(name="x", networks=on("front"), owner=OWNER), on_default=True),
        ["create hosts file of x", "veth id-front"], ["sandbox warning"],
    ),
    (
        lambda dry: dry.create_sandbox(SandboxRequest(name="x", owner=OWNER), on_default=True),
        ["create link of default", "create hosts file of x", "create endpoint of x on network default"],
        ["network warning", "sandbox warning"],
    ),
    (
        lambda dry: dry.create_sandbox(SandboxRequest(name="x", networks=on("bridge")), on_default=True),
        ["create link of bridge", "create hosts file of x", "create endpoint of x on network bridge"],
        ["network warning", "sandbox warning"],
    ),
    (
        lambda dry: dry.connect("web", *on("bridge")),
        ["create link of bridge", "create endpoint of web on network bridge"], ["network warning"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "steps", "warnings"), DRY_RUNS)
async def test_steps_are_told_and_nothing_has_happened(world, plan, steps, warnings):
    before = dict(world.controller.state.networks), dict(world.controller.state.sandboxes), dict(world.controller.state.endpoints)
    view = await plan(world.dry_run)
    assert (view.steps, view.warnings) == (steps, warnings)
    assert all(text.startswith("plan ") for text in world.took())
    assert (world.controller.state.networks, world.controller.state.sandboxes, world.controller.state.endpoints) == before


async def test_ports_are_published_by_a_network_that_is_only_planned(world):
    view = await world.dry_run.create_sandbox(SandboxRequest(name="x", publish=("8080:80",)), on_default=True)
    assert view.warnings == ["network warning", "sandbox warning"]
    # Without any network they are not.
    view = await world.dry_run.create_sandbox(SandboxRequest(name="x", publish=("8080:80",)), on_default=False)
    assert view.warnings == ["sandbox warning", ignored("x")]


async def test_automatic_network_that_exists_is_planned_with(world):
    await world.operations.create_sandbox(SandboxRequest(name="first"), on_default=True)
    await world.operations.connect("web", *on("bridge"))
    view = await world.dry_run.create_sandbox(SandboxRequest(name="x"), on_default=True)
    assert view.steps == ["create hosts file of x", "veth id-default"]
    view = await world.dry_run.create_sandbox(SandboxRequest(name="x", networks=on("bridge")), on_default=True)
    assert view.steps == ["create hosts file of x", "veth id-bridge"]
    assert (await world.dry_run.connect("first", *on("bridge"))).steps == ["veth id-bridge"]


@pytest.mark.parametrize(
    ("networks", "error", "text"),
    [
        (on("bridge", aliases=("x",)), InvalidRequest, "aliases are only supported"),
        (on("bridge", "front"), InvalidRequest, "cannot attach both"),
        (on("bridge", "nowhere"), NotFound, "no such network: nowhere"),
    ],
)
async def test_what_would_be_refused_is_refused(world, networks, error, text):
    with pytest.raises(error, match=text):
        await world.dry_run.create_sandbox(SandboxRequest(name="x", networks=networks), on_default=False)


async def test_sandbox_without_a_stack_of_its_own_cannot_be_connected(world):
    await world.operations.create_sandbox(SandboxRequest(name="hosts", networks=on("host")), on_default=False)
    with pytest.raises(Conflict, match="cannot be connected"):
        await world.dry_run.connect("hosts", *on("bridge"))
