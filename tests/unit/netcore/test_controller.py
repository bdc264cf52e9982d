"""Operations of the controller without a kernel: all or nothing, and a dry run that does nothing."""

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from netcore.errors import Conflict, InvalidRequest, NetcoreError, NotFound, TeardownFailed
from netcore.model import EndpointRequest, NetworkRequest, Owner, PluginAnswer, SandboxRequest
from netcore.plan.drift import Part
from netcore.store.codec import decode
from netcore.store.records import EndpointsRecord
from tests.support.fakes import world


async def furnished(made):
    """Make two networks and a sandbox on the first one, with a published port."""
    await made.controller.networks.create(NetworkRequest(name="a", ipv6=True))
    await made.controller.networks.create(NetworkRequest(name="b"))
    await made.controller.sandboxes.create(SandboxRequest(name="s", networks=(EndpointRequest(network="a"),), publish=("8080:80",)))


def on(*networks, name="t", **more):
    return SandboxRequest(name=name, networks=tuple(EndpointRequest(network=network) for network in networks), **more)


MADE = {
    "network": (15, lambda made: made.controller.networks.create(NetworkRequest(name="c", ipv6=True))),
    "network of a plugin": (
        6,
        lambda made: made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave")),
    ),
    "connect": (18, lambda made: made.controller.sandboxes.connect("s", EndpointRequest(network="b", gateway_priority=5))),
    "sandbox": (40, lambda made: made.controller.sandboxes.create(on("a", "b", publish=("9090:90/udp",)))),
    "sandbox in a namespace": (25, lambda made: made.controller.sandboxes.create(on("a", netns="/run/netns/other"))),
    "sandbox without networks": (5, lambda made: made.controller.sandboxes.create(on("none"))),
    "sandbox on the host's stack": (5, lambda made: made.controller.sandboxes.create(on("host"))),
    "sandbox with another's stack": (5, lambda made: made.controller.sandboxes.create(on("container:s"))),
}


@pytest.mark.parametrize("name", MADE)
async def test_a_failing_step_leaves_nothing(name):
    least, operation = MADE[name]
    async with world() as made:
        await furnished(made)
        for at in range(200):
            before = await made.picture()
            made.failing.arm(at)
            try:
                await operation(made)
            except NetcoreError as error:
                made.failing.arm(-1)
                after = await made.picture()
                assert "ENOSPC" in str(error)
                assert after == before, (at, {key for key in after if after[key] != before[key]})
            else:
                break
        # Not vacuous: so many steps failed, the store's writes among them.
        assert at >= least
        assert any(call.startswith("commit") for call in made.failing.calls)


@pytest.mark.parametrize("wants_gateway", [False, True])
async def test_a_failing_step_on_a_plugins_network_leaves_nothing(wants_gateway):
    async with world() as made:
        made.plugin.answer = PluginAnswer(link="plug0", wants_gateway=wants_gateway)
        await furnished(made)
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        for at in range(200):
            before = await made.picture()
            made.failing.arm(at)
            try:
                await made.controller.sandboxes.create(on("p", publish=("7070:70",)))
            except NetcoreError:
                made.failing.arm(-1)
                after = await made.picture()
                assert after == before, (at, {key for key in after if after[key] != before[key]})
            else:
                break
        assert at >= 15
        networks = made.names.names[made.controller.state.find_sandbox("t").id]
        assert networks == (["p", "berth_gwbridge"] if wants_gateway else ["p"])
        # With the bridge comes the port that is published through it.
        assert len(made.controller.state.find_sandbox("t").ports) == (2 if wants_gateway else 0)


async def test_a_cancelled_creation_leaves_nothing():
    async with world() as made:
        await furnished(made)
        before = await made.picture()
        there, never = asyncio.Event(), asyncio.Event()

        async def hang(sandbox, endpoints, networks):
            there.set()
            await never.wait()

        update, made.names.update = made.names.update, hang
        task = asyncio.ensure_future(made.controller.sandboxes.create(on("a")))
        await there.wait()
        # Nobody sees a sandbox that is not finished... but for the one step in which its names are published.
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        made.names.update = update
        assert await made.picture() == before


