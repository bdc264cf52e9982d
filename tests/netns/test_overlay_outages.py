"""Overlay networks over three hosts when a host, its daemon or the store is gone, slow or behind: all of it is noticed within seconds."""

from __future__ import annotations

import json
import signal
import time

import pytest

from netcore import limits
from tests.netns.test_overlay import LIMIT, finds, is_cut_off, knows, members, pings, sleeper, until
from tests.netns.test_overlay import network as network
from tests.support.etcd import why_no_etcd
from tests.support.hosts import hosts as make_hosts

pytestmark = [pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd()), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with make_hosts(3, tmp_path_factory.mktemp("etcd")) as made:
        yield made


@pytest.mark.slow
def test_host_that_dies_leaves_the_answers_and_its_addresses_stay(hosts, network):
    one, two, three = hosts.labs
    sleeper(one, "a")
    sleeper(three, "c")
    until(one, lambda: finds(one, "a", "c"))
    address = three.inspect("c")["addresses"][0]
    three.stop_daemon(signal.SIGKILL)
    hosts.cut(2)
    until(one, lambda: not finds(one, "a", "c"))
    # It may be cut off only, and use them still.
    until(two, lambda: knows(two))
    assert "address already in use" in two.berth("run", "--network", "far", "--ip", address, "--", "true", check=False).stderr
    hosts.restore(2)
    hosts.start_daemon(2)
    until(one, lambda: finds(one, "a", "c") and pings(one, "a", "c"))


