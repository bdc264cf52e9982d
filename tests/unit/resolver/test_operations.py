"""What an operation does beyond what the controller does: in which order, and once."""

import asyncio
import logging
from ipaddress import ip_address

import pytest

from netcore.controller.set_aside import Aside
from netcore.errors import Conflict, InvalidRequest, KernelError, NotFound, Unavailable
from netcore.model import EndpointRequest, NetworkRequest, Owner, SandboxRequest
from resolver.daemon.operations import Counts
from resolver.daemon.runs import Process, Run, is_due
from resolver.daemon.schema import PruneBody
from tests.unit.resolver.daemon_fakes import OWNER, World


@pytest.fixture
async def world():
    made = World()
    yield made
    made.close()


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
        "controller connect web id-bridge", "event endpoint connect web bridge", "names answer",
    )  # fmt: skip
    assert (await world.operations.disconnect("web", "id-bridge"))[0].name == "web"
    assert world.took() == ("controller disconnect web bridge", "event endpoint disconnect web bridge", "names answer")


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


# --- what stays when its command ends -----------------------------------------------------------------------------

HOLDER = Owner(pid=8, start_time=80)


async def started(world, name="web", **more):
    """Return the run of a sandbox whose command is held by HOLDER."""
    await world.operations.create_network(NetworkRequest(name="front"))
    sandbox, _ = await world.operations.create_sandbox(
        SandboxRequest(name=name, networks=on("id-fr"), owner=OWNER), on_default=False, process=Process(command=("x",), **more)
    )
    await world.operations.change_sandbox(name, name=None, owner=HOLDER, leader=Owner(pid=9, start_time=90))
    world.took()
    return world.runs.get(sandbox.id)


async def test_end_of_the_holder_leaves_a_run_with_the_exit_code(world):
    run = await started(world)
    (world.runs.directory_of(run.id) / "exit").write_text('{"code": 5, "at": 1.5}')
    await world.owners.end(HOLDER)
    assert world.took() == ("event sandbox stop web (command ended) 5", "controller remove sandbox web")
    ended = world.operations.find("web")
    assert (ended.exit_code, ended.ended, ended.request.networks[0].network, ended.request.owner) == (5, 1.5, "front", None)
    with pytest.raises(Conflict, match="is not running; start it"):
        world.operations.find_sandbox("web")
    with pytest.raises(Conflict, match="exists already and is stopped"):
        await world.operations.create_sandbox(SandboxRequest(name="web"), on_default=False)
    again, process, _ = await world.lifecycle.start("web", OWNER)
    assert (again.id, process.command) == (run.id, ("x",))
    assert world.took()[-2:] == ("event sandbox start web", "event endpoint connect web front")
    assert world.runs.get(run.id).ended is None
    with pytest.raises(Conflict, match="runs already"):
        await world.lifecycle.start("web", OWNER)
    # Nobody wrote how it ended this time.
    await world.owners.end(OWNER)
    assert world.runs.get(run.id).exit_code == 255
    await world.operations.remove_sandbox("web")
    assert world.took()[-1] == "event sandbox remove web (request) 255"
    assert (world.runs.all(), (await world.store.load()).items, list(world.directory.iterdir())) == ((), {}, [])


async def test_run_that_is_not_to_stay_goes_with_its_command(world):
    await started(world, remove=True)
    await world.owners.end(HOLDER)
    assert world.took() == ("controller remove sandbox web", "event sandbox remove web (owner ended) 255")
    assert world.runs.all() == ()


async def test_stop_ends_restarts_first_and_returns_when_all_is_free(world):
    await started(world, stop_signal="INT", stop_timeout=7.0)
    assert await world.lifecycle.stop("web") == "web"
    assert world.took() == (
        "end restarts 8", "end 9 SIGINT 7.0", "wait for 8", "event sandbox stop web (owner ended) 255", "controller remove sandbox web",
    )  # fmt: skip
    assert await world.lifecycle.stop("web") == "web"
    assert world.took() == ()
    for wrong in ({"grace": -3.0}, {"signal_name": "FOO"}):
        with pytest.raises(InvalidRequest):
            await world.lifecycle.stop("web", **wrong)


