"""The executor that only remembers keeps the contract of the real one."""

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from netcore.desired.diff import diff
from netcore.drivers.facts import Facts
from netcore.errors import KernelError, TeardownFailed
from netcore.model import Endpoint, RemoteEndpoint, Sandbox
from netcore.plan import desired_state
from tests.support.networks import bridge_network, pool
from tests.support.recording import Clock, RecordingExecutor, RecordingPublisher, Timers, host_facts

NETWORK = bridge_network("front", pool("10.0.1.0/24", "10.0.1.1"), identity="f" * 12)
SANDBOX = Sandbox(id="s" * 12, name="web", hostname="web", netns_path="/x", boot_id="")
ENDPOINT = Endpoint(
    origin="api", network_id=NETWORK.id, sandbox_id=SANDBOX.id, ifname="eth0", host_ifname="veth0", mac="02:42:00:00:00:02",
    ipv4=ip_interface("10.0.1.2/24"), ipv6=None,
)  # fmt: skip


def desired(*endpoints):
    facts = Facts(uplinks=("eth0",))
    return desired_state.desired(SANDBOX, endpoints, {NETWORK.id: NETWORK}, facts, hosts_path="/hosts", loopback_ipv6=True)


BEFORE, AFTER = desired(), desired(ENDPOINT)


@pytest.fixture
def executor():
    made = RecordingExecutor()
    made.apply(diff((), BEFORE))
    made.steps.clear()
    return made


def test_what_was_applied_is_there_and_what_was_removed_is_not(executor):
    before = dict(executor.objects)
    executor.apply(diff(BEFORE, AFTER))
    assert set(executor.objects) - set(before)
    executor.remove(diff(AFTER, BEFORE), "web")
    assert executor.objects == before


def test_deleting_a_link_takes_with_it_what_the_kernel_would_take(executor):
    executor.apply(diff(BEFORE, AFTER))
    veth = next(step for step in diff(AFTER, BEFORE) if getattr(step.subject, "host_ifname", "") == "veth0")
    executor.remove([veth], "web")
    assert not [there for there in executor.objects.values() if getattr(there, "ifname", "") == "eth0"]
    assert any(type(there).__name__ == "Element" for there in executor.objects.values())


def test_every_failing_step_is_undone(executor):
    before, steps = dict(executor.objects), diff(BEFORE, AFTER)
    assert len(steps) > 5
    for number in range(len(steps)):
        executor.failing.arm(number)
        with pytest.raises(KernelError, match="ENOSPC"):
            executor.apply(steps)
        assert executor.objects == before, number
    executor.failing.arm(len(steps))
    executor.apply(steps)
    executor.failing.disarm()


def test_a_step_that_fails_does_not_stop_a_removal(executor):
    executor.apply(diff(BEFORE, AFTER))
    executor.steps.clear()
    steps = diff(AFTER, BEFORE)
    executor.failing.arm(0)
    with pytest.raises(TeardownFailed, match="ENOSPC"):
        executor.remove(steps, "web")
    assert executor.steps == list(steps[1:])


def test_a_sandbox_that_is_gone_leaves_what_is_the_hosts(executor):
    executor.apply(diff(BEFORE, AFTER))
    executor.forget_sandbox(SANDBOX.id)
    assert executor.objects
    assert not [there for there in executor.objects.values() if getattr(there, "sandbox_id", None) == SANDBOX.id]


async def test_publisher_knows_what_is_published():
    publisher = RecordingPublisher()
    await publisher.network_up(NETWORK)
    await publisher.open(SANDBOX)
    await publisher.update(SANDBOX, (ENDPOINT,), {NETWORK.id: NETWORK})
    assert publisher.names == {SANDBOX.id: (NETWORK.id,)}
    remote = RemoteEndpoint(id="r", network_id=NETWORK.id, node="n", vtep=ENDPOINT.ipv4.ip, mac="m", addresses=(), names=("far",))
    publisher.remote(NETWORK, None, remote)
    assert publisher.remotes == {(NETWORK.id, "r"): remote}
    publisher.remote(NETWORK, remote, replace(remote, names=("near",)))
    publisher.remote(NETWORK, publisher.remotes[NETWORK.id, "r"], None)
    await publisher.close(SANDBOX)
    await publisher.network_down(NETWORK)
    assert (publisher.names, publisher.remotes, publisher.networks) == ({}, {}, set())
    assert [method for method, _ in publisher.calls] == ["network_up", "open", "update", *["remote"] * 3, "close", "network_down"]
    publisher.fails = True
    with pytest.raises(KernelError):
        await publisher.open(SANDBOX)


def test_time_passes_by_hand():
    clock, timers, done = Clock(5.0), Timers(), []
    clock.advance(2.5)
    assert clock() == 7.5
    timers(9.0, lambda: done.append("late"))
    timers(1.0, lambda: done.append("early"))
    assert done == []
    timers.run()
    timers.run()
    assert done == ["early", "late"]


def test_host_has_one_uplink_unless_told_otherwise():
    assert host_facts().uplinks == ("eth0",)
    assert host_facts(uplinks=(), ipv6=False).ipv6 is False
