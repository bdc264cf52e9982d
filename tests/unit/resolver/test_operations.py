"""What an operation does beyond what the controller does: in which order, and once."""

import asyncio
import logging

import pytest

from netcore.controller.set_aside import Aside
from netcore.errors import Conflict, InvalidRequest, KernelError, NotFound, Unavailable
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from resolver.daemon.operations import Counts
from resolver.daemon.schema import PruneBody
from tests.unit.resolver.daemon_fakes import OWNER, World


@pytest.fixture
async def world():
    return World()


def on(*networks):
    return tuple(EndpointRequest(network=network) for network in networks)


async def test_network_is_created_watched_told_and_then_the_firewalls_are_checked(world):
    network, warnings = await world.operations.create_network(NetworkRequest(name="front", owner=OWNER))
    assert network.name == "front"
    assert warnings == ("network warning", "firewall warning")
    assert world.took() == ("controller create network front", "watch 7", "event network create front", "check firewalls")


async def test_network_is_removed_by_any_reference_and_told_by_name(world):
    await world.operations.create_network(NetworkRequest(name="front"))
    world.took()
    assert await world.operations.remove_network("id-fr") == "front"
    assert world.took() == ("controller remove network front", "event network remove front (request)", "check firewalls")
    with pytest.raises(Conflict, match="pre-defined"):
        await world.operations.remove_network("host")
    with pytest.raises(NotFound):
        await world.operations.remove_network("front")
    assert world.took() == ()


async def test_prune_spares_networks_in_use_and_those_that_do_not_match(world):
    for name, labels in (("used", ()), ("free", ()), ("kept", (("keep", ""),))):
        await world.operations.create_network(NetworkRequest(name=name, labels=labels))
    await world.operations.create_sandbox(SandboxRequest(name="web", networks=on("used")), on_default=False)
    world.took()
    assert await world.operations.prune_networks(PruneBody(other_labels=["keep"])) == ["free"]
    assert world.took() == ("controller remove network free", "event network remove free (pruned)", "check firewalls")


async def test_first_sandbox_without_networks_makes_the_network_default_once(world):
    made = await asyncio.gather(
        *(world.operations.create_sandbox(SandboxRequest(name=name, owner=OWNER), on_default=True) for name in ("one", "two"))
    )
    assert [warnings for _, warnings in made] == [("sandbox warning", "firewall warning")] * 2
    happened = world.took()
    assert happened[:3] == ("controller create network default", "event network create default", "check firewalls")
    assert sorted(happened[3:]) == sorted(
        text
        for name in ("one", "two")
        for text in (
            f"controller create sandbox {name}",
            "watch 7",
            f"event sandbox create {name}",
            f"event endpoint connect {name} default",
        )
    )
    assert dict(world.controller.state.networks["id-default"].labels) == {"berth.auto": "true"}


async def test_sandbox_on_the_default_bridge_makes_it(world):
    await world.operations.create_sandbox(SandboxRequest(name="web", networks=on("bridge")), on_default=True)
    assert world.took() == (
        "controller create network bridge", "event network create bridge", "check firewalls",
        "controller create sandbox web", "event sandbox create web", "event endpoint connect web bridge",
    )  # fmt: skip


async def test_sandbox_without_networks_of_its_own_gets_none(world):
    await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=False)
    assert world.took() == ("controller create sandbox web", "event sandbox create web")
    await world.operations.create_sandbox(SandboxRequest(name="other", networks=on("host")), on_default=True)
    assert world.took() == ("controller create sandbox other", "event sandbox create other")


async def test_refused_sandbox_is_neither_watched_nor_told(world):
    world.controller.failing["web"] = Conflict("sandbox", "web", "exists already")
    with pytest.raises(Conflict):
        await world.operations.create_sandbox(SandboxRequest(name="web", owner=OWNER), on_default=False)
    assert world.took() == ("controller create sandbox web",)


async def test_connect_and_disconnect_are_told_by_name(world):
    await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=False)
    world.took()
    sandbox, warnings = await world.operations.connect("id-web", EndpointRequest(network="bridge"))
    assert (sandbox.name, warnings) == ("web", ("connect warning", "firewall warning"))
    assert world.took() == (
        "controller create network bridge", "event network create bridge", "check firewalls",
        "controller connect web id-bridge", "event endpoint connect web bridge",
    )  # fmt: skip
    assert (await world.operations.disconnect("web", "id-bridge"))[0].name == "web"
    assert world.took() == ("controller disconnect web bridge", "event endpoint disconnect web bridge")


async def test_sandbox_is_renamed_or_given_to_another_owner(world):
    await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=False)
    world.took()
    assert (await world.operations.change_sandbox("web", name="www", owner=None, leader=None)).name == "www"
    assert world.took() == ("event sandbox rename www",)
    changed = await world.operations.change_sandbox("www", name=None, owner=OWNER, leader=None)
    assert (changed.name, changed.owner) == ("www", OWNER)
    assert world.took() == ("watch 7",)