async def test_what_a_plugin_may_give_to_others_is_recorded_as_gone_before_the_reply():
    async with world() as made:
        await furnished(made)
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        await made.controller.sandboxes.create(on("p", "b"))
        sandbox, network = made.controller.state.find_sandbox("t"), made.controller.state.find_network("p")
        store = made.store._items
        await made.controller.sandboxes.disconnect("t", "p")
        assert decode(EndpointsRecord, store[f"endpoints/{sandbox.id}"].value).gone == ()
        await made.controller.sandboxes.connect("t", EndpointRequest(network="p"))
        await made.controller.sandboxes.remove("t")
        assert f"sandbox/{sandbox.id}" not in store
        left = []
        release = made.plugin.release_pool

        async def released(source, pool):
            left.append(f"network/{network.id}" in store)
            await release(source, pool)

        made.plugin.release_pool = released
        await made.controller.networks.remove("p")
        assert left == [False]
        # Of what rests on this host itself nobody has to be sure.
        await made.controller.sandboxes.disconnect("s", "a")
        (sandbox,) = made.controller.state.sandboxes
        assert len(decode(EndpointsRecord, store[f"endpoints/{sandbox}"].value).gone) == 1


DRY = {
    "network": lambda made: made.controller.networks.create(NetworkRequest(name="c", ipv6=True), dry_run=True),
    "network of a plugin": lambda made: made.controller.networks.create(
        NetworkRequest(name="q", driver="weave", ipam_driver="weave"), dry_run=True
    ),
    "connect": lambda made: made.controller.sandboxes.connect("s", EndpointRequest(network="b"), dry_run=True),
    "connect to a plugin's network": lambda made: made.controller.sandboxes.connect("s", EndpointRequest(network="p"), dry_run=True),
    "disconnect": lambda made: made.controller.sandboxes.disconnect("s", "a", dry_run=True),
    "sandbox": lambda made: made.controller.sandboxes.create(on("a", "b", publish=("9090:90",)), dry_run=True),
    "remove sandbox": lambda made: made.controller.sandboxes.remove("s", dry_run=True),
    "remove network": lambda made: made.controller.networks.remove("b", dry_run=True),
}


@pytest.mark.parametrize("name", DRY)
async def test_a_dry_run_says_what_would_be_done_and_does_nothing(name):
    async with world() as made:
        await furnished(made)
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        before, asked = await made.picture(), made.plugin.calls.copy()
        made.failing.arm(-1)
        result = await DRY[name](made)
        outcome = result[1] if isinstance(result, tuple) else result
        assert outcome.steps
        assert all(step.describe() for step in outcome.steps)
        assert set(made.failing.calls) <= {"look at the host"}
        assert made.plugin.calls == asked
        assert await made.picture() == before


async def test_a_dry_run_names_what_only_a_plugin_knows():
    async with world() as made:
        await furnished(made)
        _, outcome = await made.controller.networks.create(NetworkRequest(name="q", driver="weave", ipam_driver="weave"), dry_run=True)
        assert [step.describe() for step in outcome.steps] == ["claim an IPv4 pool for network q from plugin weave"]
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        outcome = await made.controller.sandboxes.connect("s", EndpointRequest(network="p"), dry_run=True)
        assert "claim an IPv4 address on network p from plugin weave" in [step.describe() for step in outcome.steps]


async def test_a_dry_run_shows_the_addresses_that_come_next():
    async with world() as made:
        await furnished(made)
        _, planned = await made.controller.sandboxes.create(on("a", publish=("9090:90",)), dry_run=True)
        _, done = await made.controller.sandboxes.create(on("a", publish=("9090:90",)))
        addresses = [[step.describe() for step in outcome.steps if "address 172" in step.describe()] for outcome in (planned, done)]
        assert [line.partition(" in ")[0] for line in addresses[0]] == [line.partition(" in ")[0] for line in addresses[1]]
        with pytest.raises(Conflict, match="9090"):
            await made.controller.sandboxes.create(on("b", name="u", publish=("9090:90",)), dry_run=True)