async def test_restart_is_noted_with_its_exit_code(world):
    run = await started(world, restart="always")
    sandbox = await world.lifecycle.note_restart("web", 4)
    assert (sandbox.leader, world.runs.get(run.id).restarts, world.runs.get(run.id).exit_code) == (None, 1, 4)
    await world.operations.change_sandbox("web", name=None, owner=None, leader=Owner(pid=10, start_time=100))
    assert world.took() == ("event sandbox stop web (command ended) 4", "event sandbox start web")
    await world.lifecycle.stop("web", grace=-1.0, signal_name="15")
    assert "end 10 SIGTERM None" in world.took()


async def test_what_is_changed_meanwhile_is_there_at_the_next_start(world):
    run = await started(world)
    await world.operations.create_network(NetworkRequest(name="back"))
    await world.operations.connect("web", EndpointRequest(network="id-back", aliases=("inner",)))
    await world.operations.disconnect("web", "front")
    await world.operations.change_sandbox("web", name="shop", owner=None, leader=None)
    await world.lifecycle.stop("shop")
    request = world.runs.get(run.id).request
    assert (request.name, [(one.network, one.aliases) for one in request.networks]) == ("shop", [("back", ("inner",))])
    await world.lifecycle.rename_stopped(world.runs.get(run.id), "last")
    assert world.operations.find("last").id == run.id


def networks(run):
    return [one.network for one in run.request.networks]


async def test_connect_and_disconnect_of_a_stopped_sandbox_are_for_its_next_start(world):
    run = await started(world)
    await world.operations.create_network(NetworkRequest(name="back"))
    await world.operations.create_network(NetworkRequest(name="other"))
    await world.lifecycle.stop("web")
    world.took()
    planned = await world.lifecycle.connect_stopped("web", EndpointRequest(network="id-back"), dry_run=True)
    assert (networks(planned), networks(world.runs.get(run.id))) == (["front", "back"], ["front"])
    await world.lifecycle.connect_stopped("web", EndpointRequest(network="id-back", aliases=("inner",)))
    with pytest.raises(Conflict, match="is already attached to network back"):
        await world.lifecycle.connect_stopped("web", EndpointRequest(network="back"))
    with pytest.raises(NotFound, match="nowhere"):
        await world.lifecycle.connect_stopped("web", EndpointRequest(network="nowhere"))
    with pytest.raises(InvalidRequest, match="network-alias"):
        await world.lifecycle.connect_stopped("web", EndpointRequest(network="other", aliases=("no such name",)))
    with pytest.raises(InvalidRequest, match=r"invalid ip: no configured subnet contains IP address 10\.99\.0\.9; other has 10"):
        await world.lifecycle.connect_stopped("web", EndpointRequest(network="other", ipv4=ip_address("10.99.0.9")))
    await world.lifecycle.disconnect_stopped("web", "id-front")
    with pytest.raises(NotFound, match="sandbox web is not connected to network front"):
        await world.lifecycle.disconnect_stopped("web", "front")
    assert [(one.network, one.aliases) for one in world.runs.get(run.id).request.networks] == [("back", ("inner",))]
    assert world.took() == ()
    # Nothing that is stopped keeps a network.
    await world.operations.remove_network("back")
    await world.lifecycle.disconnect_stopped("web", "back")
    assert networks(world.runs.get(run.id)) == []


@pytest.mark.parametrize("stopped", [False, True])
async def test_what_was_on_the_default_network_stays_on_it(world, stopped):
    await world.operations.create_network(NetworkRequest(name="back"))
    sandbox, _ = await world.operations.create_sandbox(
        SandboxRequest(name="web", owner=HOLDER), on_default=True, process=Process(command=("x",))
    )
    if stopped:
        await world.owners.end(HOLDER)
        await world.lifecycle.connect_stopped("web", EndpointRequest(network="back"))
    else:
        await world.operations.connect("web", EndpointRequest(network="back"))
        await world.owners.end(HOLDER)
    run = world.runs.get(sandbox.id)
    assert (networks(run), run.on_default) == (["default", "back"], True)
    await world.operations.remove_network("default")
    world.took()
    await world.lifecycle.start("web", OWNER)
    assert "controller create network default" in world.took()
    await world.owners.end(OWNER)
    for network in ("default", "back"):
        await world.lifecycle.disconnect_stopped("web", network)
    assert (networks(world.runs.get(sandbox.id)), world.runs.get(sandbox.id).on_default) == ([], False)