async def test_what_is_set_aside_is_removed_by_name_unless_something_else_is_called_so(world):
    for kind in ("sandbox", "network"):
        world.controller.set_aside.put(Aside(kind=kind, id="f" * 64, name="lost", reason="it can't be read"))
    assert await world.operations.remove_sandbox("lost") == ("lost", ())
    assert await world.operations.remove_network("ffff") == "lost"
    assert [step for step in world.took() if "aside" in step] == ["remove aside sandbox lost", "remove aside network lost"]
    # Its name goes before the beginning of another one's id.
    front = await world.operations.create_network(NetworkRequest(name="front"))
    short = front[0].id[:4]
    world.controller.set_aside.put(Aside(kind="network", id="9" * 64, name=short, reason="it can't be read"))
    with pytest.raises(NotFound, match="is set aside"):
        world.operations.find_network(short)
    assert world.operations.find_network(front[0].id) == front[0]
    assert await world.operations.remove_network(short) == short
    assert "remove aside network" in str(world.took())
    await world.operations.create_network(NetworkRequest(name="lost"))
    await world.operations.remove_network("lost")
    assert "controller remove network lost" in str(world.took())


async def test_sandbox_is_removed_and_told(world):
    await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=False)
    world.took()
    assert await world.operations.remove_sandbox("id-web") == ("web", ("removal warning",))
    assert world.took() == ("controller remove sandbox web", "event sandbox remove web (request)")


async def test_a_removal_that_can_not_be_recorded_ends_no_process(world):
    await world.operations.create_sandbox(SandboxRequest(name="web", leader=OWNER), on_default=False)
    world.took()
    world.controller.failing["writing"] = Unavailable("the state", "it can't be written")
    with pytest.raises(Unavailable):
        await world.operations.remove_sandbox("web")
    assert world.took() == ()
    del world.controller.failing["writing"]
    await world.operations.remove_sandbox("web")
    assert world.took()[0].startswith("end ")


async def test_what_an_owner_had_ends_with_it_sandboxes_first(world):
    await world.operations.create_network(NetworkRequest(name="front", owner=OWNER))
    await world.operations.create_network(NetworkRequest(name="other"))
    await world.operations.create_sandbox(SandboxRequest(name="web", networks=on("front"), owner=OWNER), on_default=False)
    await world.operations.create_sandbox(SandboxRequest(name="alone"), on_default=False)
    world.took()
    await world.owners.end(OWNER)
    assert world.took() == (
        "controller remove sandbox web", "event sandbox remove web (owner ended)",
        "controller remove network front", "event network remove front (owner ended)", "check firewalls",
    )  # fmt: skip
    assert world.operations.counts() == Counts(networks=1, sandboxes=1)


async def test_a_command_that_was_the_owner_ends_with_its_exit_code(world):
    await world.operations.create_sandbox(SandboxRequest(name="web", owner=OWNER, leader=OWNER), on_default=False)
    world.took()
    await world.owners.end(OWNER)
    assert world.took()[-1] == "event sandbox remove web (command ended) 3"


async def test_what_cannot_be_removed_after_its_owner_is_logged_once_and_keeps_nothing_else(world, caplog):
    for name in ("one", "two", "three"):
        await world.operations.create_sandbox(SandboxRequest(name=name, owner=OWNER), on_default=False)
    world.controller.failing |= {"one": KernelError("delete", "link x", 16), "two": NotFound("sandbox", "two")}
    with caplog.at_level(logging.INFO):
        await world.operations.remove_owned_by(OWNER)
    assert len(caplog.records) == 1
    assert "kind=sandbox id=id-one reason=delete link x: EBUSY" in caplog.text
    assert "id-three" not in world.controller.state.sandboxes


async def test_owners_of_what_was_restored_are_watched(world):
    await world.operations.create_network(NetworkRequest(name="front", owner=OWNER))
    await world.operations.create_sandbox(SandboxRequest(name="web", owner=OWNER), on_default=False)
    world.took()
    await world.operations.watch_all_owners()
    assert world.took() == ("watch 7",)


async def test_idle_daemon_removes_what_it_made_by_itself_only(world):
    await world.operations.create_network(NetworkRequest(name="front"))
    await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=True)
    await world.operations.remove_sandbox("web")
    world.took()
    await world.operations.remove_automatic_networks()
    assert world.took() == (
        "controller remove unused bridges", "controller remove network default", "event network remove default (unused)", "check firewalls",
    )  # fmt: skip
    assert [network.name for network in world.controller.state.networks.values()] == ["front"]


async def test_what_exists_is_listed_by_name(world):
    for name in ("front", "back"):
        await world.operations.create_network(NetworkRequest(name=name))
    for name in ("web", "api"):
        await world.operations.create_sandbox(SandboxRequest(name=name, networks=on("front")), on_default=False)
    networks = await world.operations.networks()
    assert [details.network.name for details in networks] == ["back", "front"]
    assert [sandbox.name for sandbox, _ in networks[1].members] == ["web", "api"]
    assert list(networks[0].addresses_in_use.values()) == [2]
    sandboxes = world.operations.sandboxes()
    assert [details.sandbox.name for details in sandboxes] == ["api", "web"]
    assert [endpoint.network_id for endpoint in sandboxes[0].endpoints] == ["id-front"]
    assert world.operations.find_network("front").name == "front"
    assert world.operations.find_sandbox("api").name == "api"
    assert await world.operations.told_by_plugins(sandboxes[0].sandbox) == {"n": {"told": "api"}}
    assert [(details.node.name, details.endpoints, details.is_own) for details in await world.operations.nodes()] == [
        ("one", 0, True),
        ("two", 3, False),
    ]
    world.controller.overlays.cluster = None
    with pytest.raises(InvalidRequest, match="this host is in no cluster"):
        await world.operations.nodes()