async def test_a_dry_run_shows_the_port_that_comes_next_and_leaves_it():
    async with world() as made:
        await furnished(made)
        (_, first), (_, second) = [await made.controller.sandboxes.create(on("a", publish=("80",)), dry_run=True) for _ in range(2)]
        shown, again = [
            {step.describe().partition(" :")[0] for step in outcome.steps if "dnat" in step.describe()} for outcome in (first, second)
        ]
        assert shown
        assert shown == again
        sandbox, _ = await made.controller.sandboxes.create(on("a", publish=("80",)))
        assert any(str(sandbox.ports[0].host_port) in line for line in shown)


async def test_a_port_that_a_program_holds_is_told_by_a_dry_run_too():
    async with world() as made:
        await furnished(made)
        made.ports.busy.add(9091)
        for dry_run in (True, False):
            with pytest.raises(Conflict, match="9091"):
                await made.controller.sandboxes.create(on("a", publish=("9091:90",)), dry_run=dry_run)


@pytest.mark.parametrize("at", range(12))
async def test_removal_never_stops(at):
    """Whatever step fails, the rest is removed and the failure is told. A write that fails before anything is done stops it."""
    async with world() as made:
        await furnished(made)
        sandbox = made.controller.state.find_sandbox("s")
        made.failing.arm(at + 1)
        with pytest.raises((TeardownFailed, NetcoreError)) as caught:
            await made.controller.sandboxes.remove("s")
        made.failing.arm(-1)
        if isinstance(caught.value, TeardownFailed):
            assert sandbox.id not in made.controller.state.sandboxes
            assert sandbox.id not in made.names.names
            assert not made.ports.held


async def test_removal_with_a_store_that_refuses_changes_nothing():
    async with world() as made:
        await furnished(made)
        for operation in (
            lambda: made.controller.sandboxes.remove("s"),
            lambda: made.controller.sandboxes.disconnect("s", "a"),
        ):
            before = await made.picture()
            made.failing.arm(0)
            with pytest.raises(NetcoreError, match="ENOSPC"):
                await operation()
            made.failing.arm(-1)
            assert await made.picture() == before


async def test_everything_goes_in_the_end():
    async with world() as made:
        made.plugin.answer = PluginAnswer(link="plug0", wants_gateway=True)
        await furnished(made)
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        await made.controller.sandboxes.create(on("p", "b", publish=("7070:70",)))
        await made.controller.sandboxes.create(on("container:t", name="guest"))
        assert made.plugin.outside == set()
        await made.controller.sandboxes.disconnect("t", "b")
        assert made.names.names[made.controller.state.find_sandbox("t").id] == ["p", "berth_gwbridge"]
        await made.controller.sandboxes.connect("t", EndpointRequest(network="b"))
        assert made.names.names[made.controller.state.find_sandbox("t").id] == ["b", "p"]
        outcome = await made.controller.sandboxes.remove("t")
        assert outcome.warnings == ("the network stack of t stays until guest ends",)
        assert made.controller.state.find_sandbox("t").ended
        with pytest.raises(Conflict, match="has ended"):
            await made.controller.sandboxes.create(on("container:t", name="late"))
        await made.controller.sandboxes.remove("guest")
        await made.controller.sandboxes.remove("s")
        with pytest.raises(Conflict, match="pre-defined"):
            await made.controller.networks.remove("berth_gwbridge")
        await made.controller.networks.remove_unused_bridges()
        for name in ("a", "b", "p"):
            await made.controller.networks.remove(name)
        left = await made.picture()
        assert {key: value for key, value in left.items() if value} == {}
        assert made.plugin.calls["request_address"] == made.plugin.calls["release_address"]
        assert made.plugin.calls["request_pool"] == made.plugin.calls["release_pool"]