async def test_a_stopped_sandbox_without_a_stack_of_its_own_is_connected_to_nothing(world):
    await world.operations.create_network(NetworkRequest(name="back"))
    await world.operations.create_sandbox(
        SandboxRequest(name="web", networks=on("host"), owner=HOLDER), on_default=False, process=Process(command=("x",))
    )
    await world.owners.end(HOLDER)
    with pytest.raises(Conflict, match="sharing network namespace"):
        await world.lifecycle.connect_stopped("web", EndpointRequest(network="back"))


async def test_changes_of_a_record_at_the_same_time_are_all_kept(world):
    run = await started(world)
    await asyncio.gather(
        world.runs.rename(run.id, "shop"), world.runs.note_restart(run, 4), world.runs.note_restart(run, 5), world.runs.end(run)
    )
    found = world.runs.get(run.id)
    assert (found.name, found.restarts, found.ended is None) == ("shop", 2, False)
    await world.runs.drop(run)
    await world.runs.note_start(run)
    assert world.runs.all() == ()


async def test_runs_outlive_the_daemon(world):
    run = await started(world)
    world.controller.state.sandboxes.clear()
    world.runs._runs.clear()
    await world.runs.load()
    assert world.runs.get(run.id).process == run.process
    await world.lifecycle.settle()
    assert [one.name for one in world.lifecycle.stopped()] == ["web"]
    assert await world.lifecycle.prune(PruneBody(labels=["none"])) == []
    assert await world.lifecycle.prune(PruneBody()) == ["web"]


@pytest.mark.parametrize(
    ("policy", "facts", "expected"),
    [
        ("no", {}, (False, False)),
        ("always", {}, (True, True)),
        ("always", {"stopped_by_user": True}, (True, False)),
        ("always", {"ended": None}, (False, False)),
        ("unless-stopped", {}, (True, True)),
        ("unless-stopped", {"stopped_by_user": True}, (False, False)),
        ("on-failure", {}, (True, True)),
        ("on-failure", {"stopped_by_user": True}, (False, False)),
        ("on-failure", {"exit_code": 0}, (False, False)),
        ("on-failure:2", {"restarts": 1}, (True, True)),
        ("on-failure:2", {"restarts": 2}, (False, False)),
    ],
)
def test_what_a_start_of_the_daemon_starts(policy, facts, expected):
    """Twice: by a daemon that was asked for, and by one that comes and goes by itself."""
    run = Run(
        id="i", request=SandboxRequest(name="web"), process=Process(command=("x",), restart=policy), created=1.0, started=1.0,
        **{"ended": 2.0, "exit_code": 255} | facts,
    )  # fmt: skip
    assert (is_due(run, keeps_stopped=False), is_due(run, keeps_stopped=True)) == expected


async def test_due_is_what_an_earlier_daemon_knew_until_somebody_starts_or_stops_it(world):
    run = await started(world, restart="always")
    await world.owners.end(HOLDER)
    assert not world.runs.is_due(world.runs.get(run.id))
    for end in (lambda: world.lifecycle.start("web", OWNER), lambda: world.lifecycle.stop("web")):
        world.runs._runs.clear()
        await world.runs.load()
        assert world.runs.is_due(world.runs.get(run.id))
        await end()
        await world.owners.end(OWNER)
        assert not world.runs.is_due(world.runs.get(run.id))


async def test_who_stopped_it_is_known(world):
    run = await started(world, restart="always")
    await world.lifecycle.start_no_more("web")
    assert world.took() == ("end restarts 8",)
    assert world.runs.get(run.id).stopped_by_user
    await world.owners.end(HOLDER)
    await world.lifecycle.start("web", OWNER)
    assert not world.runs.get(run.id).stopped_by_user
    await world.lifecycle.stop("web")
    assert world.runs.get(run.id).stopped_by_user


async def test_a_daemon_that_was_killed_in_a_start_leaves_what_runs_running(world):
    run = await started(world)
    # The sandbox is recorded, and the run is still the one that has ended.
    await world.runs.end(run)
    await world.lifecycle.settle()
    assert world.runs.get(run.id).ended is None
    await world.owners.end(HOLDER)
    assert world.runs.get(run.id).ended is not None