@pytest.mark.slow
def test_cut_off_host_goes_on_and_comes_back(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(one, "near")
    sleeper(two, "b")
    until(one, lambda: finds(one, "a", "b"))
    hosts.cut(0)
    until(one, lambda: is_cut_off(one))
    # Fail static: what was known answers, what is near is reached, what needs all is refused at once, the rest goes on.
    assert finds(one, "a", "b")
    assert pings(one, "a", "near")
    begin = time.monotonic()
    done = one.berth("run", "--network", "far", "--", "true", check=False)
    # Sooner than etcd could be found not to answer.
    assert time.monotonic() - begin < limits.STORE_DEADLINE
    assert "the cluster is not available" in done.stderr
    assert "local networks are unaffected" in done.stderr
    one.berth("network", "create", "here")
    assert one.berth("run", "--network", "here", "--", "true").returncode == 0
    one.berth("network", "rm", "here")
    one.berth("rm", "near")
    until(two, lambda: not finds(two, "b", "a"))
    hosts.restore(0)
    until(two, lambda: finds(two, "b", "a"))
    assert not finds(two, "b", "near")
    assert pings(two, "b", "a")
    until(one, lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0)


@pytest.mark.slow
def test_store_that_restarts_loses_nothing(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    hosts.members[0].kill()
    until(one, lambda: is_cut_off(one))
    one.berth("rm", "a")
    hosts.start_etcd()
    until(two, lambda: not finds(two, "b", "a"))
    until(one, lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0)
    until(one, lambda: finds(two, "b", "b"))


@pytest.mark.slow
def test_slow_way_to_one_host_delays_and_loses_nothing(hosts, network):
    one, two, three = hosts.labs
    sleeper(one, "a")
    sleeper(two, "b")
    until(one, lambda: finds(one, "a", "b"))
    # 4 KB a second to host 0: each notice takes its time, and answers come later than a call may take.
    hosts.slow(0, 32_000)
    try:
        for number in range(20):
            sleeper(two, f"n{number}")
        for number in range(0, 20, 2):
            two.berth("rm", f"n{number}")
        # Others are not kept waiting.
        until(three, lambda: "n19" in three.berth("network", "inspect", "far").stdout)
        assert finds(one, "a", "b")
    finally:
        hosts.quicken(0)
    left = [f"n{number}" for number in range(1, 20, 2)]
    until(one, lambda: members(one, "far") == {"a", "b", *left})
    assert len(one.in_sandbox("a", "dig", "+short", *left, timeout=LIMIT).split()) == 10
    assert not finds(one, "a", "n2")
    assert pings(one, "a", "n19")
    until(one, lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0)


@pytest.mark.slow
def test_daemon_that_is_killed_and_back(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    sleeper(two, "gone")
    until(one, lambda: finds(one, "a", "b") and finds(one, "a", "gone"))
    fdb = "bridge fdb show | grep -c 'dst 10.99' || true"
    assert one.shell(fdb) == "2"
    neighbors = one.shell("ip neigh show nud permanent | grep -c ' dev br-' || true")
    one.stop_daemon(signal.SIGKILL)
    until(two, lambda: not finds(two, "b", "a"))
    two.berth("rm", "gone")
    assert one.shell(fdb) == "2"
    hosts.start_daemon(0)
    until(two, lambda: finds(two, "b", "a"))
    until(one, lambda: finds(one, "a", "b"))
    # What went meanwhile is not remembered for ever: one of two, with an address of each family.
    until(one, lambda: one.shell(fdb) == "1")
    assert int(neighbors) - int(one.shell("ip neigh show nud permanent | grep -c ' dev br-' || true")) == 2
    assert pings(one, "a", "b")
    assert pings(two, "b", "a")


@pytest.mark.slow
def test_history_that_is_compacted_while_a_host_is_away(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    sleeper(two, "gone")
    until(one, lambda: finds(one, "a", "b") and finds(one, "a", "gone"))
    hosts.cut(0)
    two.berth("rm", "gone")
    sleeper(two, "fresh")
    revision = hosts.post("kv/range", {"key": "AA=="})["header"]["revision"]
    hosts.post("kv/compaction", {"revision": revision, "physical": True})
    hosts.restore(0)
    until(one, lambda: finds(one, "a", "fresh") and not finds(one, "a", "gone"))
    assert finds(one, "a", "b")
    assert pings(one, "a", "fresh")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_daemon_that_is_killed_in_any_step_of_a_connect(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(two, "b")
    before = one.kernel_state()
    for delay in range(0, 44, 4):
        body = json.dumps({"name": "a", "networks": [{"network": "far"}]})
        # Not `berth run`, which would start a daemon of its own.
        connecting = one.start("curl", "-s", "-d", body, "--unix-socket", "/run/berth/berth.sock", "http://berth/v1/sandboxes")
        time.sleep(0.01 + delay / 1000)
        one.stop_daemon(signal.SIGKILL)
        connecting.wait(LIMIT)
        hosts.start_daemon(0)
        one.berth("rm", "a", check=False)
        until(one, lambda: json.loads(one.berth("ps", "--format", "json").stdout) == [])
        until(one, lambda: one.kernel_state() == before)
        # Nobody else is kept from an address by what came of nothing.
        until(two, lambda: [pool["in_use"] for pool in json.loads(two.berth("network", "inspect", "far").stdout)[0]["pools"]] == [2, 2])
        assert [member["sandbox"] for member in json.loads(two.berth("network", "inspect", "far").stdout)[0]["members"]] == ["b"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_endpoints_know_each_other(hosts, network):
    one = hosts.labs[0]
    one.berth("network", "create", "-d", "overlay", "--subnet", "10.44.0.0/16", "wide")
    script = "for i in $(seq 334); do berth run -d --name {0}$i --network wide -- sleep 300 > /dev/null || exit 1; done"
    for lab in hosts.labs[1:]:
        until(lab, lambda lab=lab: knows(lab, "wide"))
    started = [lab.start("sh", "-c", script.format(name)) for lab, name in zip(hosts.labs, ("one", "two", "six"), strict=True)]
    for process in started:
        assert process.wait(600) == 0, process.stdout.read()
    until(one, lambda: one.shell("bridge fdb show | grep -c 'dst 10.99' || true") == "668")
    asked = " ".join(f"{name}{number}" for name in ("one", "two", "six") for number in range(1, 335))

    def addresses():
        lines = one.in_sandbox("one1", "sh", "-c", f"dig +short {asked}", timeout=LIMIT).splitlines()
        return set(lines)

    until(one, lambda: len(addresses()) == 1002)
    assert pings(one, "one1", "six277")
    for lab in hosts.labs:
        lab.shell(
            "for n in $(berth ps --format json | python3 -c 'import json,sys; print(*[i[\"name\"] for i in json.load(sys.stdin)])'); do echo $n; done | xargs -n 20 -P 4 berth rm > /dev/null",
            timeout=300,
        )
    until(one, lambda: one.berth("network", "rm", "wide", check=False).returncode == 0)