async def test_what_is_refused():
    async with world() as made:
        await furnished(made)
        controller = made.controller
        before = await made.picture()
        for kind, text, operation in (
            (Conflict, "exists already", lambda: controller.sandboxes.create(on("a", name="s"))),
            (Conflict, "already attached", lambda: controller.sandboxes.connect("s", EndpointRequest(network="a"))),
            (NotFound, "not connected", lambda: controller.sandboxes.disconnect("s", "b")),
            (NotFound, "no such network", lambda: controller.sandboxes.create(on("nowhere"))),
            (NotFound, "no such sandbox", lambda: controller.sandboxes.connect("nobody", EndpointRequest(network="a"))),
            (InvalidRequest, "each network", lambda: controller.sandboxes.create(on("a", "a"))),
            (InvalidRequest, "mode of a whole sandbox", lambda: controller.sandboxes.connect("s", EndpointRequest(network="host"))),
            (Conflict, "active endpoints", lambda: controller.networks.remove("a")),
            (InvalidRequest, "share a store", lambda: controller.networks.create(NetworkRequest(name="o", driver="overlay"))),
            (InvalidRequest, "no options", lambda: controller.networks.create(NetworkRequest(name="o", ipam_options=(("x", "y"),)))),
        ):
            with pytest.raises(kind, match=text):
                await operation()
        assert await made.picture() == before


async def test_two_operations_on_one_network_do_not_mix():
    async with world() as made:
        await furnished(made)
        await asyncio.gather(*(made.controller.sandboxes.create(on("a", "b", name=f"n{i}")) for i in range(20)))
        addresses = [
            address for endpoints in made.controller.state.endpoints.values() for endpoint in endpoints for address in endpoint.addresses()
        ]
        assert len(set(addresses)) == len(addresses)
        results = await asyncio.gather(*(made.controller.sandboxes.create(on("a", name="same")) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(result, Conflict) for result in results) == 4


async def test_facts_about_a_sandbox_change_or_stay():
    async with world() as made:
        await furnished(made)
        for at in range(2):
            before = await made.picture()
            made.failing.arm(at)
            with pytest.raises(NetcoreError):
                await made.controller.sandboxes.change("s", lambda sandbox: _renamed(sandbox, "z"))
            made.failing.arm(-1)
            assert await made.picture() == before
        assert (await made.controller.sandboxes.change("s", lambda sandbox: _renamed(sandbox, "z"))).name == "z"
        assert made.controller.state.find_sandbox("z")


def links_of(made, name):
    return [endpoint.links for endpoint in made.controller.state.endpoints[made.controller.state.find_sandbox(name).id]]


async def test_links_follow_a_rename_all_or_nothing():
    async with world() as made:
        await furnished(made)
        change = made.controller.sandboxes.change
        target = made.controller.state.find_sandbox("s")
        for name, reference in (("t", "s"), ("u", target.id[:20])):
            links = ((reference, "db"), (reference, "store"))
            await made.controller.sandboxes.create(SandboxRequest(name=name, networks=(EndpointRequest(network="a", links=links),)))
        await made.controller.sandboxes.connect("s", EndpointRequest(network="b", links=(("s", "me"),)))
        assert links_of(made, "u") == [(("s", "db"), ("s", "store"))]
        for at in range(3):
            before = await made.picture()
            made.failing.arm(at)
            with pytest.raises(NetcoreError):
                await change("s", lambda sandbox: _renamed(sandbox, "z"))
            made.failing.arm(-1)
            assert await made.picture() == before
        await change("s", lambda sandbox: _renamed(sandbox, "z"))
        assert links_of(made, "t") == links_of(made, "u") == [(("z", "db"), ("z", "store"))]
        assert links_of(made, "z") == [(), (("z", "me"),)]
        # The linking one can be renamed as well, and so can both at once.
        await asyncio.gather(change("t", lambda sandbox: _renamed(sandbox, "v")), change("z", lambda sandbox: _renamed(sandbox, "y")))
        assert links_of(made, "v") == [(("y", "db"), ("y", "store"))]


async def test_links_made_during_a_rename_have_the_name_of_then():
    async with world() as made:
        await furnished(made)
        links = ((made.controller.state.find_sandbox("s").id, "db"),)
        request = SandboxRequest(name="t", networks=(EndpointRequest(network="a", links=links),))
        await asyncio.gather(
            made.controller.sandboxes.create(request), made.controller.sandboxes.change("s", lambda sandbox: _renamed(sandbox, "z"))
        )
        assert links_of(made, "t") == [(("z", "db"),)]


def _renamed(sandbox, name):
    return replace(sandbox, name=name)


async def test_only_the_writer_writes():
    async with world() as made:
        await furnished(made)
        with pytest.raises(TypeError):
            made.controller.state.networks["x"] = None


async def following(made, failing_at=-1):
    """Have a sandbox `f` follow something on the network `a`, and wait; then have the call number *failing_at* fail."""
    await made.controller.sandboxes.create(on("a", name="f", follows="podman:f", publish=("7070:70",)))
    made.failing.arm(failing_at)


async def test_a_move_that_fails_leaves_a_sandbox_that_waits_and_has_all_it_had():
    for at in range(200):
        async with world() as made:
            await furnished(made)
            await following(made)
            before = made.controller.state.find_sandbox("f"), made.controller.state.endpoints[made.controller.state.find_sandbox("f").id]
            made.failing.arm(at)
            try:
                moved = await made.controller.sandboxes.move("f", "/proc/7/ns/net", Owner(pid=7, start_time=1))
            except NetcoreError as error:
                assert "ENOSPC" in str(error)
                made.failing.arm(-1)
                sandbox = made.controller.state.find_sandbox("f")
                assert (sandbox, made.controller.state.endpoints[sandbox.id]) == before
                assert sandbox.waits
                # It can be moved later, as nothing of the failure is left.
                moved = await made.controller.sandboxes.move("f", "/proc/7/ns/net", Owner(pid=7, start_time=1))
                assert made.files.pinned[moved.netns_path] == "/proc/7/ns/net"
            assert (moved.adopted, moved.leader.pid) == (True, 7)
            if at >= len(made.failing.calls) and made.failing.at == at:
                # Nothing was left that could fail.
                break
    assert at >= 8


async def test_a_sandbox_goes_from_one_namespace_to_the_next_and_back_to_its_own():
    async with world() as made:
        await furnished(made)
        await following(made)
        sandbox = made.controller.state.find_sandbox("f")
        endpoints, objects = made.controller.state.endpoints[sandbox.id], set(made.executor.objects)
        for pid in (7, 8):
            moved = await made.controller.sandboxes.move("f", f"/proc/{pid}/ns/net", Owner(pid=pid, start_time=1))
            assert (moved.id, moved.adopted, moved.waits, moved.leader.pid) == (sandbox.id, True, False, pid)
            assert made.controller.state.endpoints[sandbox.id] == endpoints
            assert made.files.pinned[sandbox.netns_path] == f"/proc/{pid}/ns/net"
            assert set(made.executor.objects) == objects
        waits = await made.controller.sandboxes.move("f", None, None)
        assert (waits.adopted, waits.waits, waits.leader) == (False, True, None)
        assert made.controller.state.endpoints[sandbox.id] == endpoints
        await made.controller.sandboxes.remove("f")
        assert not [path for path in made.files.pinned if path == sandbox.netns_path]


async def test_a_link_gets_another_name_where_the_next_namespace_has_one_of_its_name():
    async with world() as made:
        await furnished(made)
        await following(made)
        made.host.ifnames = {"lo", "eth0"}
        moved = await made.controller.sandboxes.move("f", "/proc/7/ns/net", Owner(pid=7, start_time=1))
        assert [endpoint.ifname for endpoint in made.controller.state.endpoints[moved.id]] == ["eth1"]


async def test_a_link_that_root_in_a_sandbox_has_made_is_found_when_its_name_is_needed():
    async with world() as made:
        await furnished(made)
        made.host.ifnames = {"lo", "eth1"}
        await made.controller.sandboxes.connect("s", EndpointRequest(network="b"))
        (sandbox,) = made.controller.state.sandboxes
        assert [endpoint.ifname for endpoint in made.controller.state.endpoints[sandbox]] == ["eth0", "eth2"]
        await made.controller.sandboxes.disconnect("s", "b")
        before = await made.picture()
        with pytest.raises(Conflict, match="eth1"):
            await made.controller.sandboxes.connect("s", EndpointRequest(network="b", ifname="eth1"))
        assert await made.picture() == before


async def test_only_an_address_that_somebody_had_before_is_announced():
    async with world() as made:
        await made.controller.networks.create(NetworkRequest(name="a"))

        async def announced(name, **more):
            asked = SandboxRequest(name=name, networks=(EndpointRequest(network="a", **more),))
            sandbox, _ = await made.controller.sandboxes.create(asked)
            (endpoint,) = made.controller.state.endpoints[sandbox.id]
            return endpoint.addresses(), made.executor.announced.pop()

        first, told = await announced("first")
        assert told == ()
        await made.controller.sandboxes.remove("first")
        again, told = await announced("second", ipv4=first[0])
        assert told == again == first
        wished, told = await announced("third", ipv4=ip_address("172.17.0.9"))
        assert told == ()
        await made.controller.sandboxes.remove("third")
        assert await announced("fourth", ipv4=wished[0]) == (wished, wished)


async def test_what_follows_is_on_no_network_of_a_plugin_and_shares_its_stack_with_nobody():
    async with world() as made:
        await furnished(made)
        await made.controller.networks.create(NetworkRequest(name="p", driver="weave", ipam_driver="weave"))
        with pytest.raises(InvalidRequest, match="p is a plugin's, which can't follow"):
            await made.controller.sandboxes.create(on("p", name="f", follows="podman:f"))
        await following(made)
        with pytest.raises(InvalidRequest, match="p is a plugin's, which can't follow"):
            await made.controller.sandboxes.connect("f", EndpointRequest(network="p"))
        with pytest.raises(Conflict, match="cannot join network namespace of f, which follows podman:f"):
            await made.controller.sandboxes.create(on("container:f"))


async def test_queries_are_answered_between_the_steps_of_a_connect_and_a_disconnect():
    async with world() as made:
        await furnished(made)
        for operation in (
            lambda: made.controller.sandboxes.connect("s", EndpointRequest(network="b")),
            lambda: made.controller.sandboxes.disconnect("s", "b"),
        ):
            made.failing.calls.clear()
            made.names.answered_at.clear()
            await operation()
            published = max(at for at, call in enumerate(made.failing.calls) if call == "publish s")
            # Around the plan, whose first step in the kernel or the store comes next; and around the names.
            planned = [at for at in made.names.answered_at if at < published]
            assert len(planned) >= 2
            assert min(planned) <= next(at for at, call in enumerate(made.failing.calls) if "veth" in call)
            assert {published, published + 1} <= {*made.names.answered_at}


async def test_the_link_of_a_network_is_expected_until_it_is_known_as_one_of_ours():
    async with world() as made:
        is_expected, seen = [], []

        @contextmanager
        def expecting(network):
            is_expected.append(network.id)
            yield
            is_expected.clear()

        made.host.expecting = expecting
        made.writer.on_change = lambda concern: seen.append(list(is_expected)) if concern and concern.part is Part.NETWORK else None
        network, _ = await made.controller.networks.create(NetworkRequest(name="c"))
        await made.controller.networks.remove("c")
        assert seen == [[network.id], [network.id]]
